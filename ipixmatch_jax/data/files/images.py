"""Read image files and bytes as upright arrays with 8 bits per channel."""

import io
import os
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps

from ipixmatch_jax.data.files import multiband
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import fetched

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".npy")

_EIGHT_BIT = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
_MODE_OF_CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}
_ORIENTATION_TAG = 0x0112
# Exceptions that Pillow raises for truncated or damaged files.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)

File = str | os.PathLike | bytes


@dataclass(frozen=True)
class Pixels:
    """Format that every image of a data set is converted to.

    Attributes:
        channels: number of bands.
        value_range: (low, high) of each channel, or one pair for all channels: the values that
            become 0 and 255 in images of more than 8 bits; () if there are none.
    """

    channels: int = 3
    value_range: tuple[tuple[float, float], ...] = ()


RGB = Pixels()


def fetch(file: File, name: str) -> File:
    """Download a file from an object store as bytes; return other files unchanged.

    Raises:
        DataError: the file does not exist or cannot be read.
    """
    try:
        return fetched(file)
    except FileNotFoundError:
        raise _gone(name) from None
    except OSError as error:
        raise unreadable(name, error) from None


def _gone(name: str) -> DataError:
    return DataError(f"{name}: the file is gone; put it back or remove its id from the list")


def open_picture(file: File, name: str) -> Image.Image:
    """Open a file with Pillow, without decoding its pixels.

    Raises:
        DataError: the file does not exist or is no image.
    """
    stream: str | os.PathLike | BinaryIO = io.BytesIO(file) if isinstance(file, bytes) else file
    try:
        return Image.open(stream)
    except FileNotFoundError:
        raise _gone(name) from None
    except _DAMAGE as error:
        raise unreadable(name, error) from None


def unreadable(name: str, error: Exception | str) -> DataError:
    """The error for a file that is damaged or not an image."""
    return DataError(
        f"{name}: cannot be read as an image ({error}); expected a whole "
        f"{', '.join(suffix[1:].upper() for suffix in IMAGE_SUFFIXES)} file; "
        "replace the file or remove its id from the list"
    )


def pixel_array(picture: Image.Image, name: str) -> np.ndarray:
    """The decoded pixels of an open picture; a DataError if the file is damaged."""
    try:
        return np.array(picture)
    except _DAMAGE as error:
        raise unreadable(name, error) from None


def _orientation(picture: Image.Image) -> int:
    # Only cameras turn pictures by a tag, and only in JPEG can the tag be read without the pixels.
    if picture.format not in ("JPEG", "MPO") or not picture.info.keys() & {"exif", "xmp"}:
        return 1
    found = picture.getexif().get(_ORIENTATION_TAG, 1)
    return found if found in range(1, 9) else 1  # some files hold text or zero there


def image_size(file: File, name: str) -> tuple[int, int]:
    """Return the (H, W) that `read_image` will give, from the header alone.

    Args:
        file: path, or the bytes of the file.
        name: the file's name in messages.

    Raises:
        DataError: not an image.
    """
    file = fetch(file, name)
    if multiband.is_raw(file):
        return multiband.size(file, name)
    with open_picture(file, name) as picture:
        width, height = picture.size
        turned = _orientation(picture) >= 5
    return (width, height) if turned else (height, width)


def read_image(
    file: File,
    name: str = "",
    pixels: Pixels = RGB,
    *,
    at_least: tuple[int, int] | None = None,
) -> np.ndarray:
    """Read an image as uint8 [H,W,C], turned upright as its EXIF orientation says.

    With three channels, grey and palette images become RGB and transparency is dropped; one
    channel is grey, four are RGBA. Other numbers of channels, and 16-bit or float values, are read
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
    name = name or str(file)
    array = read_bands(file, name, pixels.channels, at_least)
    if array.dtype == np.uint8:
        return array
    if not pixels.value_range:
        raise DataError(
            f"{name}: {array.dtype} pixels; expected 8 bits per channel, or a range to scale "
            "them to 8 bits; set data.statistics=measure, or data.value_range to (low, high)"
        )
    return multiband.to_eight_bits(array, pixels.value_range)


def read_bands(
    file: File, name: str, channels: int, at_least: tuple[int, int] | None = None
) -> np.ndarray:
    """Read an image [H,W,C] in the data type stored in the file; arguments as in `read_image`.

    Raises:
        DataError: unreadable, or another number of channels.
    """
    file = fetch(file, name)
    if multiband.is_raw(file):
        return multiband.with_channels(multiband.read(file, name), channels, name)
    with open_picture(file, name) as picture:
        if picture.mode not in _EIGHT_BIT:
            return multiband.with_channels(pixel_array(picture, name), channels, name)
        if channels not in _MODE_OF_CHANNELS:
            raise multiband.wrong_channels(len(picture.getbands()), channels, name)
        return _eight_bit(picture, name, _MODE_OF_CHANNELS[channels], at_least)


def _eight_bit(
    picture: Image.Image, name: str, mode: str, at_least: tuple[int, int] | None
) -> np.ndarray:
    orientation = _orientation(picture)
    if at_least is not None and picture.format == "JPEG":
        height, width = at_least[::-1] if orientation >= 5 else at_least
        picture.draft(picture.mode, (width, height))
    try:
        upright = ImageOps.exif_transpose(picture) if orientation != 1 else picture
        array = np.asarray(upright if upright.mode == mode else upright.convert(mode))
    except _DAMAGE as error:
        raise unreadable(name, error) from None
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
