"""Walks a pickle of tensors without running it.

A pickle is a program, and the standard unpickler would run it. Here each instruction either builds
plain data (numbers, strings, lists, tuples, dicts), describes a tensor, or is refused. Nothing is
imported or called by name.
"""

import dataclasses
import math
import pickletools
from collections.abc import Callable
from typing import Any

from ipixmatch_jax.weights.raw_values import BFLOAT16

_INT64 = 2**63
_MAX_DIMENSIONS = 64  # NumPy's limit

# Storage class -> dtype of its raw bytes.
STORAGES = {
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    "torch.BFloat16Storage": BFLOAT16,
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "u1",
    "torch.storage.UntypedStorage": "u1",
}
_ORDERED_DICT = "collections.OrderedDict"
_REBUILD_TENSOR = "torch._utils._rebuild_tensor_v2"
_REBUILD_PARAMETER = "torch._utils._rebuild_parameter"
_GLOBALS = {_ORDERED_DICT, _REBUILD_TENSOR, _REBUILD_PARAMETER, *STORAGES}


class Refused(Exception):
    """Why a file is refused; the reader adds which file and what to do."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Global:
    """An allowed name that a pickle mentions; never the Python object of that name."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Storage:
    """`numel` elements from `start` of the buffer called `key`."""

    key: str
    kind: str
    start: int
    numel: int


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < _INT64


def _are_sizes(values: Any) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) <= _MAX_DIMENSIONS
        and all(_is_size(value) for value in values)
    )


