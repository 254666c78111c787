"""The default config, from the tables of keys."""

from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict

from ipixmatch_jax.config.groups import GROUPS
from ipixmatch_jax.keys import Key, Table

_TYPES = {"bool": bool, "int": int, "float": float, "str": str}


def default_config() -> ConfigDict:
    """Every key with its default; config files start from it and set what differs."""
    config = ConfigDict()
    for group, (_, table) in GROUPS.items():
        values = _config_of(table())
        if group:
            config[group] = values
        else:
            config.update(values)
    return config


def _config_of(table: Table) -> ConfigDict:
    config = ConfigDict()
    for name, entry in table.items():
        config[name] = _first_value(entry) if isinstance(entry, Key) else _config_of(entry)
    return config


def _first_value(key: Key) -> Any:
    """The default; for a key that may be None, a field that takes None and values of its kind."""
    if not key.optional:
        return key.default
    placeholder = config_dict.placeholder(tuple if key.many else _TYPES[key.kind])
    placeholder.set(key.default)
    return placeholder


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`('data.root', value)` for every key that is not a group."""
    for name, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def get_value(config: ConfigDict, name: str) -> Any:
    """The value of a full name such as `data.root`; None if there is none."""
    for part in name.split("."):
        if not isinstance(config, ConfigDict) or part not in config:
            return None
        config = config[part]
    return config


def set_value(config: ConfigDict, name: str, value: Any) -> None:
    """Sets the value of a full name in place, also in a locked config; its group must exist."""
    group, _, leaf = name.rpartition(".")
    target = get_value(config, group) if group else config
    with target.unlocked(), target.ignore_type():
        target[leaf] = value
