"""Reads a photo as a trained network expects it, or says why it does not fit."""

import math
import os
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ipixmatch_jax.data import Pixels
from ipixmatch_jax.data.files import decoding
from ipixmatch_jax.data.files.decoding import TooLarge
from ipixmatch_jax.data.files.images import check_opacity, open_picture, read_valid_bands
from ipixmatch_jax.data.files.multiband import (
    WIDENED,
    is_raw,
    is_widened,
    missing_pixels,
    to_eight_bits,
    with_channels,
    without_nodata,
)
from ipixmatch_jax.errors import DataError

Photo = str | os.PathLike | bytes | Image.Image | np.ndarray

# Pillow modes of 8 bits a channel, as training reads them.
_EIGHT_BIT = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Brightness as a share ends at 1; as a whole number it reaches 100, and half of it is above 10.
_TOP, _LEAST_WHOLE, _FAR = 0.999, 100.0, 10.0
_MEASURED = 100_000


def read_photo(
    photo: Photo,
    pixels: Pixels,
    name: str = "",
    *,
    at_least: tuple[int, int] | None = None,
) -> np.ndarray:
    """A photo as training would have read it: uint8 [H, W, D].

    See `read_valid_photo`.
    """
    return read_valid_photo(photo, pixels, name, at_least=at_least)[0]


