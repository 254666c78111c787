"""Read image files and bytes as upright arrays with 8 bits per channel."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps

from ipixmatch_jax.data.files import decoding, multiband, pnm
from ipixmatch_jax.data.files.decoding import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    File,
    fetch,
    opened,
    unreadable,
)
from ipixmatch_jax.data.files.orientation import orientation_of, turned_size, upright
from ipixmatch_jax.data.files.png import (
    is_deep_color,
    is_deep_gray_alpha,
    read_deep_color,
    read_deep_gray,
)
from ipixmatch_jax.data.files.tiff_tags import read_tags
from ipixmatch_jax.errors import DataError

__all__ = [
    "IMAGE_SUFFIXES",
    "RGB",
    "File",
    "Pixels",
    "check_opacity",
    "displayable",
    "fetch",
    "image_orientation",
    "image_size",
    "open_picture",
    "pixel_array",
    "read_bands",
    "read_image",
    "read_valid_bands",
    "read_valid_image",
    "resample",
    "resize_image",
    "resize_mask",
    "stored_channels",
    "unreadable",
]

_EIGHT_BIT = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
_DEEP = frozenset({"I", "I;16", "I;16B", "I;16L"})
_MODE_OF_CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Pixels:
    """Format that every image of a data set is converted to.

    Attributes:
        channels: number of bands.
        value_range: (low, high) of each channel, or one pair for all channels: the values that
            become 0 and 255 in images of more than 8 bits; () if there are none.
        nodata: values that mark missing data, beyond NaN and those that GDAL's tag names.
        max_pixels: larger images are refused before they are decoded.
    """

    channels: int = 3
    value_range: tuple[tuple[float, float], ...] = ()
    nodata: tuple[float, ...] = ()
    max_pixels: int = MAX_PIXELS


RGB = Pixels()


def open_picture(file: File, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open a file with Pillow, without decoding its pixels.

    Raises:
        DataError: the file does not exist, is no image, or is too large.
    """
    with decoding.decoding(name):
        content = fetch(file, name)
        decoding.check_regular(content, name)
        content = content if isinstance(content, bytes) else Path(content).read_bytes()
        kind = decoding.format_of(content[:64])
        return decoding.open_picture(io.BytesIO(content), kind, name, max_pixels)


def pixel_array(picture: Image.Image, name: str) -> np.ndarray:
    """The decoded pixels of an open picture; a DataError if the file is damaged."""
    with decoding.decoding(name):
        return np.array(picture)


def image_size(file: File, name: str) -> tuple[int, int]:
    """Return the (H, W) that `read_image` will give, from the header alone.

    Args:
        file: path, or the bytes of the file.
        name: the file's name in messages.

    Raises:
        DataError: not an image.
    """
    with opened(file, name) as (stream, kind):
        if multiband.raw_kind(stream, kind, name):
            return multiband.read_stream(
                stream, kind, name, shape_only=True, max_pixels=_NO_BOUND
            ).shape[:2]
        picture = decoding.open_picture(stream, kind, name, _NO_BOUND)
        return turned_size((picture.height, picture.width), orientation_of(picture))


def image_orientation(file: File, name: str) -> int:
    """The EXIF orientation 1 to 8 by which `read_image` turns an image.

    Raises:
        DataError: not an image.
    """
    with opened(file, name) as (stream, kind):
        if kind == "TIFF":
            return read_tags(stream).orientation
        if kind == "NPY":
            return 1
        return orientation_of(decoding.open_picture(stream, kind, name, _NO_BOUND))


# A size alone costs no memory.
_NO_BOUND = 2**62


def read_image(
    file: File,
    name: str = "",
    pixels: Pixels = RGB,
    *,
    at_least: tuple[int, int] | None = None,
) -> np.ndarray:
    """Read an image as uint8 [H,W,C], turned upright as its EXIF orientation says.

    With three channels, gray and palette images become RGB and transparency is dropped; one
    channel is gray, four are RGBA. Other numbers of channels, and 16-bit or float values, are read
    from TIFF, NPY and 16-bit PNG files as stored and scaled to 8 bits by `pixels.value_range`.

    Args:
        file: path, or the bytes of the file.
        name: the file's name in messages; by default its path.
        pixels: number of channels and value range.
        at_least: (H, W) that is enough: JPEG files are then decoded at 1/2, 1/4 or 1/8 of their
            size, never below it. The caller resizes the result anyway.

    Raises:
        DataError: unreadable, another number of channels, or deep pixels without a value range.
    """
    return read_valid_image(file, name, pixels, at_least=at_least)[0]


