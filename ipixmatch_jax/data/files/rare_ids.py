"""Ids that occur in single pixels alone: strays of a paint program, or traces of compression."""

from collections.abc import Mapping, Sequence

import numpy as np

from ipixmatch_jax.data.files.mask_facts import MaskFacts
from ipixmatch_jax.data.files.mask_styles import whole_numbers
from ipixmatch_jax.data.files.stored_masks import read_stored
from ipixmatch_jax.data.records import IGNORE

# An id with a larger share of all pixels is a class.
_RARE = 0.001
# Pixels in a row, column or diagonal; a shorter piece is a speck.
_LENGTH = 4
_MOST_MASKS = 32
# Masks of fewer pixels are examples, in which a class may be small.
_FEWEST_PIXELS = 4096


def specks(facts: Sequence[MaskFacts], total: Mapping[int, int], max_pixels: int) -> list[int]:
    """The ids of a data set that no mask shows in a piece of more than three pixels.

    Args:
        facts: of all masks.
        total: pixels of each id in all masks.
        max_pixels: larger masks are refused before they are decoded.
    """
    pixels = sum(total.values())
    rare = [value for value, count in total.items() if count < _RARE * pixels and value != IGNORE]
    if not rare or pixels < _FEWEST_PIXELS * len(facts):
        return []
    return sorted(value for value in rare if not _drawn(value, facts, max_pixels))


def _drawn(value: int, facts: Sequence[MaskFacts], max_pixels: int) -> bool:
    """True if a mask shows an id in a piece of four pixels or more."""
    holding = sorted(
        (fact for fact in facts if value in fact.counts), key=lambda fact: -fact.counts[value]
    )
    for fact in holding[:_MOST_MASKS]:
        if fact.counts[value] < _LENGTH:
            return False
        stored = read_stored(fact.path, fact.path, max_pixels)
        if _has_piece(whole_numbers(stored.gray, stored.nodata, fact.path) == value):
            return True
    return len(holding) > _MOST_MASKS


def _has_piece(own: np.ndarray) -> bool:
    """True if four pixels in a row, column or diagonal are set: bool [H,W]."""
    height, width = own.shape
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        high, wide = height - (_LENGTH - 1) * down, width - (_LENGTH - 1) * abs(right)
        if high < 1 or wide < 1:
            continue
        start = (_LENGTH - 1) * (right < 0)
        parts = [
            own[k * down : k * down + high, start + k * right : start + k * right + wide]
            for k in range(_LENGTH)
        ]
        if np.logical_and.reduce(parts).any():
            return True
    return False
