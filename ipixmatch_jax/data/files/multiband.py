"""Read NPY arrays, and TIFF files of many bands or of more than 8 bits."""

import io
import math
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from ipixmatch_jax.data.files.decoding import (
    MAX_PIXELS,
    File,
    check_pixels,
    decoding,
    opened,
)
from ipixmatch_jax.data.files.orientation import turned_size, upright
from ipixmatch_jax.data.files.tiff_tags import TiffTags, read_tags
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.npy_header import npy_bytes, read_npy_header

# 65535 / 255.
WIDENED = 257


def is_raw(file: File) -> bool:
    """True if Pillow would not return the pixels as stored: NPY, and TIFF that is not plain.

    Raises:
        DataError: the file cannot be opened.
    """
    name = "the image" if isinstance(file, bytes) else str(file)
    with opened(file, name) as (stream, kind):
        return raw_kind(stream, kind, name)


def raw_kind(stream: BinaryIO, kind: str, name: str) -> bool:
    """`is_raw` of an open file, which is rewound afterwards."""
    if kind != "TIFF":
        return kind == "NPY"
    raw = not _tags(stream, name).plain
    stream.seek(0)
    return raw


def _tags(stream: BinaryIO, name: str) -> TiffTags:
    with decoding(name):
        stream.seek(0)
        return read_tags(stream)


def size(file: File, name: str) -> tuple[int, int]:
    """Return (H, W) of a raw image.

    Raises:
        DataError: unreadable.
    """
    return read(file, name, shape_only=True).shape[:2]


