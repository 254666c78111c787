"""Checks of parameters' shapes that are not repeated, because they take a sixth of all tracing."""

import functools
from typing import Any

import jax
from flax.core import meta
from flax.core.scope import Scope


def check_shapes_once() -> None:
    """Makes flax check an initializer only once for each shape of the parameter.

    At each call of a network flax compares the shape of each parameter with what its initializer
    gives, for which it traces the initializer. A check that failed is repeated.
    """
    check, passed = Scope.param, set()

    @functools.wraps(check)
    def param(
        self: Scope, name: str, init_fn: Any, *args: Any, unbox: bool = True, **options: Any
    ) -> Any:
        key = None
        if self.has_variable("params", name):
            leaves, structure = jax.tree.flatten(self.get_variable("params", name))
            shapes = tuple(getattr(leaf, "shape", ()) for leaf in leaves)
            key = (init_fn, args, tuple(sorted(options.items())), structure, shapes)
            try:
                known = key in passed
            except TypeError:  # an argument that cannot be hashed
                known, key = False, None
            if known:
                self.reserve(name, "params")
                value = self.get_variable("params", name)
                return meta.unbox(value) if unbox else value
        value = check(self, name, init_fn, *args, unbox=unbox, **options)
        if key is not None:
            passed.add(key)
        return value

    Scope.param = param
