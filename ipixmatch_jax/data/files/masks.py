"""Read mask files as class ids, by the style in which a data set's masks are drawn."""

from dataclasses import dataclass

import numpy as np

from ipixmatch_jax.data.files.decoding import MAX_PIXELS, File
from ipixmatch_jax.data.files.mask_cache import cache_folder, converted
from ipixmatch_jax.data.files.mask_checks import check_mask, check_same_size, likely_reason
from ipixmatch_jax.data.files.mask_styles import STYLES, color_ids, ids_of, plain_colors
from ipixmatch_jax.data.files.stored_masks import MASK_SUFFIXES, read_stored

__all__ = [
    "MASK_SUFFIXES",
    "STYLES",
    "Masks",
    "check_mask",
    "check_same_size",
    "from_colors",
    "likely_reason",
    "packed",
    "read_class_ids",
    "read_colors",
]


@dataclass(frozen=True)
class Masks:
    """How to read the masks of a data set.

    Attributes:
        num_classes: class ids are 0..num_classes - 1, and 255 for ignore.
        lookup: the class id of each stored value, 256 of them; empty: the values themselves.
        colors: for colored masks, the class id of each (red, green, blue); else None.
        palette: the data set's colors, to recognize masks that hold them by mistake.
        style: a key of STYLES; colored masks are of style `colors` if it is `ids`.
        values: the stored value of each class, where it is not the class id; ().
        ignored: stored values that mean ignore, besides 255.
        max_pixels: larger masks are refused before they are decoded.
        cache: folder in which large colored masks are kept as class ids, '' for the user's cache;
            None: they are converted at every reading.
    """

    num_classes: int
    lookup: tuple[int, ...] = ()
    colors: tuple[tuple[tuple[int, int, int], int], ...] | None = None
    palette: tuple[tuple[int, int, int], ...] = ()
    style: str = "ids"
    values: tuple[int, ...] = ()
    ignored: tuple[int, ...] = ()
    max_pixels: int = MAX_PIXELS
    cache: str | None = None

    def read(self, file: File, name: str) -> np.ndarray:
        """Read the class ids of a mask file, uint8 [H,W], and check every one.

        Args:
            file: path, or the bytes of the file.
            name: the file's name in messages.

        Raises:
            DataError: unreadable, or a value that is no class id.
        """
        style = "colors" if self.colors is not None and self.style == "ids" else self.style

        def convert(file: File) -> np.ndarray:
            return STYLES[style](read_stored(file, name, self.max_pixels), self, name)

        if self.colors is not None and self.cache is not None:
            meaning = (style, self.colors)
            mask = converted(file, name, cache_folder(self.cache), meaning, convert)
        else:
            mask = convert(file)
        if self.lookup:
            mask = np.array(self.lookup, np.uint8)[mask]
        check_mask(mask, self.num_classes, name, self.palette)
        return mask


def read_class_ids(file: File, name: str) -> np.ndarray:
    """Read a mask as the integers it stores, uint8 [H,W]; ignore its palette.

    Args:
        file: path, or the bytes of the file; `.npy` holds an array, `.mat` a matrix or the `GTcls`
            of SBD.
        name: the file's name in messages.

    Raises:
        DataError: unreadable, colors, values above 255, or lossy compression.
    """
    return ids_of(read_stored(file, name), Masks(255), name)


def read_colors(file: File, name: str) -> np.ndarray:
    """Read the colors that a mask shows, with its palette applied: uint8 [H,W,3].

    Raises:
        DataError: unreadable, or lossy compression.
    """
    return plain_colors(read_stored(file, name), name)


def packed(colors: np.ndarray) -> np.ndarray:
    """Pack colors uint8 [...,3] into one number each: int32 [...]."""
    red, green, blue = (colors[..., channel].astype(np.int32) for channel in range(3))
    return (red << 16) | (green << 8) | blue


def from_colors(
    picture: np.ndarray, colors: dict[tuple[int, int, int], int], name: str
) -> np.ndarray:
    """Map each pixel's color to its class id: uint8 [H,W,3] to uint8 [H,W].

    Args:
        picture: the colored mask.
        colors: (red, green, blue) to class id.
        name: the file's name in messages.

    Raises:
        DataError: a color that belongs to no class.
    """
    return color_ids(picture, tuple(colors.items()), name)
