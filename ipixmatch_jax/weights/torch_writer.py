"""Writes tensors in the form of `torch.save`, without PyTorch: a zip file with one pickle in it."""

import os
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

from ipixmatch_jax.errors import CheckpointError

_STORAGES = {
    np.dtype("<f8"): "DoubleStorage",
    np.dtype("<f4"): "FloatStorage",
    np.dtype("<f2"): "HalfStorage",
    np.dtype("<i8"): "LongStorage",
    np.dtype("<i4"): "IntStorage",
    np.dtype("u1"): "ByteStorage",
    np.dtype("?"): "BoolStorage",
}
# As torch.save aligns them, so that a file that is mapped into memory needs no copy.
_ALIGNMENT = 64
_LOCAL_HEADER = 30
_ROOT = "archive"
_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def _text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def _integer(value: int) -> bytes:
    if value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(8, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def _integers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_integer, values)) + b"t"


def _tensor(key: str, value: np.ndarray, kind: str) -> bytes:
    """The call that rebuilds a tensor over the storage `key`, as a pickle's instructions."""
    storage = (
        b"(" + _text("storage") + f"ctorch\n{kind}\n".encode() + _text(key) + _text("cpu")
    ) + (_integer(value.size) + b"tQ")
    strides = tuple(step // value.itemsize for step in value.strides)
    layout = _integer(0) + _integers(value.shape) + _integers(strides)
    # \x89 is False: the tensor asks for no gradient; the dict would hold backward hooks.
    arguments = b"(" + storage + layout + b"\x89" + _ORDERED_DICT + b"t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"


def write_torch_file(path: str | os.PathLike[str], state: Mapping[str, np.ndarray]) -> None:
    """Writes a state dict that `torch.load(path, weights_only=True)` reads.

    Args:
        state: name → array of float64, float32, float16, int64, int32, uint8 or bool.

    Raises:
        CheckpointError: an array of another dtype.
        OSError: the file cannot be written.
    """
    pickled, storages = [b"\x80\x02", _ORDERED_DICT, b"("], []
    for name, value in state.items():
        value = np.asarray(value, order="C")
        kind = _STORAGES.get(value.dtype)
        if kind is None:
            raise CheckpointError(
                f"{name} has the dtype {value.dtype}, which is not written; expected one of "
                f"{', '.join(map(str, _STORAGES))}"
            )
        pickled += [_text(name), _tensor(str(len(storages)), value, kind)]
        storages.append(value)
    pickled += [b"u."]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "data.pkl", b"".join(pickled))
        _add(archive, "byteorder", b"little")
        for key, value in enumerate(storages):
            _add(archive, f"data/{key}", value.reshape(-1).view(np.uint8).data)
        _add(archive, "version", b"3\n")


def _add(archive: zipfile.ZipFile, name: str, data: bytes | memoryview) -> None:
    # The date is fixed: the same weights give the same file.
    info = zipfile.ZipInfo(f"{_ROOT}/{name}", (1980, 1, 1, 0, 0, 0))
    start = archive.fp.tell() + _LOCAL_HEADER + len(info.filename)
    # An extra field of the zip header, four bytes and a filling, moves the data to the boundary.
    filling = -(start + 4) % _ALIGNMENT
    info.extra = struct.pack("<HH", 0x4246, filling) + b"\0" * filling
    archive.writestr(info, data)
