"""The options of the chosen method, model and relation that have no key of their own."""

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from ipixmatch_jax.config.groups import METHOD, MODEL, RELATION
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.keys import Key
from ipixmatch_jax.losses import RELATIONS
from ipixmatch_jax.methods.base import find_method
from ipixmatch_jax.models import ENCODERS, MODELS
from ipixmatch_jax.registry import nearest

# What the package itself sets.
_SET_ELSEWHERE = {"num_classes", "axis_name"}


class _Option(NamedTuple):
    """Default, annotation and description of a field or parameter; limits, if it declares them."""

    default: Any
    annotation: Any
    help: str
    limits: Key | None = None


def method_options(config: ConfigDict) -> dict[str, _Option]:
    """Every field of the method; ConfigError if there is no such method."""
    method = find_method(config.method.name)
    described = _described(*(inspect.getdoc(base) for base in reversed(method.__mro__)))
    return {
        field.name: _Option(
            field.default, field.type, described.get(field.name, ""), field.metadata.get("key")
        )
        for field in dataclasses.fields(method)
    }


def network_options(config: ConfigDict) -> dict[str, _Option]:
    """Every option of the model and its backbone.

    Raises:
        ConfigError: no such model or backbone.
    """
    builder = MODELS[config.model.name]
    known = _parameters(builder, (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY))
    if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(builder).parameters.values()):
        # It takes its backbone's options too; those without a default it sets itself.
        backbone = config.model.backbone or known["backbone"].default
        if backbone is None:
            return known  # its own encoder
        kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        own = _parameters(ENCODERS[backbone], kinds)
        known |= {name: o for name, o in own.items() if o.default is not Parameter.empty}
    return known


def relation_options(config: ConfigDict) -> dict[str, _Option]:
    """Every option of the relation; ConfigError if there is no such relation."""
    name = f"{config.relation.name}/{config.relation.distance}"
    return _parameters(RELATIONS[name], (Parameter.KEYWORD_ONLY,))


def _parameters(function: Callable, kinds: tuple) -> dict[str, _Option]:
    described = _described(inspect.getdoc(function))
    return {
        name: _Option(p.default, p.annotation, described.get(name, ""))
        for name, p in inspect.signature(function).parameters.items()
        if p.kind in kinds
    }


def _described(*docs: str | None) -> dict[str, str]:
    """Name to description in the sections `Attributes:` and `Args:` of docstrings."""
    found: dict[str, str] = {}
    for doc in docs:
        section = re.search(r"^(?:Attributes|Args):\n((?:    .*\n?|\n)+)", doc or "", re.MULTILINE)
        entries = re.findall(
            r"^    (\w[\w, ]*): ((?:.*)(?:\n {5,}.*)*)", section[1] if section else "", re.MULTILINE
        )
        for names, text in entries:
            found |= dict.fromkeys(names.split(", "), " ".join(text.split()).rstrip("."))
    return found


_KINDS = {"bool": bool, "int": int, "float": float, "str": str}
_OPTIONS = {
    "method": (method_options, METHOD),
    "model": (network_options, MODEL),
    "relation": (relation_options, RELATION),
}


def option_keys(config: ConfigDict, group: str) -> dict[str, Key]:
    """Name to key of what `GROUP.options` may set: its kind is that of the default or annotation.

    Args:
        config: the whole config, which names the method, model and relation.
        group: 'method', 'model' or 'relation'.

    Raises:
        ConfigError: no method, model or relation of that name.
    """
    find, table = _OPTIONS[group]
    own = {k: v for k, v in find(config).items() if k not in table and k not in _SET_ELSEWHERE}
    return {name: _key_of(option) for name, option in own.items()}


def _key_of(option: _Option) -> Key:
    default = option.default
    if option.limits:
        return dataclasses.replace(option.limits, help=option.help)
    if isinstance(default, bool | int | float | str):
        return Key(default, option.help)
    if isinstance(default, list | tuple) and default:
        return Key(default, option.help, length=len(default))
    types = typing.get_args(option.annotation) or (option.annotation,)
    kind = next((kind for kind, type_ in _KINDS.items() if type_ in types), "any")
    return Key(None, option.help, kind=kind)


def chosen_options(config: ConfigDict) -> dict[str, Key]:
    """Full name, as `method.options.drop_rate`, to key of every option of the chosen parts."""
    found: dict[str, Key] = {}
    for group in _OPTIONS:
        if (group, config[group].name) != ("relation", "none"):
            keys = option_keys(config, group)
            found |= {f"{group}.options.{name}": key for name, key in keys.items()}
    return found


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
