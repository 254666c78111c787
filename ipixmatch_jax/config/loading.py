"""Config files and the command line's overrides: from FILE[:ARG] to a validated config."""

import contextvars
import importlib
import importlib.util
import pathlib
import pkgutil
import sys
import traceback
import types
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from ipixmatch_jax import config_files
from ipixmatch_jax.config.defaults import flatten, get_value, set_value
from ipixmatch_jax.config.groups import all_keys
from ipixmatch_jax.config.model_switch import fit_to_model
from ipixmatch_jax.config.options import option_keys, unknown_option
from ipixmatch_jax.config.suggestions import did_you_mean
from ipixmatch_jax.config.validation import problems_of, raise_problems, wrong_values
from ipixmatch_jax.config.without_effect import warn_without_effect
from ipixmatch_jax.devices.processes import is_first
from ipixmatch_jax.errors import ConfigError, UserError
from ipixmatch_jax.keys import Key
from ipixmatch_jax.paths import NEEDS_GS, at_home, lacks_gs
from ipixmatch_jax.registry import nearest
from ipixmatch_jax.screen import say, warn

_PREFIX = "--config."
_NOTHING: Mapping[str, Any] = {}
# Changes of a config file's keys that nobody should miss; the others follow from the choice.
_WEIGHTY = ("model.pretrained=", "data.crop_size=")
# Keys of a method, model or relation that decide which options it has.
_CHOOSE_OPTIONS = ("name", "backbone", "distance")
_command_line = contextvars.ContextVar("command_line", default=_NOTHING)


def load_config(spec: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """The validated config of a file and the command line.

    If the command line chooses another model than the file, or the file another one than its plan,
    keys of the file or of the plan that this model does not have are dropped, and a line on the
    screen says so.

    Args:
        spec: `FILE` or `FILE:ARG`, or the name of a packaged config in place of the file, such as
            `demo` or `folder:photos`. The file defines `get_config(arg=None)`, which can ask for
            `command_line_keys()` to derive other keys from them.
        overrides: `--config.key=value` or `--config.key`, `value`.

    Raises:
        ConfigError: the file, a key or a value cannot be used; with every problem found.
    """
    given = given_values(overrides)
    try:
        config = _run_config_file(spec, given)
    except UserError as error:
        # The reason may be a misspelt key that the file did not get to see.
        raise type(error)("\n".join([str(error), *_doubtful(overrides)])) from error
    file_model = config.get("model", {}).get("name", "")
    unset = set_overrides(config, overrides)
    changes = fit_to_model(config, file_model, given, {*unset, *wrong_values(config)})
    raise_problems(problems_of(config, unset))
    for change in changes if is_first() else ():
        tell = warn if change.startswith(_WEIGHTY) else say
        tell(change)
    warn_without_effect(config, given)
    config.lock()
    return config


def command_line_keys() -> dict[str, Any]:
    """Full name to value of the keys that the command line sets, while a config file is executed.

    For `get_config` functions that derive keys from others; elsewhere it is empty.
    """
    return dict(_command_line.get())


def packaged_configs() -> list[str]:
    """The names of the configs that come with the package."""
    return sorted(m.name for m in pkgutil.iter_modules(config_files.__path__))


def _run_config_file(spec: str, given: Mapping[str, Any]) -> ConfigDict:
    path, _, arg = spec.partition(":")
    path = at_home(path)
    token = _command_line.set(given)
    try:
        config = _module_of(path).get_config(*[arg] * bool(arg))
    except UserError:
        raise
    except Exception as error:  # the file is the user's: anything can be wrong in it
        if lacks_gs(error):
            raise ConfigError(NEEDS_GS) from error
        where = _line_of(error, path)
        raise ConfigError(f"config file {where}: {type(error).__name__}: {error}") from error
    finally:
        _command_line.reset(token)
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"config file {path}: get_config returned no ConfigDict")
    return config


def _module_of(path: str) -> types.ModuleType:
    """The module of a config file, or of a packaged config."""
    if not pathlib.Path(path).is_file():
        if path in packaged_configs():
            return importlib.import_module(f"{config_files.__name__}.{path}")
        names = packaged_configs()
        if pathlib.Path(path).is_dir():
            raise ConfigError(
                f"--config names {path!r}, which is a folder; expected a config file or a packaged "
                f"config; for a folder of images: --config folder:{path}; for the config of a run, "
                "leave --config out and name the run in --workdir"
            )
        near = nearest(pathlib.Path(path).stem, names)
        raise ConfigError(
            f"--config names {path!r}, which is neither a file nor a packaged config{near}; "
            f"packaged: {', '.join(names)}; --mode new-config writes a file to start from"
        )
    module_spec = importlib.util.spec_from_file_location("ipixmatch_config_file", path)
    if module_spec is None:
        raise ConfigError(
            f"--config names {path!r}, which is no Python file; expected one that defines "
            "get_config() (--mode new-config writes one) or a packaged config; modes of a run find "
            "its config.json by --workdir"
        )
    module = importlib.util.module_from_spec(module_spec)
    # Worker processes and pickling look functions of the config file up by this name.
    sys.modules[module_spec.name] = module
    module_spec.loader.exec_module(module)
    return module


