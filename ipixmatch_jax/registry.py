"""Names to builders: the only place where a name in the config becomes code."""

import difflib
import importlib
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from ipixmatch_jax.errors import ConfigError

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint ` (did you mean 'x'?)` for a misspelt name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def imported(key: str, name: str, form: str) -> Any:
    """The object of the user's own that `package.module:NAME` names; its module is executed.

    Args:
        key: the config key that has this name.
        name: the name.
        form: what the key expects, such as `package.module:Class`.

    Raises:
        ConfigError: no such module, or nothing of that name in it.
    """
    module_name, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{key} is {name!r}: {error}; expected {form}, importable from where the command runs "
            "(PYTHONPATH)"
        ) from error


def _origin(builder: object) -> object:
    """Module and name of a function or class; the id of any other object."""
    name = getattr(builder, "__qualname__", "<")
    return id(builder) if "<lambda>" in name or name == "<" else (builder.__module__, name)


class Registry(Generic[T]):
    """The builders of one kind (`model`, `method`, …), each under a unique name.

    Example:
        >>> shapes = Registry('shape')
        >>> @shapes.register('dot')
        ... def make_dot():
        ...     return '.'
        >>> shapes['dot']()
        '.'
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that registers a builder; a second builder of the same name is an error.

        A function whose module is executed again, as config files are, replaces its former self.
        """

        def enter(builder: T) -> T:
            if name in self._entries and _origin(builder) != _origin(self._entries[name]):
                raise ConfigError(f"{self.kind} {name!r} is registered twice; choose another name")
            self._entries[name] = builder
            return builder

        return enter

    def names(self) -> list[str]:
        return sorted(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            raise ConfigError(
                f"unknown {self.kind} {name!r}{nearest(name, self._entries)}; "
                f"known: {', '.join(self.names())}"
            )
        return self._entries[name]
