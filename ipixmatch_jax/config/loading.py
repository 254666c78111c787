"""Config files and the command line's overrides: from FILE[:ARG] to a validated config."""

import importlib.util
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from ipixmatch_jax.config.defaults import flatten
from ipixmatch_jax.config.validation import validate
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.registry import nearest


def load_config(spec: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """The validated config of a file and the command line.

    Args:
        spec: `FILE` or `FILE:ARG`; the file defines `get_config(arg=None)`.
        overrides: `--config.key=value` or `--config.key`, `value`.

    Raises:
        ConfigError: the file, a key or a value cannot be used; with every problem found.
    """
    config = with_overrides(_run_config_file(spec), overrides)
    validate(config)
    config.lock()
    return config


def _run_config_file(spec: str) -> ConfigDict:
    path, _, arg = spec.partition(":")
    if not pathlib.Path(path).is_file():
        raise ConfigError(f"--config names {path!r}, which is no file; try configs/demo.py")
    module_spec = importlib.util.spec_from_file_location("ipixmatch_config_file", path)
    if module_spec is None:
        raise ConfigError(f"--config names {path!r}, which is no Python file")
    module = importlib.util.module_from_spec(module_spec)
    # Worker processes and pickling look functions of the config file up by this name.
    sys.modules[module_spec.name] = module
    try:
        module_spec.loader.exec_module(module)
        config = module.get_config(arg) if arg else module.get_config()
    except (AttributeError, KeyError, NameError, TypeError, SyntaxError, ImportError) as error:
        raise ConfigError(f"config file {path}: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"config file {path}: get_config returned no ConfigDict")
    return config


def with_overrides(config: ConfigDict, overrides: Sequence[str]) -> ConfigDict:
    """The config with the command line's keys set; not validated. ConfigError for unknown ones."""
    known = dict(flatten(config))
    for argument in overrides:
        name = argument.split("=")[0].removeprefix("--config.")
        if argument.startswith("--config.") and name not in known:
            if isinstance(_get(config, name), ConfigDict):
                raise ConfigError(f"--config.{name} is a group of keys; set one of its keys")
            raise ConfigError(f"no config key {name!r}{nearest(name, known)}")
    values = flags.FlagValues()
    config_flags.DEFINE_config_dict(
        "config", config, flag_values=values, sys_argv=list(overrides), lock_config=False
    )
    values.set_gnu_getopt(True)
    try:
        rest = values(["", *overrides])[1:]
    except (flags.Error, TypeError, ValueError) as error:
        raise ConfigError(str(error).removeprefix("flag ")) from error
    if rest:
        raise ConfigError(f"cannot read {' '.join(rest)!r}; expected --config.key=value")
    return values.config


def _get(config: ConfigDict, name: str) -> Any:
    for part in name.split("."):
        if not isinstance(config, ConfigDict) or part not in config:
            return None
        config = config[part]
    return config
