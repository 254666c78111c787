"""Files and bytes to arrays: images in RGB, masks as class ids, each fault named."""

import io
import os
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError

_EIGHT_BIT = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
_CLASS_ID_MODES = frozenset({"1", "L", "P"})
_ORIENTATION_TAG = 0x0112

File = str | os.PathLike | bytes


def _open(file: File, name: str) -> Image.Image:
    stream: str | os.PathLike | BinaryIO = io.BytesIO(file) if isinstance(file, bytes) else file
    try:
        return Image.open(stream)
    except FileNotFoundError:
        raise DataError(f"{name}: the file is gone; put it back or take its id out") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(name, error) from None


def _unreadable(name: str, error: Exception) -> DataError:
    return DataError(
        f"{name}: cannot be read as an image ({error}); expected a whole JPEG or PNG; "
        "replace the file or take its id out of the list"
    )


def _orientation(image: Image.Image) -> int:
    # Only cameras turn pictures by a tag, and only in JPEG can the tag be read without the pixels.
    if image.format not in ("JPEG", "MPO"):
        return 1
    return image.getexif().get(_ORIENTATION_TAG, 1)


def image_size(file: File, name: str) -> tuple[int, int]:
    """(H, W) that `read_image` will give, from the header alone.

    Args:
        file: path, or the bytes of the file.
        name: how messages call it.

    Raises:
        DataError: not an image.
    """
    with _open(file, name) as image:
        width, height = image.size
        turned = _orientation(image) >= 5
    return (width, height) if turned else (height, width)


def read_image(file: File, name: str = "") -> np.ndarray:
    """An image as RGB, uint8 [H,W,3], turned upright where a JPEG's EXIF orientation says so.

    Grey, palette and transparent images become RGB; transparency is dropped.

    Args:
        file: path, or the bytes of the file.
        name: how messages call it; by default its path.

    Raises:
        DataError: unreadable, or more than eight bits a channel.
    """
    name = name or str(file)
    with _open(file, name) as image:
        if image.mode not in _EIGHT_BIT:
            raise DataError(
                f"{name}: pixel format {image.mode!r}; expected 8 bits a channel; "
                "convert the image to 8-bit RGB or grey"
            )
        try:
            upright = ImageOps.exif_transpose(image) if _orientation(image) != 1 else image
            return np.array(upright.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise _unreadable(name, error) from None


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image uint8 [h,w,3] at `size` (H, W), bilinear and without aliasing: uint8 [H,W,3]."""
    return _resize(image, size, Image.Resampling.BILINEAR)


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A class-id map uint8 [h,w] at `size` (H, W), each pixel the nearest one: uint8 [H,W]."""
    return _resize(mask, size, Image.Resampling.NEAREST)


def _resize(array: np.ndarray, size: tuple[int, int], method: Image.Resampling) -> np.ndarray:
    height, width = size
    if array.shape[:2] == (height, width):
        return array
    return np.array(Image.fromarray(array).resize((width, height), method))


def read_class_ids(file: File, name: str) -> np.ndarray:
    """A single-channel image as the integers it stores, uint8 [H,W]; palettes are not applied.

    Args:
        file: path, or the bytes of the file.
        name: how messages call it.

    Raises:
        DataError: unreadable, more than one channel, or more than eight bits.
    """
    with _open(file, name) as image:
        if image.mode not in _CLASS_ID_MODES:
            raise DataError(
                f"{name}: pixel format {image.mode!r}; expected one 8-bit channel of class ids "
                "(grey or palette PNG); colours are never read as classes: "
                "convert the mask to class ids"
            )
        try:
            return np.array(image).astype(np.uint8)
        except (OSError, SyntaxError, ValueError) as error:
            raise _unreadable(name, error) from None


def check_mask(mask: np.ndarray, num_classes: int, name: str) -> None:
    """Raise a DataError unless every value of `mask` [H,W] is a class id or 255."""
    counts = np.bincount(mask.ravel(), minlength=256)
    bad = [int(value) for value in np.flatnonzero(counts[:IGNORE]) if value >= num_classes]
    if not bad:
        return
    shown = ", ".join(map(str, bad[:8])) + (", …" if len(bad) > 8 else "")
    share = 100.0 * counts[bad].sum() / mask.size
    raise DataError(
        f"{name}: mask value {shown} in {share:.1f} % of the pixels; expected class ids "
        f"0..{num_classes - 1} or {IGNORE} for ignore; set data.num_classes to the number of "
        "classes in the masks, or renumber the masks"
    )


def check_same_size(
    image: tuple[int, int], mask: tuple[int, int], image_name: str, mask_name: str
) -> None:
    """Raise a DataError unless (H, W) of image and mask agree."""
    if image == mask:
        return
    hint = "make the mask from this very image"
    if image == mask[::-1]:
        hint += " (the two are turned by 90°: the image's EXIF orientation is applied on reading)"
    raise DataError(
        f"{mask_name}: mask is {mask[1]}x{mask[0]} (width x height), its image {image_name} is "
        f"{image[1]}x{image[0]}; expected the same size; {hint}"
    )
