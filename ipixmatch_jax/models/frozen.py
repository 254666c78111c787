"""Frozen parts of a model: their parameters and running statistics do not change."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
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
    (`encoder/layer1_0`, but not `encoder/layer10`), and may hold the wildcards of fnmatch. A name
    after `!` is an exception to the names before it: `('encoder', '!encoder/*/bias')`.
    """
    path = "/".join(within_network(path))
    found = False
    for name in frozen:
        pattern = name.removeprefix("!").strip("/")
        if any(fnmatchcase(path, pattern + rest) for rest in ("", "/*", "_*")):
            found = not name.startswith("!")
    return found


def freeze(model: nn.Module, frozen: Sequence[str]) -> nn.Module:
    """Returns the model with frozen batch norms: they use their running statistics in training too.

    It changes norms made by `Numerics` in the modules `encoder` and `head`. Parameters are frozen
    by the training loop: see `learned`.
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


def learned(params: Any, frozen: Sequence[str]) -> Any:
    """The parameters that are not in `frozen`: nested dicts, without modules that are empty then.

    Their gradients alone are computed, and a teacher holds a copy of them alone.
    """

    def kept(tree: Any, path: tuple[str, ...]) -> Any:
        if not isinstance(tree, Mapping):
            return None if is_frozen(path, frozen) else tree
        parts = {name: kept(part, (*path, name)) for name, part in tree.items()}
        return {name: part for name, part in parts.items() if part is not None} or None

    return kept(params, ()) if frozen else params


def completed(part: Any, whole: Any, absent: Callable[[Any], Any] = lambda tree: tree) -> Any:
    """`whole` with the leaves of `part`, a tree of some of its names, in place of its own.

    `absent` changes what `part` does not have, a leaf or a tree.
    """
    if not isinstance(whole, Mapping):
        return part
    return {
        name: completed(part[name], tree, absent) if name in part else absent(tree)
        for name, tree in whole.items()
    }


def matching(whole: Any, part: Any) -> Any:
    """The leaves of `whole` that have the names of `part`, a tree of some of its names."""
    if not isinstance(part, Mapping):
        return whole
    return {name: matching(whole[name], inner) for name, inner in part.items()}


def check_frozen(params: Any, frozen: Sequence[str]) -> None:
    """Checks `frozen` against the parameters of the model.

    Raises:
        ConfigError: a name matches nothing, or nothing is left to train.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    paths = [[entry.key for entry in path] for path, _ in leaves]
    known = sorted({"/".join(within_network(path)[:2]) for path in paths})
    for name in frozen:
        if not any(is_frozen(path, (name.removeprefix("!"),)) for path in paths):
            raise ConfigError(
                f"model.frozen names {name!r}, which the model does not have; "
                f"it has {', '.join(known)}"
            )
    if frozen and all(is_frozen(path, frozen) for path in paths):
        raise ConfigError(
            f"model.frozen is {tuple(frozen)!r}, which leaves nothing to train; leave the head out"
        )
