"""Read NPY arrays, and TIFF files of many bands or of more than 8 bits."""

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ipixmatch_jax.errors import DataError

File = str | os.PathLike | bytes

# Files with these endings are never opened to find out.
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_NPY = b"\x93NUMPY"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL = 258, 277
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, RuntimeError)


def is_raw(file: File) -> bool:
    """True if Pillow would not return the pixels as stored."""
    if not isinstance(file, bytes) and str(file).lower().endswith(_PICTURES):
        return False
    start = _start(file)
    return start.startswith(_NPY) or (start.startswith(_TIFF) and not _plain_tiff(file))


def _start(file: File) -> bytes:
    if isinstance(file, bytes):
        return file[:8]
    try:
        with open(file, "rb") as stream:
            return stream.read(8)
    except OSError:
        return b""


def _stream(file: File) -> Any:
    return io.BytesIO(file) if isinstance(file, bytes) else file


def _plain_tiff(file: File) -> bool:
    try:
        with Image.open(_stream(file)) as picture:
            tags = getattr(picture, "tag_v2", {})
            bits = tags.get(_BITS_PER_SAMPLE, (8,))
            deep = max(bits if isinstance(bits, tuple) else (bits,)) > 8
            several_pages = getattr(picture, "n_frames", 1) > 1
            return not deep and not several_pages and tags.get(_SAMPLES_PER_PIXEL, 1) <= 4
    except _DAMAGE:
        return False


def size(file: File, name: str) -> tuple[int, int]:
    """Return (H, W) of a raw image.

    Raises:
        DataError: unreadable.
    """
    return read(file, name, shape_only=True).shape[:2]


def read(file: File, name: str, *, shape_only: bool = False) -> np.ndarray:
    """Read a raw image [H,W,C] as stored; with `shape_only` only its shape is right.

    Raises:
        DataError: unreadable, or not of two or three axes.
    """
    numpy_file = _start(file).startswith(_NPY)
    try:
        array = _read_npy(file, shape_only) if numpy_file else _read_tiff(file, name, shape_only)
    except _DAMAGE as error:
        raise DataError(
            f"{name}: cannot be read as an image ({error}); expected a whole TIFF or NPY file; "
            "replace the file or remove its id from the list"
        ) from None
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.dtype.kind not in "uifb" or 0 in array.shape:
        raise DataError(
            f"{name}: holds {array.dtype}{list(array.shape)}; expected numbers [height, width] or "
            "[height, width, bands]; save it in this form"
        )
    return array


def _read_npy(file: File, shape_only: bool) -> np.ndarray:
    if isinstance(file, bytes):
        return np.load(io.BytesIO(file), allow_pickle=False)
    return np.load(file, mmap_mode="r" if shape_only else None, allow_pickle=False)


def _read_tiff(file: File, name: str, shape_only: bool) -> np.ndarray:
    try:
        import tifffile
    except ImportError:
        raise DataError(
            f"{name}: a TIFF of several bands or more than 8 bits; reading it needs tifffile; "
            "run: pip install tifffile"
        ) from None
    with tifffile.TiffFile(_stream(file)) as tiff:
        series = tiff.series[0]
        axes = [axis for axis, length in zip(series.axes, series.shape, strict=True) if length > 1]
        shape = [length for length in series.shape if length > 1]
        if shape_only:
            array = np.broadcast_to(np.zeros((), series.dtype), shape)
        else:
            array = series.asarray().reshape(shape)
    if array.ndim != 3 or "Y" not in axes or "X" not in axes:
        return array
    band = next(i for i, axis in enumerate(axes) if axis not in "YX")
    return np.moveaxis(array, band, -1)


def wrong_channels(found: int, expected: int, name: str) -> DataError:
    """The error for an image whose number of bands differs from the data set's."""
    return DataError(
        f"{name}: {found} band(s); expected {expected}; set data.channels={found} if all images "
        f"have {found}, or convert this one"
    )


def with_channels(array: np.ndarray, channels: int, name: str) -> np.ndarray:
    """The array [H,W] or [H,W,c] with `channels` bands; one band is repeated to make three.

    Raises:
        DataError: another number of bands.
    """
    array = array if array.ndim == 3 else array[..., None]
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    found = array.shape[-1]
    if found == channels:
        return array
    if found == 1 and channels == 3:
        return np.repeat(array, 3, -1)
    if found == 4 and channels == 3:
        return array[..., :3]
    if array.shape[0] == channels:
        raise DataError(
            f"{name}: holds {list(array.shape)}; expected [height, width, {channels}]; its first "
            "axis seems to be the bands: move it to the end"
        )
    raise wrong_channels(found, channels, name)


def to_eight_bits(array: np.ndarray, value_range: Sequence[Sequence[float]]) -> np.ndarray:
    """Scale [H,W,C] from (low, high) of each channel to 0..255 and clip: uint8 [H,W,C].

    Values that are not finite mark missing data and become 0.
    """
    low, high = np.asarray(value_range, np.float64).reshape(-1, 2).T
    scaled = (array - low) * (255.0 / np.maximum(high - low, 1e-12))
    return np.nan_to_num(scaled, nan=0.0).clip(0, 255).round().astype(np.uint8)