class Walk:
    """One pass over the pickles of a checkpoint; `buffers` collects key -> (class, numel)."""

    def __init__(self) -> None:
        self.buffers: dict[str, tuple[str, int]] = {}
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def load(self, stream: Any) -> Any:
        """The next pickle of a stream (with read, readline and tell), as inert data."""
        self.stack, self.marks, self.memo = [], [], {}
        for opcode, argument, _ in pickletools.genops(stream):
            name = opcode.name
            if name == "STOP":
                break
            if name in _PUSH:
                self.stack.append(argument)
            elif name in _STEPS:
                _STEPS[name](self, argument)
            else:
                raise Refused(f"its pickle uses the instruction {name}, which no state_dict needs")
        if len(self.stack) != 1 or self.marks:
            raise Refused("its pickle is malformed")
        return self.stack.pop()

    def mark(self, _: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise Refused("its pickle is malformed")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def push_tuple(self, items: list[Any]) -> None:
        self.stack.append(tuple(items))

    def append(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise Refused("its pickle appends to something that is not a list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise Refused("its pickle sets items of something that is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing a deeply nested tuple or a number of many megabytes could hang or crash.
            if not isinstance(key, str) and not (isinstance(key, int) and abs(key) < _INT64):
                raise Refused("it holds a dict whose keys are not strings or integers")
            target[key] = value

    def dict_of(self, items: list[Any]) -> None:
        self.stack.append({})
        self.set_items(items)

    def named(self, name: str) -> None:
        if name not in _GLOBALS:
            raise Refused(f"it asks for the Python object {name[:120]!r}, which is never loaded")
        self.stack.append(_Global(name))

    def stack_named(self, _: Any) -> None:
        module, name = self.pop(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("it asks for a Python object whose name is not a string")
        self.named(f"{module}.{name}")

    def reduce(self, _: Any) -> None:
        function, arguments = self.pop(2)
        name = function.name if isinstance(function, _Global) else None
        if name not in _REBUILD or not isinstance(arguments, tuple):
            raise Refused("its pickle calls something that is not a function")
        self.stack.append(_REBUILD[name](*arguments))

    def build(self, _: Any) -> None:
        # State dicts carry attributes such as `_metadata`; there is nothing to do with them.
        target, _state = self.pop(2)
        if not isinstance(target, dict):
            raise Refused("its pickle sets attributes of something that is not a dict")
        self.stack.append(target)

    def persistent(self, _: Any) -> None:
        (identity,) = self.pop(1)
        if not isinstance(identity, tuple) or len(identity) not in (5, 6):
            raise Refused("it refers to outside data in an unknown way")
        tag, kind, key, _location, numel = identity[:5]
        view = identity[5] if len(identity) == 6 else None
        fits = tag == "storage" and isinstance(kind, _Global) and kind.name in STORAGES
        if not fits or not isinstance(key, str) or not _is_size(numel):
            raise Refused("it describes a storage that is malformed")
        if self.buffers.setdefault(key, (kind.name, numel)) != (kind.name, numel):
            raise Refused(f"it describes storage {key[:40]!r} in two ways")
        start, count = 0, numel
        if view is not None:
            if not isinstance(view, tuple) or len(view) != 3 or not _are_sizes(view[1:]):
                raise Refused(f"it describes a malformed view of storage {key[:40]!r}")
            start, count = view[1:]
        if start + count > numel:
            raise Refused(f"it describes a view beyond the end of storage {key[:40]!r}")
        self.stack.append(_Storage(key, kind.name, start, count))


def _ordered_dict(*arguments: Any) -> dict:
    # Python 2 passed a list of pairs; since then the items follow in instructions of their own.
    if arguments and (len(arguments) > 1 or arguments[0] != []):
        raise Refused("its pickle makes an OrderedDict in an unknown way")
    return {}


def _rebuild_tensor(*arguments: Any) -> Tensor:
    if len(arguments) not in (6, 7) or (len(arguments) == 7 and arguments[6]):
        raise Refused("it describes a tensor in an unknown way")
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, _Storage) or not _is_size(offset):
        raise Refused("it describes a tensor that is malformed")
    if not _are_sizes(shape) or not _are_sizes(strides) or len(shape) != len(strides):
        raise Refused("it describes a tensor with impossible sizes or strides")
    # NumPy counts the bytes of an empty array as if its empty dimensions were 1.
    if math.prod(size or 1 for size in shape) >= _INT64 // 8:
        raise Refused("it describes a tensor with impossible sizes or strides")
    count = math.prod(shape)
    if count > storage.numel:
        raise Refused(f"it describes a tensor of more elements than its storage ({storage.numel})")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if count and last >= storage.numel:
        raise Refused("it describes a tensor that reaches beyond the end of its storage")
    return Tensor(storage, offset, shape, strides)


def _rebuild_parameter(*arguments: Any) -> Tensor:
    if len(arguments) != 3 or not isinstance(arguments[0], Tensor):
        raise Refused("it describes a parameter that is malformed")
    return arguments[0]


_REBUILD: dict[str | None, Callable[..., Any]] = {
    _ORDERED_DICT: _ordered_dict,
    _REBUILD_TENSOR: _rebuild_tensor,
    _REBUILD_PARAMETER: _rebuild_parameter,
}

# Instructions that push the value decoded from the stream.
_PUSH = set(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT UNICODE BINUNICODE SHORT_BINUNICODE"
    " BINUNICODE8 STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8".split()
)
_STEPS: dict[str, Callable[[Walk, Any], None]] = {
    "PROTO": lambda walk, _: None,
    "FRAME": lambda walk, _: None,
    "NONE": lambda walk, _: walk.stack.append(None),
    "NEWTRUE": lambda walk, _: walk.stack.append(True),
    "NEWFALSE": lambda walk, _: walk.stack.append(False),
    "MARK": Walk.mark,
    "EMPTY_LIST": lambda walk, _: walk.stack.append([]),
    "LIST": lambda walk, _: walk.stack.append(walk.since_mark()),
    "APPEND": lambda walk, _: walk.append(walk.pop(1)),
    "APPENDS": lambda walk, _: walk.append(walk.since_mark()),
    "EMPTY_TUPLE": lambda walk, _: walk.push_tuple([]),
    "TUPLE": lambda walk, _: walk.push_tuple(walk.since_mark()),
    "TUPLE1": lambda walk, _: walk.push_tuple(walk.pop(1)),
    "TUPLE2": lambda walk, _: walk.push_tuple(walk.pop(2)),
    "TUPLE3": lambda walk, _: walk.push_tuple(walk.pop(3)),
    "EMPTY_DICT": lambda walk, _: walk.stack.append({}),
    "DICT": lambda walk, _: walk.dict_of(walk.since_mark()),
    "SETITEM": lambda walk, _: walk.set_items(walk.pop(2)),
    "SETITEMS": lambda walk, _: walk.set_items(walk.since_mark()),
    "PUT": Walk.put,
    "BINPUT": Walk.put,
    "LONG_BINPUT": Walk.put,
    "MEMOIZE": lambda walk, _: walk.put(len(walk.memo)),
    "GET": lambda walk, index: walk.stack.append(walk.memo[index]),
    "BINGET": lambda walk, index: walk.stack.append(walk.memo[index]),
    "LONG_BINGET": lambda walk, index: walk.stack.append(walk.memo[index]),
    "GLOBAL": lambda walk, name: walk.named(name.replace(" ", ".", 1)),
    "STACK_GLOBAL": Walk.stack_named,
    "REDUCE": Walk.reduce,
    "BUILD": Walk.build,
    "BINPERSID": Walk.persistent,
}