def read_valid_image(
    file: File,
    name: str = "",
    pixels: Pixels = RGB,
    *,
    at_least: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """An image as of `read_image`, and which pixels hold data: bool [H,W], None if all do."""
    name = name or str(file)
    array, missing = _stored(file, name, pixels, at_least)
    valid = None if missing is None else ~missing
    if array.dtype == np.uint8:
        return array, valid
    if not pixels.value_range:
        if multiband.is_widened(array):
            return (array // multiband.WIDENED).astype(np.uint8), valid
        raise DataError(_no_range(array, name))
    return multiband.to_eight_bits(array, pixels.value_range), valid


def _no_range(array: np.ndarray, name: str) -> str:
    low, high = multiband.extremes(array)
    whole = array.dtype.kind == "u"
    # The range of a sensor of 10, 12, 14 or 16 bits, or that of the values themselves.
    usual = f"(0, {2 ** max(int(high).bit_length(), 9) - 1})" if whole else f"({low:g}, {high:g})"
    return (
        f"{name}: {array.dtype} pixels, {low:g} to {high:g}; expected 8 bits per channel, or the "
        "values that become 0 and 255; images of 8 bits are read as they are; set "
        f"data.value_range=({usual},) if this range is black to white in all images of more than "
        "8 bits, or data.statistics=measure to scale such images by the values that the labeled "
        "ones hold"
    )


def stored_channels(path: str) -> int | None:
    """Bands of an image that is no picture of 8 bits; None if it is one.

    Raises:
        DataError: unreadable.
    """
    with opened(path, path) as (stream, kind):
        bands = _raw_bands(stream, kind, path)
        if bands is not None:
            return bands
        picture = decoding.open_picture(stream, kind, path, _NO_BOUND)
        deep_gray = picture.mode in _DEEP or (kind == "PNG" and is_deep_gray_alpha(stream))
        return 1 if deep_gray else None


def _raw_bands(stream: BinaryIO, kind: str, name: str) -> int | None:
    """Bands of an open file that Pillow does not read; None if it does."""
    if not multiband.raw_kind(stream, kind, name):
        return None
    array = multiband.read_stream(stream, kind, name, shape_only=True, max_pixels=_NO_BOUND)
    return array.shape[-1]


def is_colored(path: str) -> bool:
    """True for a file of three or four bands, whatever their colors; False if it is unreadable."""
    try:
        with opened(path, path) as (stream, kind):
            bands = _raw_bands(stream, kind, path)
            if bands is not None:
                return bands in (3, 4)
            picture = decoding.open_picture(stream, kind, path, _NO_BOUND)
            return len(picture.getbands()) > 2 or picture.mode == "P"
    except DataError:
        return False


def read_bands(
    file: File, name: str, pixels: Pixels | int, at_least: tuple[int, int] | None = None
) -> np.ndarray:
    """Read an image [H,W,C] in the data type stored in the file; arguments as in `read_image`.

    Missing data is NaN, except in images of 8 bits.

    Raises:
        DataError: unreadable, or another number of channels.
    """
    pixels = Pixels(pixels) if isinstance(pixels, int) else pixels
    return _stored(file, name, pixels, at_least)[0]


def read_valid_bands(
    file: File, name: str, pixels: Pixels, at_least: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """An image as of `read_bands`, and which pixels hold data: bool [H,W], None if all do."""
    array, missing = _stored(file, name, pixels, at_least)
    return array, None if missing is None else ~missing


def _stored(
    file: File, name: str, pixels: Pixels, at_least: tuple[int, int] | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The image [H,W,C] and its missing pixels, bool [H,W] or None."""
    with opened(file, name) as (stream, kind):
        if multiband.raw_kind(stream, kind, name):
            array = _raw(stream, kind, name, pixels)
        else:
            array = _pillow(stream, kind, name, pixels, at_least)
        nodata = list(pixels.nodata)
        if kind == "TIFF":
            stream.seek(0)
            tags = read_tags(stream)
            nodata += [tags.nodata] if tags.nodata is not None else []
        return _missing(multiband.with_channels(array, pixels.channels, name), nodata)


def _raw(stream: BinaryIO, kind: str, name: str, pixels: Pixels) -> np.ndarray:
    def read(shape_only: bool) -> np.ndarray:
        stream.seek(0)
        return multiband.read_stream(
            stream, kind, name, shape_only=shape_only, max_pixels=pixels.max_pixels
        )

    # Files of another number of bands are refused before they are decoded.
    shape = read(shape_only=True).shape
    if kind == "TIFF":
        stream.seek(0)
        multiband.check_bands(shape[-1], pixels.channels, name, read_tags(stream).pages)
    return read(shape_only=False)


def _missing(array: np.ndarray, nodata: list[float]) -> tuple[np.ndarray, np.ndarray | None]:
    if array.dtype == np.uint8:
        missing = np.zeros(array.shape[:2], bool)
        for value in nodata:
            missing |= (array == value).all(-1)
        return array, missing if missing.any() else None
    for value in nodata:
        array = multiband.without_nodata(array, value) if np.isfinite(value) else array
    return array, multiband.missing_pixels(array)


def _pillow(
    stream: BinaryIO, kind: str, name: str, pixels: Pixels, at_least: tuple[int, int] | None
) -> np.ndarray:
    picture = decoding.open_picture(stream, kind, name, pixels.max_pixels)
    if kind == "PNG" and is_deep_color(stream):
        return read_deep_color(stream)
    if kind == "PNG" and is_deep_gray_alpha(stream):
        return read_deep_gray(stream)
    if kind == "PPM" and pnm.white_of(picture) > 255:
        return pnm.read_deep(picture, stream)
    if picture.mode in _DEEP:
        orientation = orientation_of(picture)  # before the pixels are decoded; see there
        return upright(np.array(picture), orientation)
    if picture.mode not in _EIGHT_BIT:
        raise unreadable(name, f"pixel format {picture.mode!r}")
    if pixels.channels not in _MODE_OF_CHANNELS:
        raise multiband.wrong_channels(len(picture.getbands()), pixels.channels, name)
    if kind == "TIFF" or picture.mode == "CMYK":
        # There a fourth band is seldom opacity; elsewhere pictures without it are opaque.
        check_opacity(picture, pixels.channels, name)
    return _eight_bit(picture, _MODE_OF_CHANNELS[pixels.channels], at_least)


def check_opacity(picture: Image.Image, channels: int, name: str) -> None:
    """Raise a DataError if four channels are wanted of a picture of 8 bits without opacity.

    Pillow would make the fourth band 255.
    """
    if channels == 4 and not picture.has_transparency_data:
        bands = len(picture.getbands())
        raise DataError(
            f"{name}: {bands} channel(s) ({picture.mode}), and no fourth band or opacity; expected "
            "images of 4 channels; add the fourth band, or set data.channels=3 to train without it"
        )


def _eight_bit(picture: Image.Image, mode: str, at_least: tuple[int, int] | None) -> np.ndarray:
    orientation = orientation_of(picture)
    if at_least is not None and picture.format == "JPEG":
        height, width = at_least[::-1] if orientation >= 5 else at_least
        picture.draft(picture.mode, (width, height))
    upright = ImageOps.exif_transpose(picture) if orientation != 1 else picture
    array = np.asarray(upright if upright.mode == mode else upright.convert(mode))
    return array if array.ndim == 3 else array[..., None]


def displayable(image: np.ndarray) -> np.ndarray:
    """The first three bands of an image uint8 [H,W,C], to display it: uint8 [H,W,3]."""
    return np.repeat(image[..., :1], 3, -1) if image.shape[-1] < 3 else image[..., :3]


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image uint8 [h,w,C] to `size` (H, W), bilinear with antialiasing: uint8 [H,W,C]."""
    if image.shape[:2] == tuple(size):
        return image
    return resample(image, size, Image.Resampling.BILINEAR)


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a class-id map uint8 [h,w] to `size` (H, W) by nearest neighbor: uint8 [H,W]."""
    if mask.shape == tuple(size):
        return mask
    return resample(mask, size, Image.Resampling.NEAREST)


def resample(
    array: np.ndarray, size: tuple[int, int], method: Image.Resampling, box: Any = None
) -> np.ndarray:
    """Resize `box` of uint8 [h,w] or [h,w,C] to `size` (H, W) with Pillow."""
    height, width = size
    if array.ndim == 2 or array.shape[-1] == 3:
        return np.asarray(Image.fromarray(array).resize((width, height), method, box=box))
    # Band by band: Pillow would treat a fourth band as alpha, and has no fifth.
    planes = [Image.fromarray(array[..., band]) for band in range(array.shape[-1])]
    resized = [np.asarray(plane.resize((width, height), method, box=box)) for plane in planes]
    return np.stack(resized, -1)
