"""Masks of dithered colors: Pillow mixes two colors of its palette in a pattern."""

from collections.abc import Sequence

import numpy as np

from ipixmatch_jax.data.files.mask_facts import MaskFacts
from ipixmatch_jax.data.files.stored_masks import read_stored

# Pillow's palette "web": 216 colors from the tenth on, in steps of 51.
_FIRST, _STEP, _SIDE = 10, 51, 6
_OPENED = 12
# Share of the pixels beside the commonest value whose four neighbors all have other values. In
# masks of classes it is 0, one-pixel lines included, in dithered ones 0.04 to 0.6.
_ALONE = 0.02


def dithered(facts: Sequence[MaskFacts], max_pixels: int) -> str:
    """The first mask that Pillow dithered, or ''. A few masks with its palette are read again."""
    for fact in [fact for fact in facts if _is_web(fact.table)][:_OPENED]:
        values = read_stored(fact.path, fact.path, max_pixels).values
        if values is not None and _alone(values) >= _ALONE:
            return fact.path
    return ""


def _is_web(table: Sequence[tuple[int, int, int]]) -> bool:
    channels = range(0, _SIDE * _STEP, _STEP)
    cube = tuple((red, green, blue) for blue in channels for green in channels for red in channels)
    return tuple(table[_FIRST : _FIRST + len(cube)]) == cube


def _alone(values: np.ndarray) -> float:
    """The share of foreground pixels between four foreground pixels of other values."""
    counts = np.bincount(values.ravel())
    common = counts.argmax()
    inner = values[1:-1, 1:-1]
    sides = (values[:-2, 1:-1], values[2:, 1:-1], values[1:-1, :-2], values[1:-1, 2:])
    lonely = inner != common
    for side in sides:
        lonely &= (side != inner) & (side != common)
    return float(lonely.sum() / max(values.size - counts[common], 1))
