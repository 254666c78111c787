"""Command-line options that set `config.data`, for the tools in this package."""

import argparse

from ml_collections import ConfigDict

from ipixmatch_jax.data.catalog import data_defaults
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.registry import nearest


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """`--root`, `--num-classes` and `--set KEY=VALUE …`, keys as in `config.data`."""
    parser.add_argument("--root", default="", help="data.root")
    parser.add_argument("--num-classes", type=int, default=255, help="data.num_classes")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="other keys of config.data"
    )


def data_config(name: str, options: argparse.Namespace) -> ConfigDict:
    """The `config.data` of the options.

    Raises:
        ConfigError: an unknown key, or a value of another type.
    """
    config = data_defaults()
    config.name, config.root, config.num_classes = name, options.root, options.num_classes
    for setting in options.set:
        key, _, value = setting.partition("=")
        section, _, leaf = key.rpartition(".")
        target = config.get(section) if section else config
        if not isinstance(target, ConfigDict) or leaf not in target:
            raise ConfigError(f"--set {setting}: no key data.{key}{nearest(key, config)}")
        target[leaf] = _converted(value, target[leaf], setting)
    return config


def _converted(value: str, like: object, setting: str) -> object:
    if isinstance(like, tuple):
        return tuple(part for part in value.split(",") if part)
    try:
        return type(like)(value) if isinstance(like, str | int | float) else value
    except ValueError:
        raise ConfigError(f"--set {setting}: expected {type(like).__name__}") from None