def read_valid_photo(
    photo: Photo,
    pixels: Pixels,
    name: str = "",
    *,
    at_least: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """A photo as training would have read it, and which of its pixels hold data.

    Files and Pillow images are turned upright by their EXIF tag. For a network of
    three channels gray becomes RGB and transparency is dropped. Values of more than 8 bits become 8
    bits by the value range of the training images. For a network of 8-bit images, arrays of floats
    of 0 to 1, of wide integers of 0 to 255 and of True and False become 8 bits, too; so do 16-bit
    photos that were made from 8 bits (all values are multiples of 257).

    Args:
        photo: path, bytes of a file, Pillow image, or array [H, W] or [H, W, D].
        pixels: channels, value range and missing data of the training images, and the limit of
            pixels.
        name: name of the photo in messages; by default its path.
        at_least: (H, W) that suffices; JPEG files may then be decoded at a fraction of their size.

    Returns:
        uint8 [H, W, D], and bool [H, W] or None if all pixels hold data.

    Raises:
        DataError: unreadable, above `pixels.max_pixels`, or of other channels or another bit depth
            than the training images.
    """
    name = name or _name(photo)
    try:
        array, valid = _stored(photo, pixels, name, at_least)
    except TooLarge:
        raise  # its advice holds for every command
    except DataError as error:
        raise DataError(f"{fault(error)}; the network takes {needs(pixels)}") from None
    except Exception as error:  # whatever a decoder raises for a damaged file
        raise DataError(f"{name}: cannot be read ({type(error).__name__}: {error})") from None
    deep = bool(pixels.value_range)
    if not deep and is_widened(array):
        array = (array // WIDENED).astype(np.uint8)
    if not deep and not isinstance(photo, str | os.PathLike | bytes | Image.Image):
        array = _as_eight_bits(array, name)
    if deep == (array.dtype == np.uint8):
        raise DataError(
            f"{name}: {array.dtype} pixels; the network takes {needs(pixels)}; "
            "use a photo in the bit depth of the training images"
        )
    if not deep:
        return np.ascontiguousarray(array), valid
    _check_scale(array, pixels, name)
    return to_eight_bits(array, pixels.value_range), valid


def _check_scale(array: np.ndarray, pixels: Pixels, name: str) -> None:
    """Raises DataError for values of another scale, of which the network would see black or white.

    These are shares of 0 to 1 where training had whole numbers, and the reverse.
    """
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array.ravel()
    finite = finite[:: max(1, finite.size // _MEASURED)]
    low, high = _range_of(pixels)
    if not finite.size or low < 0 or finite.min() < 0:
        return  # measurements, no brightness
    top = float(np.quantile(finite, _TOP))
    # One band may be heights, of which a lake shows less than 1 m.
    bright = array.dtype.kind == "f" and array.shape[-1] >= 3
    shares = bright and 0.5 < top <= 1 and high >= _LEAST_WHOLE
    whole = high <= 1 and float(np.median(finite)) > _FAR
    if shares or whole:
        raise DataError(
            f"{name}: values up to {top:.4g}; the network takes {needs(pixels)}; "
            "bring the photo to the scale of the training images"
        )


def needs(pixels: Pixels) -> str:
    """The kind of images that a network was trained on, for messages."""
    depth = "8 bits a channel"
    if pixels.value_range:
        low, high = _range_of(pixels)
        depth = f"more than 8 bits a channel (values of about {low:g} to {high:g})"
    channels = "1 channel" if pixels.channels == 1 else f"{pixels.channels} channels"
    return f"images of {channels} with {depth}"


def _range_of(pixels: Pixels) -> tuple[float, float]:
    return min(p[0] for p in pixels.value_range), max(p[1] for p in pixels.value_range)


def fault(error: Exception) -> str:
    """The part of a message that names the file and its fault, without advice for training."""
    return str(error).partition("; expected")[0]


def _name(photo: Photo) -> str:
    if isinstance(photo, str | os.PathLike):
        return os.fspath(photo)
    if isinstance(photo, Image.Image):
        return getattr(photo, "filename", "") or "the photo"
    return "the photo" if isinstance(photo, bytes) else "the array"


def _stored(
    photo: Photo, pixels: Pixels, name: str, at_least: Any
) -> tuple[np.ndarray, np.ndarray | None]:
    """The upright photo [H, W, D] as it is stored, and which pixels hold data.

    In photos of more than 8 bits, missing data is NaN.
    """
    channels = pixels.channels
    if isinstance(photo, Image.Image):
        content = _unread_content(photo)
        if content is not None:
            return _stored(content, pixels, name, at_least)
        return _without_nodata(_from_pillow(photo, channels, name), pixels)
    if not isinstance(photo, str | os.PathLike | bytes):
        return _without_nodata(_from_array(np.asarray(photo), channels, name), pixels)
    if not isinstance(photo, bytes) and not os.path.exists(photo):
        raise DataError(f"{name}: there is no such file")
    if not is_raw(photo):
        with open_picture(photo, name, pixels.max_pixels) as picture:
            _check_bands(picture, channels, name)
    return read_valid_bands(photo, name, pixels, at_least)


def _without_nodata(array: np.ndarray, pixels: Pixels) -> tuple[np.ndarray, np.ndarray | None]:
    """NaN where a photo that is no file holds data.nodata, as training reads files."""
    if pixels.value_range and array.dtype != np.uint8:
        for value in filter(math.isfinite, pixels.nodata):
            array = without_nodata(array, value)
    missing = missing_pixels(array)
    return array, None if missing is None else ~missing


def _check_bands(picture: Image.Image, channels: int, name: str) -> None:
    if picture.mode in _EIGHT_BIT and channels == 4:
        check_opacity(picture, channels, name)
    elif picture.mode in _EIGHT_BIT and channels not in (1, 3):
        raise DataError(f"{name}: {len(picture.getbands())} channel(s) ({picture.mode})")


def _unread_content(picture: Image.Image) -> bytes | None:
    """The file of a Pillow image whose pixels were not read yet; None if they were.

    Pillow reduces colors of 16 bits to 8, and reads the first page of several alone.
    """
    stream = getattr(picture, "fp", None)
    if not getattr(picture, "tile", None) or stream is None or picture.tell():
        return None
    at = stream.tell()
    stream.seek(0)
    content = stream.read()
    stream.seek(at)
    return content if decoding.format_of(content[:64]) else None


def _from_pillow(picture: Image.Image, channels: int, name: str) -> np.ndarray:
    _check_bands(picture, channels, name)
    # Pillow itself turns TIFF; a copy that was turned or converted no longer has a format.
    picture = ImageOps.exif_transpose(picture)
    if picture.mode not in _EIGHT_BIT:
        return with_channels(_deep_pixels(picture, name), channels, name)
    if channels not in _MODES:
        raise DataError(f"{name}: {len(picture.getbands())} channel(s) ({picture.mode})")
    array = np.array(picture.convert(_MODES[channels]))
    return array if array.ndim == 3 else array[..., None]


def _deep_pixels(picture: Image.Image, name: str) -> np.ndarray:
    """Pixels of more than 8 bits. Bytes of HSV, CIELab and the like are no brightness."""
    array = np.array(picture)
    if array.dtype == np.uint8:
        raise DataError(
            f"{name}: a Pillow image of mode {picture.mode!r}; convert it by image.convert('RGB'), "
            "or read the file again"
        )
    return array


def _from_array(array: np.ndarray, channels: int, name: str) -> np.ndarray:
    if array.dtype.kind == "V" and array.dtype.names is None:
        array = array.astype(np.float32)  # bfloat16 and the small floats of ml_dtypes
    if array.ndim not in (2, 3) or array.dtype.kind not in "uifb" or 0 in array.shape:
        raise DataError(f"{name}: {array.dtype} {list(array.shape)} is no image")
    return with_channels(array, channels, name)


def _as_eight_bits(array: np.ndarray, name: str) -> np.ndarray:
    """An array of numbers that can mean 8-bit values in one way only, as uint8.

    Floats of 0 to 1 are brightness, as in matplotlib. Whole numbers of 0 to 255 are 8-bit values in
    a type that no camera writes. 16-bit arrays may be dark photos of any depth, and stay.

    Raises:
        DataError: other values; with the conversion to choose.
    """
    kind = array.dtype.kind
    if kind == "f":
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise DataError(
                f"{name}: {array.dtype} values {_range(array)}; floats hold 0 to 1; convert "
                "values of 0 to 255 by array.astype('uint8')"
            )
        return (array.astype(np.float32) * 255).round().astype(np.uint8)
    if kind in "iu" and array.dtype.itemsize > 2:
        if array.min() < 0 or array.max() > 255:
            raise DataError(f"{name}: {array.dtype} values {_range(array)}; expected 0 to 255")
        return array.astype(np.uint8)
    if kind in "iu" and array.dtype.itemsize == 2:
        raise DataError(
            f"{name}: {array.dtype} pixels; the network was trained on 8 bits a channel; convert "
            "values of 0 to 65535 by (array // 257).astype('uint8')"
        )
    return array


def _range(array: np.ndarray) -> str:
    finite = array[np.isfinite(array)]
    low, high = (finite.min(), finite.max()) if finite.size else (np.nan, np.nan)
    missing = "" if finite.size == array.size else ", some of them not finite"
    return f"of {low:g} to {high:g}{missing}"
