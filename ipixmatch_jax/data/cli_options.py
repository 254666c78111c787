"""Command-line options that set `config.data`, for the tools in this package."""

import argparse
import functools
from collections.abc import Sequence

from ml_collections import ConfigDict

from ipixmatch_jax.data.catalog import data_defaults
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.paths import as_path
from ipixmatch_jax.registry import nearest

# Sources whose layout is recognized.
_DESCRIBED = {"folder": describe_folder}


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """`--root`, `--num-classes` and `--set KEY=VALUE …`, keys as in `config.data`."""
    parser.add_argument("--root", default="", help="data.root")
    parser.add_argument("--num-classes", type=int, default=255, help="data.num_classes")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="other keys of config.data"
    )


def data_config(name: str, options: argparse.Namespace, labeled: str = "") -> ConfigDict:
    """The `config.data` of the options; other layouts than train/images are recognized, as by
    `--config folder:ROOT`.

    Args:
        name: `data.name`.
        options: what the flags of `add_data_options` were set to.
        labeled: `data.labeled`.

    Raises:
        ConfigError: an unknown key, or a value of another type.
        DataError: a folder that is not recognized.
    """
    config = data_defaults()
    config.name, config.root, config.labeled = name, options.root, labeled
    config.num_classes = options.num_classes
    _set(config, options.set)
    describe = _DESCRIBED.get(name)
    # The keys' defaults name train/images and so on; a folder with these needs no recognition.
    place = as_path(config.root) / config.folder.train_images
    if describe and options.root and not place.is_dir():
        given = {"labeled": labeled} | {key: _get(config, key) for key in _names(options.set)}
        found = describe(options.root, given)
        config.folder.update(found.pop("folder"))
        config.update(found)
        _set(config, options.set)
    return config


def _names(settings: Sequence[str]) -> list[str]:
    return [setting.partition("=")[0] for setting in settings]


def _get(config: ConfigDict, key: str) -> object:
    return functools.reduce(lambda group, name: group[name], key.split("."), config)


def _set(config: ConfigDict, settings: Sequence[str]) -> None:
    for setting in settings:
        key, _, value = setting.partition("=")
        section, _, leaf = key.rpartition(".")
        target = config.get(section) if section else config
        if not isinstance(target, ConfigDict) or leaf not in target:
            raise ConfigError(f"--set {setting}: no key data.{key}{nearest(key, config)}")
        target[leaf] = _converted(value, target[leaf], setting)


def _converted(value: str, like: object, setting: str) -> object:
    if isinstance(like, tuple):
        return tuple(part for part in value.split(",") if part)
    try:
        return type(like)(value) if isinstance(like, str | int | float) else value
    except ValueError:
        raise ConfigError(f"--set {setting}: expected {type(like).__name__}") from None
