"""Frozen parts of a model: their parameters and running statistics do not change."""

import dataclasses
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import flax.linen as nn
import jax

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models.network_pair import TWINS


def within_network(path: Sequence[str]) -> tuple[str, ...]:
    """The path of a module or variable inside its network, without `first` or `second`."""
    return tuple(path[1:] if path[:1] and path[0] in TWINS else path)


def is_frozen(path: Sequence[str], frozen: Sequence[str]) -> bool:
    """True if `frozen` names a module or variable, or a module that contains it.

    A name is a path such as `encoder/layer1`. It also matches numbered modules
    (`encoder/layer1_0`, but not `encoder/layer10`), and may hold the wildcards of fnmatch.
    """
    path = "/".join(within_network(path))
    return any(
        fnmatchcase(path, name.strip("/") + rest) for name in frozen for rest in ("", "/*", "_*")
    )


def freeze(model: nn.Module, frozen: Sequence[str]) -> nn.Module:
    """Returns the model with frozen batch norms: they use their running statistics in training too.

    It changes norms made by `Numerics` in the modules `encoder` and `head`. Parameters are frozen
    by the training loop: see `stop_frozen`.
    """

    if not frozen:
        return model

    def changed(module: nn.Module) -> nn.Module:
        if not hasattr(module, "numerics"):
            return module
        numerics = dataclasses.replace(module.numerics, frozen=tuple(frozen))
        return module.clone(numerics=numerics)

    parts = {name: getattr(model, name) for name in ("encoder", "head") if hasattr(model, name)}
    return model.clone(**{name: changed(module) for name, module in parts.items()})


def stop_frozen(params: Any, frozen: Sequence[str]) -> Any:
    """Stops the gradients of the parameters in `frozen`; work that only they need is skipped."""
    stop = jax.lax.stop_gradient

    def stopped(path, leaf):
        return stop(leaf) if is_frozen([entry.key for entry in path], frozen) else leaf

    return jax.tree_util.tree_map_with_path(stopped, params) if frozen else params


def check_frozen(params: Any, frozen: Sequence[str]) -> None:
    """Checks `frozen` against the parameters of the model.

    Raises:
        ConfigError: a name matches nothing, or nothing is left to train.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    paths = [[entry.key for entry in path] for path, _ in leaves]
    known = sorted({"/".join(within_network(path)[:2]) for path in paths})
    for name in frozen:
        if not any(is_frozen(path, (name,)) for path in paths):
            raise ConfigError(
                f"model.frozen names {name!r}, which the model does not have; "
                f"it has {', '.join(known)}"
            )
    if frozen and all(is_frozen(path, frozen) for path in paths):
        raise ConfigError(
            f"model.frozen is {tuple(frozen)!r}, which leaves nothing to train; leave the head out"
        )