def _line_of(error: Exception, path: str) -> str:
    """`FILE, line N`: the last line of the file that led to the error."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return f"{path}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == path]
    return f"{path}, line {lines[-1]}" if lines else path


def given_values(overrides: Sequence[str]) -> dict[str, Any]:
    """Full name to value of the overrides that have a key and an allowed value."""
    keys, (pairs, _) = all_keys(), _pairs(overrides)
    values = {name: keys[name].parse(text) for name, text in pairs if name in keys}
    return {name: v for name, v in values.items() if keys[name].problem(name, v) is None}


def _doubtful(overrides: Sequence[str]) -> list[str]:
    """Messages about the overrides that need no config: wrong values, and near misses of keys."""
    keys, (pairs, problems) = all_keys(), _pairs(overrides)
    for name, text in pairs:
        near = "" if name in keys else did_you_mean(name, keys)
        if near:
            problems.append(f"no config key {name!r}{near}")
        elif name in keys:
            problems += filter(None, [keys[name].problem(name, keys[name].parse(text))])
    return [f"  - {problem}" for problem in problems]


def with_overrides(config: ConfigDict, overrides: Sequence[str]) -> ConfigDict:
    """The config with the command line's keys set; not validated as a whole.

    Raises:
        ConfigError: unknown keys, or values that are not allowed; with every problem found.
    """
    raise_problems([*set_overrides(config, overrides).values()])
    return config


def set_overrides(config: ConfigDict, overrides: Sequence[str]) -> dict[str, str]:
    """Sets the command line's keys in place.

    Returns:
        Name to message of the keys that cannot be set; an argument without a key is its own name.
    """
    given, unreadable = _pairs(overrides)
    _tell_doubles(given)
    problems = {message: message for message in unreadable}
    # Options last: the keys before them choose the method, model or relation that has them.
    given.sort(key=lambda pair: _option(pair[0]) is not None)
    for name, text in given:
        option = _option(name)
        if option and any(f"{option[0]}.{key}" in problems for key in _CHOOSE_OPTIONS):
            continue  # which options there are is unknown until that key is right
        try:
            key = _key_of(config, name)
        except ConfigError as error:
            problems[name] = str(error)
            continue
        value = key.parse(text)
        problem = key.problem(name, value)
        if problem:
            problems[name] = problem
        else:
            set_value(config, name, value)
    return problems


def _tell_doubles(given: Sequence[tuple[str, str]]) -> None:
    """Warns of keys that are given twice with different values."""
    texts: dict[str, list[str]] = {}
    for name, text in given:
        texts.setdefault(name, []).append(text)
    for name, values in texts.items() if is_first() else ():
        if len(set(values)) > 1:
            warn(f"{name} is given {len(values)} times, as {', '.join(values)}: the last counts")


def _pairs(overrides: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """(key, text of its value) of every override, and a message for each unreadable argument."""
    pairs, problems, rest = [], [], list(overrides)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith(_PREFIX):
            problems.append(f"cannot read {argument!r}; expected --config.KEY=VALUE")
            continue
        name, is_set, text = argument.removeprefix(_PREFIX).partition("=")
        if not is_set:
            # `--config.eval.flip` alone means True.
            text = rest.pop(0) if rest and not rest[0].startswith("--") else "True"
        pairs.append((name, text))
    return pairs, problems


def _option(name: str) -> tuple[str, str] | None:
    """(group, option) of `GROUP.options.OPTION`."""
    group, middle, option = name.partition(".options.")
    return (group, option) if middle and group in ("method", "model", "relation") else None


def _key_of(config: ConfigDict, name: str) -> Key:
    """The key of a name.

    Raises:
        ConfigError: there is no such key, or it is a group.
    """
    keys = all_keys()
    if name in keys:
        return keys[name]
    present = dict(flatten(config))
    if name in present:  # a section that the config file brought
        return Key(present[name], "") if present[name] is not None else Key(None, "", kind="any")
    option = _option(name)
    if option:
        known = option_keys(config, option[0])
        if option[1] in known:
            return known[option[1]]
        raise ConfigError(unknown_option(config, *option, known))
    if isinstance(get_value(config, name), ConfigDict):
        raise ConfigError(f"{_PREFIX}{name} is a group of keys; set one of its keys")
    group, _, leaf = name.rpartition(".")
    if _option(f"{group}.options.{leaf}") and leaf in option_keys(config, group):
        hint = f" (did you mean '{group}.options.{leaf}'?)"
    else:
        hint = did_you_mean(name, [*keys, *present])
    raise ConfigError(f"no config key {name!r}{hint}")
