"""Reads the tensors of PyTorch checkpoints without PyTorch, and without running anything in them.

A checkpoint is a pickle, and a pickle is a program. The standard unpickler would run it, so the
pickle is walked here instead: each instruction either builds plain data (numbers, strings, lists,
tuples, dicts), describes a tensor, or is refused. Nothing is imported or called by name.
"""

import dataclasses
import math
import mmap
import os
import pickletools
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

import numpy as np

from ipixmatch_jax.errors import CheckpointError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_INT64 = 2**63
_MAX_DIMENSIONS = 64  # NumPy's limit

# Storage class -> dtype of its raw bytes; bfloat16, which NumPy lacks, is read as its 16 bits.
_STORAGES = {
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    "torch.BFloat16Storage": "<u2",
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
_GLOBALS = {_ORDERED_DICT, _REBUILD_TENSOR, _REBUILD_PARAMETER, *_STORAGES}


class _Refused(Exception):
    """Why a file is refused; `read_torch_file` adds which file and what to do."""


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
class _Tensor:
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


class _Walk:
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
                raise _Refused(f"its pickle uses the instruction {name}, which no state_dict needs")
        if len(self.stack) != 1 or self.marks:
            raise _Refused("its pickle is malformed")
        return self.stack.pop()

    def mark(self, _: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise _Refused("its pickle is malformed")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def push_tuple(self, items: list[Any]) -> None:
        self.stack.append(tuple(items))

    def append(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise _Refused("its pickle appends to something that is not a list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise _Refused("its pickle sets items of something that is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing a deeply nested tuple or a number of many megabytes could hang or crash.
            if not isinstance(key, str) and not (isinstance(key, int) and abs(key) < _INT64):
                raise _Refused("it holds a dict whose keys are not strings or integers")
            target[key] = value

    def dict_of(self, items: list[Any]) -> None:
        self.stack.append({})
        self.set_items(items)

    def named(self, name: str) -> None:
        if name not in _GLOBALS:
            raise _Refused(f"it asks for the Python object {name[:120]!r}, which is never loaded")
        self.stack.append(_Global(name))

    def stack_named(self, _: Any) -> None:
        module, name = self.pop(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise _Refused("it asks for a Python object whose name is not a string")
        self.named(f"{module}.{name}")

    def reduce(self, _: Any) -> None:
        function, arguments = self.pop(2)
        name = function.name if isinstance(function, _Global) else None
        if name not in _REBUILD or not isinstance(arguments, tuple):
            raise _Refused("its pickle calls something that is not a function")
        self.stack.append(_REBUILD[name](*arguments))

    def build(self, _: Any) -> None:
        # State dicts carry attributes such as `_metadata`; there is nothing to do with them.
        target, _state = self.pop(2)
        if not isinstance(target, dict):
            raise _Refused("its pickle sets attributes of something that is not a dict")
        self.stack.append(target)

    def persistent(self, _: Any) -> None:
        (identity,) = self.pop(1)
        if not isinstance(identity, tuple) or len(identity) not in (5, 6):
            raise _Refused("it refers to outside data in an unknown way")
        tag, kind, key, _location, numel = identity[:5]
        view = identity[5] if len(identity) == 6 else None
        fits = tag == "storage" and isinstance(kind, _Global) and kind.name in _STORAGES
        if not fits or not isinstance(key, str) or not _is_size(numel):
            raise _Refused("it describes a storage that is malformed")
        if self.buffers.setdefault(key, (kind.name, numel)) != (kind.name, numel):
            raise _Refused(f"it describes storage {key[:40]!r} in two ways")
        start, count = 0, numel
        if view is not None:
            if not isinstance(view, tuple) or len(view) != 3 or not _are_sizes(view[1:]):
                raise _Refused(f"it describes a malformed view of storage {key[:40]!r}")
            start, count = view[1:]
        if start + count > numel:
            raise _Refused(f"it describes a view beyond the end of storage {key[:40]!r}")
        self.stack.append(_Storage(key, kind.name, start, count))


def _ordered_dict(*arguments: Any) -> dict:
    # Python 2 passed a list of pairs; since then the items follow in instructions of their own.
    if arguments and (len(arguments) > 1 or arguments[0] != []):
        raise _Refused("its pickle makes an OrderedDict in an unknown way")
    return {}


def _rebuild_tensor(*arguments: Any) -> _Tensor:
    if len(arguments) not in (6, 7) or (len(arguments) == 7 and arguments[6]):
        raise _Refused("it describes a tensor in an unknown way")
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, _Storage) or not _is_size(offset):
        raise _Refused("it describes a tensor that is malformed")
    if not _are_sizes(shape) or not _are_sizes(strides) or len(shape) != len(strides):
        raise _Refused("it describes a tensor with impossible sizes or strides")
    # NumPy counts the bytes of an empty array as if its empty dimensions were 1.
    if math.prod(size or 1 for size in shape) >= _INT64 // 8:
        raise _Refused("it describes a tensor with impossible sizes or strides")
    count = math.prod(shape)
    if count > storage.numel:
        raise _Refused(f"it describes a tensor of more elements than its storage ({storage.numel})")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if count and last >= storage.numel:
        raise _Refused("it describes a tensor that reaches beyond the end of its storage")
    return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(*arguments: Any) -> _Tensor:
    if len(arguments) != 3 or not isinstance(arguments[0], _Tensor):
        raise _Refused("it describes a parameter that is malformed")
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
_STEPS: dict[str, Callable[[_Walk, Any], None]] = {
    "PROTO": lambda walk, _: None,
    "FRAME": lambda walk, _: None,
    "NONE": lambda walk, _: walk.stack.append(None),
    "NEWTRUE": lambda walk, _: walk.stack.append(True),
    "NEWFALSE": lambda walk, _: walk.stack.append(False),
    "MARK": _Walk.mark,
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
    "PUT": _Walk.put,
    "BINPUT": _Walk.put,
    "LONG_BINPUT": _Walk.put,
    "MEMOIZE": lambda walk, _: walk.put(len(walk.memo)),
    "GET": lambda walk, index: walk.stack.append(walk.memo[index]),
    "BINGET": lambda walk, index: walk.stack.append(walk.memo[index]),
    "LONG_BINGET": lambda walk, index: walk.stack.append(walk.memo[index]),
    "GLOBAL": lambda walk, name: walk.named(name.replace(" ", ".", 1)),
    "STACK_GLOBAL": _Walk.stack_named,
    "REDUCE": _Walk.reduce,
    "BUILD": _Walk.build,
    "BINPERSID": _Walk.persistent,
}


def _decode(raw: bytes, kind: str) -> np.ndarray:
    values = np.frombuffer(raw, _STORAGES[kind])
    if kind == "torch.BFloat16Storage":
        values = (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    elif kind == "torch.BoolStorage":
        values = values != 0
    values.flags.writeable = False
    return values


def _view(tensor: _Tensor, buffer: np.ndarray) -> np.ndarray:
    # The bounds were checked where the tensor was described; a view costs no memory, so that
    # many tensors over one storage cannot exhaust it.
    if 0 in tensor.shape:
        return np.empty(tensor.shape, buffer.dtype)
    first = tensor.storage.start + tensor.offset
    strides = [step * buffer.itemsize for step in tensor.strides]
    # A dimension of one element may carry any stride, and none is used.
    strides = [s if n > 1 else 0 for s, n in zip(strides, tensor.shape, strict=True)]
    return np.ndarray(tensor.shape, buffer.dtype, buffer, first * buffer.itemsize, strides)


def _select(loaded: Any) -> dict[str, _Tensor]:
    """The tensors of a state dict, or of the one under `state_dict` or `model`."""
    if not isinstance(loaded, dict):
        raise _Refused("it holds no dict of tensors")
    for name in ("state_dict", "model"):
        if isinstance(loaded.get(name), dict):
            loaded = loaded[name]
            break
    tensors = {key: value for key, value in loaded.items() if isinstance(value, _Tensor)}
    if not tensors:
        raise _Refused("it holds no tensors")
    if not all(isinstance(key, str) for key in tensors):
        raise _Refused("it holds tensors whose names are not strings")
    # DistributedDataParallel puts its own name before all others.
    if all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    return tensors


def _arrays(loaded: Any, read: Callable[[str], bytes]) -> dict[str, np.ndarray]:
    """`read(key)` gives the bytes of a buffer, whose number has been checked."""
    buffers, arrays = {}, {}
    for name, tensor in _select(loaded).items():
        key = tensor.storage.key
        if key not in buffers:
            buffers[key] = _decode(read(key), tensor.storage.kind)
        arrays[name] = _view(tensor, buffers[key])
    return arrays


def _nbytes(walk: _Walk, key: str) -> int:
    kind, numel = walk.buffers[key]
    return numel * np.dtype(_STORAGES[kind]).itemsize


def _read_legacy(data: mmap.mmap) -> dict[str, np.ndarray]:
    walk = _Walk()
    if walk.load(data) != _MAGIC:
        raise _Refused("it is not a PyTorch checkpoint")
    if walk.load(data) != _PROTOCOL:
        raise _Refused(f"it has another protocol version than {_PROTOCOL}")
    system = walk.load(data)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise _Refused("it was not written by a little-endian machine")
    loaded, keys = walk.load(data), walk.load(data)
    # Compared as strings only: equality of hostile nested data could recurse without end.
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise _Refused("its list of storages is malformed")
    if len(set(keys)) != len(keys) or set(keys) != set(walk.buffers):
        raise _Refused("its list of storages is not that of its tensors")
    position, places = data.tell(), {}
    for key in keys:
        numel = int.from_bytes(data[position : position + 8], "little", signed=True)
        places[key] = slice(position + 8, position + 8 + _nbytes(walk, key))
        position = places[key].stop
        if position > len(data):
            raise _Refused(f"it is truncated: storage {key[:40]!r} needs more bytes than are left")
        if numel != walk.buffers[key][1]:
            raise _Refused(f"storage {key[:40]!r} has another length than its tensors expect")
    if position != len(data):
        raise _Refused(f"{len(data) - position} bytes follow after its last storage")
    return _arrays(loaded, lambda key: data[places[key]])


def _zip_members(archive: zipfile.ZipFile, data: mmap.mmap) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    # Together these bound what is read by the length of the file: no zip bombs.
    if any(i.compress_type or i.file_size != i.compress_size for i in infos):
        raise _Refused("it is a compressed zip file, which torch.save never writes")
    if sum(info.file_size for info in infos) > len(data):
        raise _Refused("its zip directory promises more bytes than there are")
    if data.rfind(b"PK\5\6") + 22 + len(archive.comment) != len(data):
        raise _Refused("bytes follow after the end of its zip directory")
    members = {info.filename: info for info in infos}
    parts = [name.replace("\\", "/").split("/") for name in members]
    if len(members) != len(infos) or any(not path[0] or ".." in path for path in parts):
        raise _Refused("its zip directory has repeated names, or names that leave the archive")
    return members


def _read_zip(file: BinaryIO, data: mmap.mmap) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        members = _zip_members(archive, data)
        roots = [n[: -len("data.pkl")] for n in members if n.endswith("/data.pkl")]
        if len(roots) != 1:
            raise _Refused("it is a zip file, but has not exactly one data.pkl")
        order = members.get(roots[0] + "byteorder")
        if order is not None and archive.read(order) != b"little":
            raise _Refused("it was not written by a little-endian machine")
        walk = _Walk()
        with archive.open(members[roots[0] + "data.pkl"]) as stream:
            loaded = walk.load(stream)
            if stream.read(1):
                raise _Refused("bytes follow after the pickle in its data.pkl")
        for key in walk.buffers:
            member = members.get(f"{roots[0]}data/{key}")
            if member is None or member.file_size != _nbytes(walk, key):
                raise _Refused(f"the data of storage {key[:40]!r} is missing or of another length")
        return _arrays(loaded, lambda key: archive.read(f"{roots[0]}data/{key}"))


def _read(file: BinaryIO, data: mmap.mmap) -> dict[str, np.ndarray]:
    if data[:4] == b"PK\3\4":
        return _read_zip(file, data)
    if data[257:262] == b"ustar":
        raise _Refused("it has the .tar form of PyTorch before 0.2, which is not read")
    return _read_legacy(data)


def read_torch_file(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the tensors that `torch.save` wrote, in its zip form or that of PyTorch before 1.6.

    The file holds a state dict, or a dict with one under `state_dict` or `model`. Whatever is not
    a tensor is dropped, and so is the prefix `module.` where all names have it.

    Returns:
        Name -> read-only array of the tensor's shape and dtype; bfloat16 becomes float32 (exact).
        Tensors that share a storage share its memory.

    Raises:
        CheckpointError: There is no such file, it is damaged, or it holds anything but tensors and
            plain data. Nothing in the file is ever executed.
    """

    def refuse(reason: str, cause: Exception | None = None) -> NoReturn:
        raise CheckpointError(
            f"cannot read {os.fspath(path)} as a PyTorch checkpoint: {reason}; expected a file "
            "from torch.save(model.state_dict(), path): download or save it again"
        ) from cause

    try:
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                refuse("it is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(file, data)
    except CheckpointError:
        raise
    except _Refused as error:
        refuse(str(error))
    except OSError as error:
        refuse(error.strerror or "it cannot be opened", error)
    # What pickletools and zipfile raise on damaged files is not limited to any list of errors.
    except Exception as error:
        refuse(f"it is damaged or of another kind ({type(error).__name__})", error)
