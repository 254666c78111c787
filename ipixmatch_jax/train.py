"""The former place of `ipixmatch_jax.training`, for code that imports from it.

Importing a module makes it an attribute of its package, in the place of the function
`ipixmatch_jax.train`. So it can be called like the function.
"""

import sys
from types import ModuleType
from typing import Any

from ipixmatch_jax.training import train

__all__ = ["train"]


class _Callable(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Any:
        from ipixmatch_jax import api

        return api.train(*args, **options)


sys.modules[__name__].__class__ = _Callable