def read(
    file: File, name: str, *, shape_only: bool = False, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Read a raw image [H,W,C] as stored; with `shape_only` only its shape is right.

    Values that GDAL's no-data tag marks as missing become NaN (the image is float32 then).

    Raises:
        DataError: unreadable, too large, or not of two or three axes.
    """
    with opened(file, name) as (stream, kind):
        array = read_stream(stream, kind, name, shape_only=shape_only, max_pixels=max_pixels)
    return array


def read_stream(
    stream: BinaryIO, kind: str, name: str, *, shape_only: bool, max_pixels: int
) -> np.ndarray:
    """`read` for an open file."""
    reader = _read_npy if kind == "NPY" else _read_tiff
    array = reader(stream, name, shape_only, max_pixels)
    if not shape_only:
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.dtype.kind not in "uifb" or 0 in array.shape:
        raise DataError(
            f"{name}: holds {array.dtype}{list(array.shape)}; expected numbers [height, width] or "
            "[height, width, bands]; save it in this form"
        )
    return array


# No image has so few rows: the first axis of such an array are its bands.
_LEAST_ROWS = 16


def read_npy(stream: BinaryIO, name: str, max_pixels: int, shape_only: bool = False) -> np.ndarray:
    """The array of an open NPY file; nothing is allocated before its header has been checked.

    Raises:
        DataError: a damaged header, pickled objects, or more values than `max_pixels` allows.
    """
    with decoding(name):
        shape, fortran, dtype = read_npy_header(stream)
        if dtype.kind not in "uifbc":
            raise ValueError(f"values of type {dtype}")
        if len(shape) >= 2 and 0 not in shape:
            check_pixels(shape[0], shape[1], math.prod(shape[2:]), name, max_pixels)
        start = stream.tell()
        wanted = npy_bytes(shape, dtype)
        held = stream.seek(0, io.SEEK_END) - start
        if held < wanted:
            raise ValueError(f"{held} bytes of values; the header promises {wanted}")
        if shape_only:
            return np.broadcast_to(np.zeros((), dtype), shape)
        stream.seek(start)
        values = np.frombuffer(stream.read(wanted), dtype)
        return values.reshape(shape, order="F" if fortran else "C")


def _read_npy(stream: BinaryIO, name: str, shape_only: bool, max_pixels: int) -> np.ndarray:
    array = read_npy(stream, name, max_pixels, shape_only)
    if array.ndim == 3 and array.shape[0] <= _LEAST_ROWS < min(array.shape[1:]):
        raise DataError(
            f"{name}: holds {list(array.shape)}: bands first, as PyTorch has them; expected "
            "[height, width, bands]; save array.transpose(1, 2, 0)"
        )
    return array


# Photometric interpretations whose samples are no colors as they are stored.
_COLOR_MODELS = {3: "a palette", 5: "CMYK inks", 6: "YCbCr colors"}
# Decoders of JPEG, JPEG 2000 and their kind turn YCbCr into RGB.
_DECODED_TO_RGB = frozenset({6, 7, 33003, 33004, 33005, 34712, 34892, 50001, 50002, 52546})


def _read_tiff(stream: BinaryIO, name: str, shape_only: bool, max_pixels: int) -> np.ndarray:
    tags = _tags(stream, name)
    if tags.pages > 1 and tags.samples > 1:
        raise DataError(
            f"{name}: a TIFF of {tags.pages} pages of {tags.samples} bands; expected one picture; "
            "save the page that is meant, without the others and without a preview"
        )
    if tags.preview_first:
        raise DataError(
            f"{name}: a TIFF whose first page is a preview of another one; expected one picture; "
            "save the page that is meant, without the preview"
        )
    bands = tags.samples * tags.pages
    check_pixels(tags.height, tags.width, bands, name, max_pixels)
    stored = tags.height, tags.width
    if shape_only:
        height, width = turned_size(stored, tags.orientation)
        return np.broadcast_to(np.zeros((), np.float32), (height, width, bands))
    model = _COLOR_MODELS.get(tags.photometric)
    if model and not (tags.photometric == 6 and tags.compression in _DECODED_TO_RGB):
        raise DataError(
            f"{name}: a TIFF with {model}, and large, deep or of a rare compression; expected RGB; "
            "convert it to RGB"
        )
    array = tiff_array(stream, name, stored, max_pixels)
    bits = max(tags.bits)
    # WhiteIsZero: an image is shown with its values reversed.
    if tags.photometric == 0 and array.dtype.kind in "ub":
        white = 2**bits - 1 if bits < 8 * array.dtype.itemsize else np.iinfo(array.dtype).max
        array = ~array if array.dtype == bool else array.dtype.type(white) - array
    if array.dtype == np.uint8 and bits < 8:
        # An image is shown with its full brightness.
        array = array * np.uint8(255 // (2**bits - 1))
    if tags.nodata is not None and np.isfinite(tags.nodata):
        array = without_nodata(array, tags.nodata)
    return upright(array, tags.orientation)


def tiff_array(stream: BinaryIO, name: str, stored: tuple[int, int], max_pixels: int) -> np.ndarray:
    """The values that a TIFF stores, [H,W] or [H,W,bands]; neither scaled, inverted nor turned.

    Raises:
        DataError: unreadable, too large, or tifffile is missing.
    """
    try:
        import tifffile
    except ImportError:
        raise DataError(
            f"{name}: a TIFF of several bands or more than 8 bits; reading it needs tifffile; "
            "run: pip install 'ipixmatch-jax[tiff]'"
        ) from None
    with decoding(name):
        stream.seek(0)
        with tifffile.TiffFile(stream) as tiff:
            series = tiff.series[0]
            values = int(np.prod([int(n) for n in series.shape], dtype=object))
            check_pixels(*stored, -(-values // (stored[0] * stored[1])), name, max_pixels)
            axes = [a for a, n in zip(series.axes, series.shape, strict=True) if n > 1]
            shape = [n for n in series.shape if n > 1]
            array = series.asarray(maxworkers=1)
        if values == stored[0] * stored[1]:
            return array.reshape(stored)
        array = array.reshape(shape)
    if array.ndim != 3 or "Y" not in axes or "X" not in axes:
        return array
    band = next(i for i, axis in enumerate(axes) if axis not in "YX")
    return np.moveaxis(array, band, -1)


def without_nodata(array: np.ndarray, nodata: float) -> np.ndarray:
    """The array [H,W] or [H,W,C] with NaN where all bands of a pixel hold the no-data value.

    A pixel with the value in some bands only (a dark red, where 0 is no data) is kept, unless the
    values are floats, which are never equal by chance.
    """
    if array.dtype.kind != "f" and not _holds(array.dtype, nodata):
        # -9999 for values without a sign would mean 55537.
        return array
    missing = array == np.asarray(nodata).astype(array.dtype, casting="unsafe")
    if array.dtype.kind != "f" and array.ndim == 3:
        missing = np.broadcast_to(missing.all(-1, keepdims=True), array.shape)
    if not missing.any():
        return array
    deep = array.dtype.itemsize > 2
    return np.where(missing, np.nan, array).astype(np.float64 if deep else np.float32)


def _holds(dtype: np.dtype, value: float) -> bool:
    """True if whole numbers of a type can have this value."""
    if dtype.kind == "b":
        return value in (0, 1)
    limits = np.iinfo(dtype)
    return value == int(value) and limits.min <= value <= limits.max


def missing_pixels(array: np.ndarray) -> np.ndarray | None:
    """Pixels of [H,W,C] that hold no data in any band, bool [H,W]; None if there are none."""
    if array.dtype.kind != "f":
        return None
    missing = ~np.isfinite(array).any(-1)
    return missing if missing.any() else None


def wrong_channels(found: int, expected: int, name: str) -> DataError:
    """The error for an image whose number of bands differs from the data set's."""
    return DataError(
        f"{name}: {found} band(s); expected {expected}; set data.channels={found} if all images "
        f"have {found}, or convert this one"
    )


def check_bands(found: int, channels: int, name: str, pages: int = 1) -> None:
    """Raise a DataError if `with_channels` cannot make `channels` bands of `found`.

    The fourth band is left out as opacity, which no page of a TIFF of several pages is.
    """
    if found != channels and not (channels == 3 and (found == 1 or found == 4 and pages == 1)):
        raise wrong_channels(found, channels, name)


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


def is_widened(array: np.ndarray) -> bool:
    """True if 16-bit values were made from 8 bits, 255 as 65535: all are multiples of 257."""
    return array.dtype == np.uint16 and bool((array % WIDENED == 0).all())


def extremes(array: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest finite value; 0 and 0 if there is none."""
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def to_eight_bits(array: np.ndarray, value_range: Sequence[Sequence[float]]) -> Any:
    """Scale [H,W,C] from (low, high) of each channel to 0..255 and clip: uint8 [H,W,C].

    Values that are not finite mark missing data and become 0.
    """
    pairs = np.broadcast_to(
        np.asarray(value_range, np.float64).reshape(-1, 2), (array.shape[-1], 2)
    )
    result = np.empty(array.shape, np.uint8)
    # Band by band: floats of a whole image would take eight times its memory.
    for band, (low, high) in enumerate(pairs):
        scaled = (array[..., band] - low) * (255.0 / max(high - low, 1e-12))
        result[..., band] = np.nan_to_num(scaled, nan=0.0).clip(0, 255).round()
    return result
