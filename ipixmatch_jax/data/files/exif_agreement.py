"""Masks drawn on the stored pixels of photos that EXIF turns: found by comparing their edges."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from ipixmatch_jax.data.files import images
from ipixmatch_jax.data.files.orientation import edge_agreement, turned_size, upright
from ipixmatch_jax.errors import DataError

_THREADS = 4
# Photos of one side this long show whether a mask fits; masks drawn by hand are a little off.
_SIDE = 64
# Most photos whose pixels are compared.
_COMPARED = 48
# Mean difference of the agreement from which it is clear; real sets differ by 0.4 to 1.5.
_CLEAR = 0.1


def orientation_problems(sources: Sequence[Any], most: int = 0) -> list[str]:
    """Problems with photos that EXIF turns by 180°, mirrors, or that are square.

    Photos turned by a quarter are not asked about unless they are square, or their annotations
    state no size: the size of the mask tells whether it was drawn on the stored or on the turned
    pixels.

    Args:
        sources: sources of labeled records, judged together; those not in files have no problem.
        most: number of records of each source to check, spread over the source; 0: all.
    """
    picked = []
    for source in sources:
        if getattr(source, "exif", "") == "auto" and len(source):
            count = min(most or len(source), len(source))
            spread = np.linspace(0, len(source) - 1, count).round().astype(int).tolist()
            picked += [(source, index) for index in spread]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="exif") as executor:
        found = list(executor.map(lambda one: _undecided(*one), picked))
        open_ones = [(*one, turn) for one, turn in zip(picked, found, strict=True) if turn != 1]
        compared = open_ones[:: -(-len(open_ones) // _COMPARED) or 1]
        pairs = list(executor.map(lambda one: _agreements(*one), compared))
    # Masks that look alike both ways, such as empty ones, can be read either way.
    differences = [one for one in pairs if one is not None]
    if not differences:
        return []
    mean = float(np.mean(differences))
    source, index, _ = open_ones[0]
    first = source.image_paths[index]
    return [] if mean > _CLEAR else [_message(first, len(open_ones), mean)]


def _undecided(source: Any, index: int) -> int:
    """The orientation of a photo whose mask's size does not tell how it was drawn; else 1."""
    path = source.image_paths[index]
    try:
        orientation = images.image_orientation(path, path)
        height, width = source.size(index)
    except DataError:
        return 1
    return orientation if orientation < 5 or height == width or _unsized(source, index) else 1


def _unsized(source: Any, index: int) -> str:
    """`pixels` or `shares` if annotations that state no size place the shapes by them, else ''."""
    unsized = getattr(source, "unsized", ())
    return unsized[index] if unsized else ""


def _agreements(source: Any, index: int, orientation: int) -> float | None:
    """How much better a mask fits the upright photo than the stored one; None if it cannot tell."""
    try:
        record = source[index]
    except DataError:
        return None
    image, mask = shrunk(record["image"], record["mask"])
    size = turned_size(mask.shape, orientation)
    other = upright(_redrawn(mask, size, _unsized(source, index)), orientation)
    if other.shape != mask.shape or np.array_equal(other, mask):
        return None
    return edge_agreement(image, mask) - edge_agreement(image, other)


def _redrawn(mask: np.ndarray, size: tuple[int, int], unsized: str) -> np.ndarray:
    """A mask uint8 [h,w] as if its shapes had been drawn on an image of `size` (H, W)."""
    if mask.shape == size or not unsized:
        return mask
    if unsized == "shares":
        return images.resize_mask(mask, size)
    drawn = np.zeros(size, np.uint8)
    height, width = np.minimum(mask.shape, size)
    drawn[:height, :width] = mask[:height, :width]
    return drawn


def shrunk(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 [H,W,C] and mask uint8 [H,W] with a longer side of 64 pixels."""
    height, width = mask.shape
    scale = min(1.0, _SIDE / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small = images.resample(images.displayable(image), size, Image.Resampling.BOX)
    return small, images.resample(mask, size, Image.Resampling.NEAREST)


def _message(first: str, count: int, mean: float) -> str:
    if mean < -_CLEAR:
        found = "the masks fit the stored pixels, not the turned ones; set data.folder.exif=stored"
    else:
        found = (
            "it is not clear whether the masks were drawn on the stored or the turned pixels; look "
            "at one, and set data.folder.exif=stored or data.folder.exif=upright"
        )
    return f"{first}: EXIF turns or mirrors this photo and {count - 1} other labeled ones; {found}"


def fitting(mask: np.ndarray, size: tuple[int, int], orientation: int, exif: str) -> np.ndarray:
    """The mask uint8 [h,w] of an upright image of `size` (H, W).

    Args:
        mask: as its file shows it.
        size: (H, W) of the upright image.
        orientation: EXIF orientation of the image.
        exif: `stored`: the mask is turned along; `auto`: only if its size says so.
    """
    if orientation == 1 or turned_size(mask.shape, orientation) != tuple(size):
        return mask
    if exif == "stored" or (exif == "auto" and mask.shape != tuple(size)):
        return upright(mask, orientation)
    return mask
