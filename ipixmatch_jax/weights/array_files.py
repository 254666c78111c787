"""Reads .npz and .safetensors weight files; whatever is wrong with one is a CheckpointError."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.npy_header import npy_bytes, read_npy_header
from ipixmatch_jax.weights.raw_values import BFLOAT16, from_bytes

# Weights hardly compress: an archive that unpacks to many times its length is no weight file.
_MOST_RATIO, _HARMLESS_BYTES = 20, 2**28


def read_array_file(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a weight file by their names.

    Args:
        path: a file with an ending of ARRAY_FILES.

    Raises:
        CheckpointError: missing, damaged, or with other content than arrays of numbers.
    """
    try:
        return ARRAY_FILES[path.suffix](path)
    except CheckpointError:
        raise
    # Damaged files make zipfile, zlib and NumPy raise nearly any exception.
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise CheckpointError(
            f"{path}: cannot be read as {path.suffix} ({reason}); download or save it again"
        ) from error


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        unpacked = sum(member.file_size for member in members)
        if unpacked > max(_HARMLESS_BYTES, _MOST_RATIO * path.stat().st_size):
            raise ValueError(f"{unpacked} bytes when unpacked, {path.stat().st_size} on disk")
        names = [member.filename for member in members]
        if len(set(names)) < len(names):
            raise ValueError("several arrays of one name")
        sizes = {member.filename.removesuffix(".npy"): member.file_size for member in members}
    with np.load(path, allow_pickle=False) as archive:
        return {name: _array(archive, name, sizes[name]) for name in archive.files}


def _array(archive: np.lib.npyio.NpzFile, name: str, most: int) -> np.ndarray:
    with archive.zip.open(_member(archive, name)) as stream:
        _check_header(stream, name, most)
    array = archive[name]
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise ValueError(f"{name} is no array of numbers")
    return array


def _member(archive: np.lib.npyio.NpzFile, name: str) -> str:
    return name if name in archive.zip.namelist() else f"{name}.npy"


def _check_header(stream, name: str, most: int) -> None:
    """Raises ValueError if an array's header promises more than the archive holds of it."""
    try:
        shape, _, dtype = read_npy_header(stream)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if npy_bytes(shape, dtype) > most:
        raise ValueError(f"{name} has the shape {shape} and {most} bytes")


# Number types of safetensors; raw_values reads bfloat16, which NumPy lacks.
_SAFETENSORS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": BFLOAT16,
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import deserialize

    arrays = {}
    for name, tensor in deserialize(path.read_bytes()):
        kind = tensor["dtype"]
        if kind not in _SAFETENSORS:
            raise CheckpointError(
                f"{path}: {name} has the dtype {kind}; expected one of {', '.join(_SAFETENSORS)}"
            )
        arrays[name] = from_bytes(tensor["data"], _SAFETENSORS[kind]).reshape(tensor["shape"])
    return arrays


ARRAY_FILES: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
}
