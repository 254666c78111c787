"""The former place of `ipixmatch_jax.evaluation`, for code that imports from it.

Importing a module makes it an attribute of its package, in the place of the function
`ipixmatch_jax.evaluate`. So it can be called like the function.
"""

import sys
from types import ModuleType
from typing import Any

from ipixmatch_jax.evaluation import evaluate

__all__ = ["evaluate"]


class _Callable(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Any:
        from ipixmatch_jax import api

        return api.evaluate(*args, **options)


sys.modules[__name__].__class__ = _Callable
