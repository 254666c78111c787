"""Flags of JAX and absl on the command line: `--jax_debug_nans`, `--verbosity=1`."""

from collections.abc import Collection, Sequence
from typing import Any

import jax
from absl import flags, logging  # noqa: F401  (logging defines flags)

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.registry import nearest

_BOOLS = {"true": True, "1": True, "false": False, "0": False}


def pass_on(arguments: Sequence[str], own: Collection[str]) -> list[str]:
    """Sets the flags of JAX and absl among the arguments, and returns the other arguments.

    Args:
        arguments: what the program's own flags left over; `--config.KEY` is not touched.
        own: the program's own flags, for suggestions.

    Raises:
        ConfigError: a flag that nobody has, or a value that it does not take.
    """
    rest, waiting = [], list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if not argument.startswith("--") or argument.startswith("--config."):
            rest.append(argument)
            # The value of a key follows it.
            if "=" not in argument and waiting and not waiting[0].startswith("--"):
                rest.append(waiting.pop(0))
            continue
        name, is_set, text = argument.removeprefix("--").partition("=")
        following = waiting[0] if waiting and not waiting[0].startswith("--") else None
        used = _set(name, text if is_set else None, following, own)
        del waiting[:used]
    return rest


def _set(name: str, text: str | None, following: str | None, own: Collection[str]) -> int:
    """Sets a flag; returns how many of the following arguments it took as its value, 0 or 1."""
    if name in jax.config.values:
        bare = text is None and isinstance(jax.config.values[name], bool)
        value = text if text is not None else ("true" if bare else following)
        _set_jax(name, value)
        return int(text is None and not bare)
    flag = name if name in flags.FLAGS else name.removeprefix("no")
    if flag not in flags.FLAGS:
        known = [*own, *(f"--{flag}" for flag in (*jax.config.values, *flags.FLAGS))]
        raise ConfigError(
            f"no flag --{name}{nearest(f'--{name}', known)}; config keys are set by "
            "--config.KEY=VALUE, and flags of XLA by the environment variable XLA_FLAGS"
        )
    takes = text is None and not flags.FLAGS[flag].boolean and following is not None
    value = text if text is not None else following if takes else None
    try:
        flags.FLAGS(["ipixmatch", f"--{name}" if value is None else f"--{name}={value}"])
    except flags.Error as error:
        raise ConfigError(str(error).replace("\n", "; ")) from None
    return int(takes)


def _set_jax(name: str, text: str | None) -> None:
    if text is None:
        raise ConfigError(f"--{name} needs a value")
    try:
        jax.config.update(name, _converted(text, jax.config.values[name]))
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"--{name}={text}: {error}") from None


def _converted(text: str, like: Any) -> Any:
    if isinstance(like, bool):
        if text.lower() not in _BOOLS:
            raise ValueError("expected true or false")
        return _BOOLS[text.lower()]
    if isinstance(like, int | float):
        return type(like)(text)
    return None if text == "None" else text
