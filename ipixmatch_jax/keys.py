"""The keys of the config: default, help, kind and limits of each, written down in one place.

Each room has a table of its keys, name to `Key`; the config room joins the tables. The defaults,
`docs/config.md`, `--mode config` and the checks of values all come from them.
"""

import ast
import dataclasses
import math
import numbers
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from ipixmatch_jax.registry import nearest

# Whole numbers beyond this overflow in NumPy or JAX.
_LARGEST = 2**31 - 1
_COUNT_WORDS = {2: "two", 3: "three"}
_BOOLS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _is_int(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_color(value: Any) -> bool:
    return _is_list(value) and len(value) == 3 and all(_is_int(c) and 0 <= c <= 255 for c in value)


def _is_pair(value: Any) -> bool:
    numeric = _is_list(value) and len(value) == 2 and all(map(_is_number, value))
    return numeric and value[0] < value[1]


class _Kind(NamedTuple):
    """A kind of value: its name for one and for several, and a test."""

    one: str
    several: str
    fits: Callable[[Any], bool]


KINDS = {
    "bool": _Kind("True or False", "True or False each", lambda v: isinstance(v, bool)),
    "int": _Kind("a whole number", "whole numbers", _is_int),
    "float": _Kind("a number", "numbers", _is_number),
    "str": _Kind("text", "list of texts", lambda v: isinstance(v, str) and "\0" not in v),
    "color": _Kind("a color", "colors (red, green, blue), each 0 to 255", _is_color),
    "pair": _Kind("a pair", "pairs of numbers (low, high) with low < high", _is_pair),
    "any": _Kind("a value", "values", lambda v: True),
    "dict": _Kind("a dict", "dicts", lambda v: isinstance(v, Mapping)),
}


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of the config.

    Attributes:
        default: its value when nothing sets it; a tuple makes the key a list of values.
        help: one line about it.
        kind: a name in `KINDS`, of the value or of each value of a list; '': that of the default.
        choices: the values that are allowed, or a function that returns them; empty: any.
        other: further values that hold a colon, in words; they are checked where they are used.
        least, most: limits of a number, included; for a list, of each number.
        above: limit of a number, excluded.
        many: whether it is a list of values.
        length: how many values a list has; None: any number.
        shortest: how many values a list has at least.
        ordered: whether a list is (low, high) with low <= high.
        together: whether a list is all 0 or holds no 0.
        optional: whether the value may be None.
    """

    default: Any
    help: str
    kind: str = ""
    choices: Collection[str] | Callable[[], Iterable[str]] = ()
    other: str = ""
    least: float | None = None
    most: float | None = None
    above: float | None = None
    many: bool = False
    length: int | None = None
    shortest: int = 0
    ordered: bool = False
    together: bool = False
    optional: bool = False

    def __post_init__(self):
        many = self.many or _is_list(self.default)
        object.__setattr__(self, "many", many)
        object.__setattr__(self, "optional", self.optional or self.default is None)
        if not self.kind:
            first = next(iter(self.default), "") if many else self.default
            object.__setattr__(self, "kind", _kind_of(first))

    def names(self) -> tuple[str, ...]:
        """The values to choose from; () if there is no such list."""
        return tuple(self.choices() if callable(self.choices) else self.choices)

    def expected(self) -> str:
        """The values that are allowed, in words."""
        text = self._expected_list() if self.many else self._expected_one()
        text += f", or {self.other}" if self.other else ""
        return f"{text}, or None" if self.optional else text

    def problem(self, name: str, value: Any) -> str | None:
        """A message that names the key, or None if the value is allowed."""
        if self._allows(value):
            return None
        words = [v for v in (value if _is_list(value) else (value,)) if isinstance(v, str)]
        unknown = [word for word in words if word not in self.names()]
        hint = nearest(unknown[0], self.names()) if unknown else ""
        large = _is_int(value) and value > _LARGEST and self.kind == "int" and self.most is None
        limit = f" and at most {_LARGEST}" if large else ""
        return f"{name} is {_shown(value)}; expected {self.expected()}{limit}{hint}"

    def parse(self, text: str) -> Any:
        """The value that a text of the command line means; the text itself if it is none."""
        text = text.strip()
        if self.optional and text == "None":
            return None
        if self.many:
            return self._parse_list(text)
        if self.kind == "str":
            return text
        if self.kind == "bool":
            return _BOOLS.get(text.lower(), text)
        value = _literal(text)
        # Texts such as 1e3 are numbers; True is not.
        return float(value) if self.kind == "float" and _is_number(value) else value

    def _parse_list(self, text: str) -> Any:
        value = _literal(text)
        if isinstance(value, str):
            plain = self.kind == "str" and not set(text) & set("()[]{}'\"")
            return (
                tuple(word.strip() for word in text.split(",") if word.strip()) if plain else text
            )
        if isinstance(value, list):
            return tuple(value)
        single = value is not None and not isinstance(value, tuple) and self.length is None
        return (value,) if single else value

    def _allows(self, value: Any) -> bool:
        if value is None:
            return self.optional
        if not self.many:
            return self._allows_one(value)
        if not _is_list(value) or not all(map(self._allows_one, value)):
            return False
        if self.length is not None and len(value) != self.length:
            return False
        if self.together and any(value) and not all(value):
            return False
        return len(value) >= self.shortest and not (self.ordered and value[0] > value[1])

    def _allows_one(self, value: Any) -> bool:
        if not KINDS[self.kind].fits(value):
            return False
        if self.kind == "str":
            other = bool(self.other) and ":" in value
            return other or not self.names() or value in self.names()
        if self.kind not in ("int", "float"):
            return True
        most = self.most if self.most is not None else _LARGEST if self.kind == "int" else math.inf
        least = self.least if self.least is not None else -most
        return least <= value <= most and (self.above is None or value > self.above)

    def _expected_one(self) -> str:
        choices = self.names()
        if choices:
            *first, last = map(repr, choices)
            return f"{', '.join(first)} or {last}" if first else last
        limits = self._limits()
        return f"{KINDS[self.kind].one}{' ' if limits else ''}{limits}"

    def _expected_list(self) -> str:
        count = "" if self.length is None else f"{_COUNT_WORDS.get(self.length, self.length)} "
        if self.shortest:
            count = f"{self.shortest} or more "
        choices = self.names()
        what = f"names out of {', '.join(choices)}" if choices else KINDS[self.kind].several
        limits = self._limits()
        order = ", (low, high) with low <= high" if self.ordered else ""
        order += ", all 0 or none" if self.together else ""
        return f"{count}{what}{', each ' if limits else ''}{limits}{order}"

    def _limits(self) -> str:
        above = "" if self.above is None else f"above {self.above:g}"
        most = "" if self.most is None else f"at most {self.most:g}"
        if self.least is None:
            return " and ".join(filter(None, (above, most)))
        return f"from {self.least:g} to {self.most:.10g}" if most else f"of at least {self.least:g}"


Table = Mapping[str, "Key | Table"]


def defaults_of(table: Table) -> dict[str, Any]:
    """Name to default of every key of a table; groups of keys become dicts."""
    return {
        name: defaults_of(entry) if isinstance(entry, Mapping) else entry.default
        for name, entry in table.items()
    }


def _kind_of(value: Any) -> str:
    return next(
        (kind for kind in ("bool", "int", "float", "str") if KINDS[kind].fits(value)), "str"
    )


def _literal(text: str) -> Any:
    """The Python value that a text is; the text itself if it is none."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    try:
        return float(text)  # inf and nan are refused as values, not as text
    except ValueError:
        return text


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
