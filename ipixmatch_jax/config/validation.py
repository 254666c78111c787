"""Validation of a config: every problem of every key in one message."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from ipixmatch_jax import build
from ipixmatch_jax.config.defaults import flatten
from ipixmatch_jax.config.groups import RELATION, all_keys
from ipixmatch_jax.config.options import option_problems
from ipixmatch_jax.config.suggestions import did_you_mean
from ipixmatch_jax.data import DATASETS, check_statistics, find_transform, make_geometry
from ipixmatch_jax.engine.inference import make_inference
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.keys import Key
from ipixmatch_jax.tracking.profiler import profiled_steps

_NOTHING: Mapping[str, str] = {}
_WITH_OPTIONS = ("method", "model", "relation")


def validate(config: ConfigDict) -> None:
    """Raises ConfigError that lists every problem of the config."""
    raise_problems(problems_of(config))


def checked(config: ConfigDict) -> ConfigDict:
    """A validated copy of the config, locked against new keys.

    Raises:
        ConfigError: lists every problem of the config.
    """
    if not isinstance(config, ConfigDict):
        raise ConfigError(
            f"the config is a {type(config).__name__}; expected what "
            "ipixmatch_jax.config.default_config() returns, with your changes"
        )
    validate(config)
    return config.copy_and_resolve_references().lock()


def raise_problems(problems: Sequence[str]) -> None:
    """Raises ConfigError with all of the problems, if there are any."""
    if len(problems) == 1:
        raise ConfigError(problems[0])
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise ConfigError(f"the config has {len(problems)} problem(s):\n{lines}")


def problems_of(config: ConfigDict, unset: Mapping[str, str] = _NOTHING) -> list[str]:
    """A message for each problem of the config.

    Values of a wrong kind are found first; no part is built from them.

    Args:
        config: the whole config.
        unset: name to message of keys whose new value could not be set. Their old value says
            nothing about the config that the user wants, so no part is built from it either.
    """
    # Their messages come first, and stand for their keys.
    wrong = {**unset, **wrong_values(config), **unset}
    return [*wrong.values(), *_bad_parts(config, wrong)]


def wrong_values(config: ConfigDict) -> dict[str, str]:
    """Name to message of keys that are unknown, missing, or have a value of a wrong kind."""
    keys, found = all_keys(), dict(flatten(config))
    wrong = _bad_keys(keys, found)
    for group in _WITH_OPTIONS:
        options = _group(found, f"{group}.options.")
        if options and f"{group}.name" not in wrong:
            wrong |= option_problems(config, group, options)
    wrong |= _bad_more(found.get("relation.more"))
    return wrong


def overlaps(names: Iterable[str], reads: Iterable[str]) -> bool:
    """Whether one of the names of keys or groups is, holds or belongs to one of `reads`."""
    return any(
        f"{name}.".startswith(f"{read}.") or f"{read}.".startswith(f"{name}.")
        for name, read in itertools.product(names, reads)
    )


def _bad_keys(keys: Mapping[str, Key], found: Mapping[str, Any]) -> dict[str, str]:
    """Name to message of unknown keys, missing keys, and values that are not allowed."""
    # Parts that are registered outside the package bring options and sections of their own.
    free = tuple(f"{group}.options." for group in _WITH_OPTIONS)
    free += tuple(f"data.{name}." for name in DATASETS.names())
    wrong = {
        name: f"unknown key {name!r}{did_you_mean(name, keys)}"
        for name in found
        if name not in keys and not name.startswith(free)
    }
    for name, key in keys.items():
        message = key.problem(name, found[name]) if name in found else f"key {name!r} is missing"
        if message:
            wrong[name] = message
    return wrong


def _group(found: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}


def _bad_more(more: Any) -> dict[str, str]:
    """Values in `relation.more` that are not allowed; building it finds unknown keys."""
    wrong = {}
    for index, changes in enumerate(more if isinstance(more, list | tuple) else ()):
        for key, value in changes.items() if isinstance(changes, Mapping) else ():
            name, entry = f"relation.more[{index}].{key}", RELATION.get(key)
            message = entry.problem(name, value) if isinstance(entry, Key) else None
            if message:
                wrong[name] = message
    return wrong


def _statistics(config: ConfigDict) -> None:
    raise_problems(check_statistics(config.data))


_MODEL = {"model", "method", "data.num_classes", "data.channels"}

# What is built or checked as a whole → the keys or groups of keys that it reads, and how.
_PARTS: dict[str, tuple[set[str], Callable[[ConfigDict], object]]] = {
    "statistics": ({"data"}, _statistics),
    "crops": ({"data"}, lambda config: make_geometry(config.data)),
    "transform": ({"data.transform"}, lambda config: find_transform(config.data.transform)),
    "method": ({"method"}, build.build_method),
    "model": (_MODEL, build.build_model),
    "layers": (
        {*_MODEL, "optimizer.layer_decay"},
        lambda config: build.build_layers(config, build.build_model(config)),
    ),
    "loss": (
        {"method", "relation", "supervised", "normalize", "data.num_classes"},
        build.build_objective,
    ),
    "profile": ({"profile"}, lambda config: profiled_steps(config.profile)),
    "eval": (
        {"eval", "data.crop_size"},
        lambda config: make_inference(config.eval, config.data.crop_size),
    ),
}


def _bad_parts(config: ConfigDict, wrong: Iterable[str]) -> Iterator[str]:
    """Problems of parts, other than those that read a key in `wrong`."""
    wrong = set(wrong)
    for name, (reads, make) in _PARTS.items():
        if overlaps(wrong, reads):
            continue
        try:
            make(config)
        except ConfigError as error:
            yield f"{name}: {error}"
            wrong |= {name}  # what is built from it needs no second message
