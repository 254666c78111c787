"""Read mask files as class ids, and explain values that are no class id."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from ipixmatch_jax.data.files.images import (
    File,
    fetch,
    open_picture,
    pixel_array,
    unreadable,
)
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".webp", ".npy", ".mat")

_CLASS_ID_MODES = frozenset({"1", "L", "P"})
_DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L"})
_SHOWN = 8


@dataclass(frozen=True)
class Masks:
    """How to read the masks of a data set.

    Attributes:
        num_classes: class ids are 0..num_classes - 1, and 255 for ignore.
        lookup: the class id of each stored value, 256 of them; empty: the values themselves.
        colors: for coloured masks, the class id of each (red, green, blue); else None.
        palette: the data set's colours, to recognize masks that hold them by mistake.
    """

    num_classes: int
    lookup: tuple[int, ...] = ()
    colors: tuple[tuple[tuple[int, int, int], int], ...] | None = None
    palette: tuple[tuple[int, int, int], ...] = ()

    def read(self, file: File, name: str) -> np.ndarray:
        """Read the class ids of a mask file, uint8 [H,W], and check every one.

        Args:
            file: path, or the bytes of the file.
            name: the file's name in messages.

        Raises:
            DataError: unreadable, or a value that is no class id.
        """
        if self.colors is not None:
            return from_colors(read_colors(file, name), dict(self.colors), name)
        mask = read_class_ids(file, name)
        if self.lookup:
            mask = np.array(self.lookup, np.uint8)[mask]
        check_mask(mask, self.num_classes, name, self.palette)
        return mask


def read_class_ids(file: File, name: str) -> np.ndarray:
    """Read a single-channel mask as the integers it stores, uint8 [H,W]; ignore its palette.

    Args:
        file: path, or the bytes of the file; `.npy` holds an array, `.mat` the `GTcls` of SBD.
        name: the file's name in messages.

    Raises:
        DataError: unreadable, more than one channel, values above 255, or lossy compression.
    """
    suffix = Path(name).suffix.lower() if isinstance(file, str | os.PathLike) else ""
    file = fetch(file, name)
    if suffix in (".npy", ".mat"):
        stored = _read_array(io.BytesIO(file) if isinstance(file, bytes) else file, suffix, name)
        return _eight_bit(stored, name)
    with open_picture(file, name) as picture:
        if picture.format == "JPEG":
            raise DataError(
                f"{name}: a JPEG; its compression changes class ids at every edge; expected a PNG; "
                "make the mask again without JPEG"
            )
        if picture.mode in _DEEP_MODES:
            return _eight_bit(pixel_array(picture, name), name)
        if picture.mode not in _CLASS_ID_MODES:
            raise DataError(
                f"{name}: pixel format {picture.mode!r}; expected one 8-bit channel of class ids "
                "(grey or palette PNG); if its colours are the classes, set "
                "data.masks='colors' and data.palette, or convert the mask to class ids"
            )
        return pixel_array(picture, name).astype(np.uint8)


def _read_array(file: str | os.PathLike | BinaryIO, suffix: str, name: str) -> np.ndarray:
    try:
        if suffix == ".npy":
            return np.load(file, allow_pickle=False)
        import scipy.io

        return scipy.io.loadmat(file)["GTcls"]["Segmentation"][0, 0]
    except FileNotFoundError:
        raise DataError(
            f"{name}: the file is gone; put it back or remove its id from the list"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, IndexError) as error:
        raise unreadable(name, error) from None


def _eight_bit(stored: np.ndarray, name: str) -> np.ndarray:
    if stored.ndim != 2 or stored.dtype.kind not in "uib":
        raise DataError(
            f"{name}: holds {stored.dtype}{list(stored.shape)}; expected class ids, integers "
            "[height, width]; save it in this form"
        )
    if stored.size and (stored.min() < 0 or stored.max() > 255):
        value = int(stored.min() if stored.min() < 0 else stored.max())
        raise DataError(
            f"{name}: mask value {value}; expected 8-bit class ids, with {IGNORE} for ignore; "
            "renumber the masks"
        )
    return stored.astype(np.uint8)


def read_colors(file: File, name: str) -> np.ndarray:
    """Read the colours that a mask shows, with its palette applied: uint8 [H,W,3].

    Raises:
        DataError: unreadable, or lossy compression.
    """
    with open_picture(fetch(file, name), name) as picture:
        if picture.format == "JPEG":
            raise DataError(
                f"{name}: a JPEG; its compression changes the colours of classes; expected a PNG"
            )
        if picture.mode not in ("RGB", "RGBA", "P", "PA", "L", "1"):
            raise DataError(f"{name}: pixel format {picture.mode!r}; expected RGB or palette")
        return pixel_array(picture.convert("RGB"), name)


def packed(colors: np.ndarray) -> np.ndarray:
    """Pack colours uint8 [...,3] into one number each: int32 [...]."""
    red, green, blue = (colors[..., channel].astype(np.int32) for channel in range(3))
    return (red << 16) | (green << 8) | blue


def from_colors(
    picture: np.ndarray, colors: dict[tuple[int, int, int], int], name: str
) -> np.ndarray:
    """Map each pixel's colour to its class id: uint8 [H,W,3] to uint8 [H,W].

    Args:
        picture: the coloured mask.
        colors: (red, green, blue) to class id.
        name: the file's name in messages.

    Raises:
        DataError: a colour that belongs to no class.
    """
    numbers = packed(picture)
    found, inverse = np.unique(numbers, return_inverse=True)
    table = {(r << 16) | (g << 8) | b: class_id for (r, g, b), class_id in colors.items()}
    unknown = [int(value) for value in found if int(value) not in table]
    if unknown:
        share = 100.0 * np.isin(numbers, unknown).mean()
        shown = ", ".join(str((v >> 16, (v >> 8) & 255, v & 255)) for v in unknown[:_SHOWN])
        raise DataError(
            f"{name}: colour {shown}{', …' if len(unknown) > _SHOWN else ''} in {share:.1f} % of "
            "the pixels; expected the colours of data.palette or data.ignore_colors; add them "
            "there, or correct the mask (smoothed edges make many colours)"
        )
    ids = np.array([table[int(value)] for value in found], np.uint8)
    return ids[inverse].reshape(numbers.shape)


def check_mask(
    mask: np.ndarray,
    num_classes: int,
    name: str,
    palette: Sequence[Sequence[int]] = (),
) -> None:
    """Raise a DataError unless every value of `mask` [H,W] is a class id or 255."""
    counts = np.bincount(mask.ravel(), minlength=256)
    bad = [int(value) for value in np.flatnonzero(counts[:IGNORE]) if value >= num_classes]
    if not bad:
        return
    shown = ", ".join(map(str, bad[:_SHOWN])) + (", …" if len(bad) > _SHOWN else "")
    share = 100.0 * counts[bad].sum() / mask.size
    reason = likely_reason(np.flatnonzero(counts), num_classes, palette)
    raise DataError(
        f"{name}: mask value {shown} in {share:.1f} % of the pixels; expected class ids "
        f"0..{num_classes - 1} or {IGNORE} for ignore; "
        + (f"likely {reason}" if reason else "")
        + "set data.num_classes to the number of classes in the masks, or renumber the masks"
    )


def likely_reason(
    values: np.ndarray, num_classes: int, palette: Sequence[Sequence[int]] = ()
) -> str:
    """A likely reason for these mask values, as the middle of a sentence; '' if none fits.

    Args:
        values: the distinct values of the mask.
        num_classes: class ids should be below it.
        palette: the data set's colours.
    """
    held = {int(value) for value in values} - {IGNORE}
    greys = {_luma(color) for color in palette}
    if num_classes == 19 and max(held) <= 33 and held & set(range(19, 34)):
        return "Cityscapes labelIds in place of trainIds: use the labelTrainIds files; or "
    if len(palette) and held <= greys and len(held) > 1:
        return "the grey values of the palette's colours: save indices, not converted colours; or "
    if held <= {0, 128, 254, 1, 2} and max(held) >= 128:
        return "a binary mask with foreground written as a brightness: write it as 1; or "
    if 0 not in held and max(held) == num_classes:
        return "off by one: ids start at 1 in place of 0: subtract 1; or "
    if max(held) == num_classes and num_classes > 2:
        return "off by one, or one class more than data.num_classes: "
    return ""


def _luma(color: Sequence[int]) -> int:
    # Pillow's own conversion of colours to grey.
    return Image.new("RGB", (1, 1), tuple(int(c) for c in color)).convert("L").getpixel((0, 0))


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
