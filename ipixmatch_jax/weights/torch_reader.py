"""Reads the tensors of PyTorch checkpoints without PyTorch, and runs nothing that is in them."""

import mmap
import os
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

import numpy as np

from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.weights.pickle_reader import STORAGES, Refused, Tensor, Walk
from ipixmatch_jax.weights.raw_values import from_bytes

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# Where checkpoints have the network: the moving average first, which their methods evaluate.
_NETWORKS = ("ema_model", "model_ema", "state_dict", "model")


def _decode(raw: bytes, kind: str) -> np.ndarray:
    values = from_bytes(raw, STORAGES[kind])
    if kind == "torch.BoolStorage":
        values = values != 0
    values.flags.writeable = False
    return values


def _view(tensor: Tensor, buffer: np.ndarray) -> np.ndarray:
    # The bounds were checked where the tensor was described; a view costs no memory, so that
    # many tensors over one storage cannot exhaust it.
    if 0 in tensor.shape:
        return np.empty(tensor.shape, buffer.dtype)
    first = tensor.storage.start + tensor.offset
    strides = [step * buffer.itemsize for step in tensor.strides]
    # A dimension of one element may carry any stride, and none is used.
    strides = [s if n > 1 else 0 for s, n in zip(strides, tensor.shape, strict=True)]
    return np.ndarray(tensor.shape, buffer.dtype, buffer, first * buffer.itemsize, strides)


def _select(loaded: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, or of the one under the first name of `_NETWORKS`."""
    if not isinstance(loaded, dict):
        raise Refused("it holds no dict of tensors")
    for name in _NETWORKS:
        if isinstance(loaded.get(name), dict):
            loaded = loaded[name]
            break
    tensors = {key: value for key, value in loaded.items() if isinstance(value, Tensor)}
    if not tensors:
        raise Refused("it holds no tensors")
    if not all(isinstance(key, str) for key in tensors):
        raise Refused("it holds tensors whose names are not strings")
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


def _nbytes(walk: Walk, key: str) -> int:
    kind, numel = walk.buffers[key]
    return numel * np.dtype(STORAGES[kind]).itemsize


def _read_legacy(data: mmap.mmap) -> dict[str, np.ndarray]:
    walk = Walk()
    if walk.load(data) != _MAGIC:
        raise Refused("it is not a PyTorch checkpoint")
    if walk.load(data) != _PROTOCOL:
        raise Refused(f"it has another protocol version than {_PROTOCOL}")
    system = walk.load(data)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Refused("it was not written by a little-endian machine")
    loaded, keys = walk.load(data), walk.load(data)
    # Compared as strings only: equality of hostile nested data could recurse without end.
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Refused("its list of storages is malformed")
    if len(set(keys)) != len(keys) or set(keys) != set(walk.buffers):
        raise Refused("its list of storages is not that of its tensors")
    position, places = data.tell(), {}
    for key in keys:
        numel = int.from_bytes(data[position : position + 8], "little", signed=True)
        places[key] = slice(position + 8, position + 8 + _nbytes(walk, key))
        position = places[key].stop
        if position > len(data):
            raise Refused(f"it is truncated: storage {key[:40]!r} needs more bytes than are left")
        if numel != walk.buffers[key][1]:
            raise Refused(f"storage {key[:40]!r} has another length than its tensors expect")
    if position != len(data):
        raise Refused(f"{len(data) - position} bytes follow after its last storage")
    return _arrays(loaded, lambda key: data[places[key]])


def _zip_members(archive: zipfile.ZipFile, data: mmap.mmap) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    # Together these bound what is read by the length of the file: no zip bombs.
    if any(i.compress_type or i.file_size != i.compress_size for i in infos):
        raise Refused("it is a compressed zip file, which torch.save never writes")
    if sum(info.file_size for info in infos) > len(data):
        raise Refused("its zip directory promises more bytes than there are")
    if data.rfind(b"PK\5\6") + 22 + len(archive.comment) != len(data):
        raise Refused("bytes follow after the end of its zip directory")
    members = {info.filename: info for info in infos}
    parts = [name.replace("\\", "/").split("/") for name in members]
    if len(members) != len(infos) or any(not path[0] or ".." in path for path in parts):
        raise Refused("its zip directory has repeated names, or names that leave the archive")
    return members


def _read_zip(file: BinaryIO, data: mmap.mmap) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        members = _zip_members(archive, data)
        roots = [n[: -len("data.pkl")] for n in members if n.endswith("/data.pkl")]
        if len(roots) != 1:
            raise Refused("it is a zip file, but has not exactly one data.pkl")
        order = members.get(roots[0] + "byteorder")
        if order is not None and archive.read(order) != b"little":
            raise Refused("it was not written by a little-endian machine")
        walk = Walk()
        with archive.open(members[roots[0] + "data.pkl"]) as stream:
            loaded = walk.load(stream)
            if stream.read(1):
                raise Refused("bytes follow after the pickle in its data.pkl")
        for key in walk.buffers:
            member = members.get(f"{roots[0]}data/{key}")
            if member is None or member.file_size != _nbytes(walk, key):
                raise Refused(f"the data of storage {key[:40]!r} is missing or of another length")
        return _arrays(loaded, lambda key: archive.read(f"{roots[0]}data/{key}"))


def _read(file: BinaryIO, data: mmap.mmap) -> dict[str, np.ndarray]:
    if data[:4] == b"PK\3\4":
        return _read_zip(file, data)
    if data[257:262] == b"ustar":
        raise Refused("it has the .tar form of PyTorch before 0.2, which is not read")
    return _read_legacy(data)


def read_torch_file(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the tensors that `torch.save` wrote, in its zip form or that of PyTorch before 1.6.

    The file holds a state dict, or a dict with one under `ema_model`, `model_ema`, `state_dict` or
    `model`; of several, the first of these. Whatever is not a tensor is dropped, and so is the
    prefix `module.` where all names have it.

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
    except Refused as error:
        refuse(str(error))
    except OSError as error:
        refuse(error.strerror or "it cannot be opened", error)
    # What pickletools and zipfile raise on damaged files is not limited to any list of errors.
    except Exception as error:
        refuse(f"it is damaged or of another kind ({type(error).__name__})", error)
