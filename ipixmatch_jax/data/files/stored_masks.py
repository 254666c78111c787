"""Mask files as stored: the integers or colors in the file, neither scaled nor inverted."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image

from ipixmatch_jax.data.files import decoding, png
from ipixmatch_jax.data.files.decoding import MAX_PIXELS, File, check_pixels, opened, unreadable
from ipixmatch_jax.data.files.multiband import read_npy, tiff_array
from ipixmatch_jax.data.files.orientation import orientation_of, upright
from ipixmatch_jax.data.files.tiff_tags import read_tags
from ipixmatch_jax.errors import DataError

MASK_SUFFIXES = (
    ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".npy", ".mat", ".jpg", ".jpeg",
    ".ppm", ".pgm",
)  # fmt: skip

_LOSSY = frozenset({"JPEG", "AVIF", "HEIF"})
# Most bytes that the variables of a .mat file may take when they are unpacked.
_MOST_MAT_BYTES = 2**31
# Variables of published .mat masks (SBD and CrackForest) that hold a struct with `Segmentation`.
_MAT_STRUCTS = ("GTcls", "groundTruth")


@dataclass(frozen=True)
class StoredMask:
    """A mask as its file stores it.

    Attributes:
        values: [H,W] of any number type, or None for a colored mask.
        colors: uint8 [H,W,3], or None for a mask of values.
        alpha: uint8 [H,W] if some pixel is not opaque, else None.
        palette: (red, green, blue) of each value, () without a palette.
        nodata: the value that GDAL's tag marks as missing data, or None.
        lossy: the name of the lossy compression, '' if there is none.
        white_is_zero: a TIFF that viewers show with 0 as white; its values are as stored.
    """

    values: np.ndarray | None = None
    colors: np.ndarray | None = None
    alpha: np.ndarray | None = None
    palette: tuple[tuple[int, int, int], ...] = ()
    nodata: float | None = None
    lossy: str = ""
    white_is_zero: bool = False

    @property
    def gray(self) -> np.ndarray | None:
        """The values; those of three equal channels count. None if there are real colors."""
        if self.values is not None:
            return self.values
        first = self.colors[..., 0]
        equal = all(np.array_equal(first, self.colors[..., band]) for band in (1, 2))
        return first if equal else None

    def shown(self) -> np.ndarray | None:
        """The colors that the mask shows, uint8 [H,W,3]; None if its values are no colors."""
        if self.colors is not None:
            return self.colors
        if self.palette:
            table = np.zeros((256, 3), np.uint8)
            table[: len(self.palette)] = self.palette[:256]
            return table[self.values]
        if self.values.dtype not in (np.uint8, bool):
            return None
        values = self.values.astype(np.uint8) * (255 if self.values.dtype == bool else 1)
        return np.repeat(values[..., None], 3, -1)


def read_stored(file: File, name: str, max_pixels: int = MAX_PIXELS) -> StoredMask:
    """Read a mask as stored, upright.

    Args:
        file: path, or the bytes of the file.
        name: the file's name in messages.
        max_pixels: larger masks are refused before they are decoded.

    Raises:
        DataError: unreadable, several pages, or of a form that is no mask.
    """
    with opened(file, name) as (stream, kind):
        kind = "MAT" if not kind and str(name).lower().endswith(".mat") else kind
        return _READERS.get(kind, _read_picture)(stream, kind, name, max_pixels)


def _read_npy(stream: BinaryIO, kind: str, name: str, max_pixels: int) -> StoredMask:
    return StoredMask(_two_axes(read_npy(stream, name, max_pixels), name))


def _two_axes(array: np.ndarray, name: str) -> np.ndarray:
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[-1]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim != 2 or array.dtype.kind not in "uibf" or not array.size:
        raise DataError(
            f"{name}: holds {array.dtype}{list(array.shape)}; expected class ids, integers "
            "[height, width]; save it in this form"
        )
    return array


def _read_mat(stream: BinaryIO, kind: str, name: str, max_pixels: int) -> StoredMask:
    import scipy.io

    content = stream.read()
    unpacked = _mat_bytes(content)
    if unpacked > _MOST_MAT_BYTES:
        raise DataError(f"{name}: its variables take {unpacked} bytes; expected a mask")
    try:
        found = scipy.io.loadmat(io.BytesIO(content))
    except NotImplementedError:
        raise unreadable(name, "a MATLAB 7.3 file; save it again with save(…, '-v7')") from None
    for key in _MAT_STRUCTS:
        if key in found:
            return StoredMask(_two_axes(found[key]["Segmentation"][0, 0], name))
    arrays = {
        key: value for key, value in found.items()
        if isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind in "uibf"
        and min(value.shape) > 1
    }  # fmt: skip
    if len(arrays) != 1:
        listed = ", ".join(key for key in found if not key.startswith("__")) or "none"
        raise unreadable(name, f"variables {listed}; expected one matrix of class ids")
    values = next(iter(arrays.values()))
    check_pixels(*values.shape, 1, name, max_pixels)
    return StoredMask(values)


def _mat_bytes(content: bytes) -> int:
    """Bytes of all variables once unpacked, by the headers of the compressed elements."""
    if len(content) < 128:
        raise ValueError("the header is cut short")
    order = ">" if content[126:128] == b"MI" else "<"
    at, total = 128, 0
    while at + 8 <= len(content):
        kind, length = struct.unpack_from(order + "II", content, at)
        total += length
        if kind == 15:
            inner = zlib.decompressobj().decompress(content[at + 8 : at + 8 + length], 8)
            total += struct.unpack(order + "II", inner)[1] if len(inner) == 8 else 0
        at += 8 + length
    return total


def _read_tiff(stream: BinaryIO, kind: str, name: str, max_pixels: int) -> StoredMask:
    tags = read_tags(stream)
    check_pixels(tags.height, tags.width, tags.samples, name, max_pixels)
    if tags.pages > 1:
        raise DataError(
            f"{name}: a TIFF of {tags.pages} pages; expected one page of class ids; save the page "
            "that is meant, or one page with an id for each class"
        )
    if tags.plain and max(tags.bits) in (1, 8) and tags.planar == 1:
        stream.seek(0)
        stored = _read_picture(stream, kind, name, max_pixels)
        if tags.photometric != 0 or stored.values is None:
            return StoredMask(**{**vars(stored), "nodata": tags.nodata})
        # WhiteIsZero: Pillow inverted what the file stores.
        inverted = stored.values
        whole = ~inverted if inverted.dtype == bool else 255 - inverted
        return StoredMask(whole, nodata=tags.nodata, white_is_zero=True)
    array = tiff_array(stream, name, (tags.height, tags.width), max_pixels)
    array = upright(array, tags.orientation)
    if array.ndim == 3 and array.shape[-1] in (3, 4) and array.dtype == np.uint8:
        return _of_channels(array)
    white = tags.photometric == 0
    return StoredMask(_two_axes(array, name), nodata=tags.nodata, white_is_zero=white)


def _read_picture(stream: BinaryIO, kind: str, name: str, max_pixels: int) -> StoredMask:
    picture = decoding.open_picture(stream, kind, name, max_pixels)
    lossy = kind if kind in _LOSSY else "WebP" if kind == "WEBP" and _lossy_webp(stream) else ""
    if kind == "PNG":
        return _read_png(picture, stream, name)
    orientation = orientation_of(picture)
    if picture.mode == "P":
        values = upright(np.array(picture), orientation)
        return StoredMask(values, palette=_palette(picture), lossy=lossy)
    if picture.mode in ("RGBX", "CMYK", "YCbCr"):
        picture = picture.convert("RGB")
    if picture.mode not in ("1", "L", "LA", "RGB", "RGBA", "PA"):
        raise _format(name, picture.mode)
    array = upright(np.array(picture), orientation)
    stored = StoredMask(array) if array.ndim == 2 else _of_channels(array)
    return StoredMask(**{**vars(stored), "lossy": lossy})


def _read_png(picture: Image.Image, stream: BinaryIO, name: str) -> StoredMask:
    bits, kind = png.header(stream)
    if bits == 16 and kind == png.GRAY_ALPHA:
        raise _format(name, "16-bit gray with transparency")
    if png.is_deep_color(stream):
        deep = png.read_deep_color(stream)
        equal = (deep[..., :1] == deep[..., 1:3]).all()
        if equal and deep.shape[-1] == 3:
            return StoredMask(deep[..., 0])
        return _of_channels(_first_bytes(deep, name))
    orientation = orientation_of(picture)  # before the pixels are decoded; see there
    array = upright(np.array(picture), orientation)
    if kind == png.PALETTE and array.ndim == 2:
        return StoredMask(array, palette=_palette(picture))
    if array.ndim == 3:
        return _of_channels(array)
    if kind == png.GRAY and bits in (2, 4):
        # Pillow spreads them over 0..255.
        array = array // (255 // (2**bits - 1))
    return StoredMask(array)


def _first_bytes(deep: np.ndarray, name: str) -> np.ndarray:
    """Colors of 16 bits as 8 bits, if no two of them become one."""
    high, low = (deep >> 8).astype(np.uint8), (deep & 255).astype(np.uint8)
    table = np.zeros(256, np.uint8)
    table[high] = low
    if not np.array_equal(table[high], low):
        raise _format(name, "16-bit colors that 8 bits cannot tell apart")
    return high


def _of_channels(array: np.ndarray) -> StoredMask:
    """A mask of gray and alpha, of colors, or of colors and alpha: uint8 [H,W,2 to 4]."""
    alpha = array[..., -1] if array.shape[-1] in (2, 4) else None
    if alpha is not None and (alpha == 255).all():
        alpha = None
    if array.shape[-1] == 2:
        return StoredMask(np.ascontiguousarray(array[..., 0]), alpha=alpha)
    return StoredMask(colors=array[..., :3], alpha=alpha)


def _palette(picture: Image.Image) -> tuple[tuple[int, int, int], ...]:
    flat = picture.getpalette("RGB")
    return tuple(map(tuple, np.reshape(flat, (-1, 3)).tolist())) if flat else ()


def _lossy_webp(stream: BinaryIO) -> bool:
    """True if a WebP file holds a chunk of lossy pixels."""
    before = stream.tell()
    stream.seek(0)
    content = stream.read()
    stream.seek(before)
    at = 12
    while at + 8 <= len(content):
        chunk, length = content[at : at + 4], struct.unpack_from("<I", content, at + 4)[0]
        if chunk in (b"VP8 ", b"VP8L"):
            return chunk == b"VP8 "
        at += 8 + length + length % 2
    return False


def _format(name: str, mode: str) -> DataError:
    return DataError(
        f"{name}: pixel format {mode!r}; expected one 8-bit channel of class ids (gray or palette "
        "PNG), or colors of 8 bits; convert the mask"
    )


_READERS: dict[str, Callable[[BinaryIO, str, str, int], StoredMask]] = {
    "NPY": _read_npy,
    "MAT": _read_mat,
    "TIFF": _read_tiff,
}
