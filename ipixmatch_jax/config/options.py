"""The options of the chosen method, model and relation that have no key of their own."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from ipixmatch_jax.config.groups import METHOD, MODEL, RELATION
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.keys import Key
from ipixmatch_jax.losses import RELATIONS
from ipixmatch_jax.methods.base import find_method
from ipixmatch_jax.models import MODELS, backbone_options, model_options
from ipixmatch_jax.registry import nearest

# What the package itself sets.
_SET_ELSEWHERE = {"num_classes", "axis_name"}


def method_options(config: ConfigDict) -> dict[str, Any]:
    """Name to default of every field of the method; ConfigError if there is no such method."""
    fields = dataclasses.fields(find_method(config.method.name))
    return {field.name: field.default for field in fields}


def network_options(config: ConfigDict) -> dict[str, Any]:
    """Name to default of every option of the model and its backbone.

    Raises:
        ConfigError: no such model or backbone.
    """
    known = model_options(config.model.name)
    parameters = inspect.signature(MODELS[config.model.name]).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):  # it takes its backbone's options too
        known |= backbone_options(config.model.backbone or known["backbone"])
    return known


def relation_options(config: ConfigDict) -> dict[str, Any]:
    """Name to default of every option of the relation; ConfigError if there is no such relation."""
    relation = config.relation
    parameters = inspect.signature(RELATIONS[f"{relation.name}/{relation.distance}"]).parameters
    return {key: p.default for key, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


_OPTIONS = {
    "method": (method_options, METHOD),
    "model": (network_options, MODEL),
    "relation": (relation_options, RELATION),
}


def option_keys(config: ConfigDict, group: str) -> dict[str, Key]:
    """Name to key of what `GROUP.options` may set: the kind is that of the default.

    Args:
        config: the whole config, which names the method, model and relation.
        group: 'method', 'model' or 'relation'.

    Raises:
        ConfigError: no method, model or relation of that name.
    """
    find, table = _OPTIONS[group]
    own = {k: v for k, v in find(config).items() if k not in table and k not in _SET_ELSEWHERE}
    return {name: _key_of(default) for name, default in own.items()}


def _key_of(default: Any) -> Key:
    plain = isinstance(default, bool | int | float | str)
    if plain or (isinstance(default, list | tuple) and default):
        return Key(default, "")
    return Key(None, "", kind="any")


def option_problems(config: ConfigDict, group: str, options: Mapping[str, Any]) -> dict[str, str]:
    """Name to message of options that the group's part does not have, or of a wrong kind."""
    if (group, config[group].name) == ("relation", "none"):
        return {}
    try:
        known = option_keys(config, group)
    except ConfigError:
        return {}  # the name of the part is reported by itself
    problems = {}
    for option, value in options.items():
        name = f"{group}.options.{option}"
        if option in _OPTIONS[group][1]:
            message = f"{name}: this option has a key of its own; set {group}.{option}"
        elif option not in known:
            message = unknown_option(config, group, option, known)
        else:
            message = known[option].problem(name, value)
        if message:
            problems[name] = message
    return problems


def unknown_option(config: ConfigDict, group: str, option: str, known: Mapping[str, Key]) -> str:
    """A message that lists the options that there are."""
    part = (
        f"{config.relation.name}/{config.relation.distance}"
        if group == "relation"
        else (config[group].name)
    )
    listed = f"its options: {', '.join(sorted(known))}" if known else "it has no such options"
    return f"{group} {part!r} has no option {option!r}{nearest(option, known)}; {listed}"
