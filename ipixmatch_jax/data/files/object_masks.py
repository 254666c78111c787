"""Signs that masks number objects, not classes: 1, 2, 3, … in every file, one area per number."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ipixmatch_jax.data.files.mask_facts import MaskFacts
from ipixmatch_jax.data.files.mask_styles import whole_numbers
from ipixmatch_jax.data.files.stored_masks import read_stored
from ipixmatch_jax.data.records import IGNORE

# Fewer masks tell nothing.
_LEAST_MASKS = 4
# Masks of classes may hold 1..3 without gaps; numbers of objects go higher in some file, or no
# mask of many has a gap.
_LEAST_OBJECTS, _FEW_OBJECTS, _MANY_MASKS = 5, 3, 6
# Share of the masks whose ids have no gap, and of the ids that are a single area.
_WITHOUT_GAP, _SINGLE = 0.9, 0.85
_OPENED = 12
# Ids of regions (superpixels): so many, and nearly all of them in every mask.
_LEAST_REGIONS, _IN_EVERY = 32, 0.9
# Numbers of few objects, by the order in which their first pixels come.
_LEAST_ORDERED = 4
# Colors that only one mask shows: numbers of objects that were colored.
_LEAST_COLORS, _ALONE = 12, 0.8


def number_objects(facts: Sequence[MaskFacts], max_pixels: int) -> bool:
    """True if the ids of a set of masks are likely numbers of objects.

    In every mask they run from 1 without a gap, up to another number than in other masks, and the
    pixels of an id touch each other. Some masks are read again for the last test.
    """
    held = [fact.values - {0, IGNORE} for fact in facts]
    if without_gaps(held):
        return _single_areas(facts, max_pixels) >= _SINGLE
    return _few_numbers(held) and _in_order(facts, max_pixels)


def number_regions(facts: Sequence[MaskFacts]) -> bool:
    """True if every mask holds nearly all of many ids: they number regions, such as superpixels."""
    held = [fact.values - {IGNORE} for fact in facts]
    total = len(set().union(*held))
    return (
        len(facts) >= _LEAST_MASKS
        and total >= _LEAST_REGIONS
        and min(map(len, held)) >= _IN_EVERY * total
    )


def one_channel(facts: Sequence[MaskFacts]) -> list[MaskFacts]:
    """Facts of colored masks, with the values of the only channel that is not 0 as ids; or []."""
    colors = set().union(*(fact.colors for fact in facts))
    used = [channel for channel in range(3) if any(color[channel] for color in colors)]
    if len(used) != 1 or any(fact.lossy or fact.palette for fact in facts):
        return []
    return [
        dataclasses.replace(fact, counts={color[used[0]]: n for color, n in fact.colors.items()})
        for fact in facts
    ]


def _values(path: str, max_pixels: int) -> np.ndarray:
    """The stored ids of a mask; of colors, the largest channel."""
    stored = read_stored(path, path, max_pixels)
    if stored.gray is None:
        return stored.colors.max(-1)
    return whole_numbers(stored.gray, stored.nodata, path)


def _few_numbers(held: Sequence[set[int]]) -> bool:
    """True if the ids of each mask run from 1 without a gap, up to two different numbers."""
    highest = [max(ids, default=0) for ids in held]
    return (
        len(held) >= _LEAST_MASKS
        and len(set(highest)) == 2
        and min(highest) >= _LEAST_ORDERED - 1
        and max(highest) >= _LEAST_ORDERED
        and all(max(ids) == len(ids) for ids in held)
    )


def _in_order(facts: Sequence[MaskFacts], max_pixels: int) -> bool:
    """True if the ids of a few masks are single areas, numbered from top to bottom.

    Programs that label connected areas number them so. Classes may lie in layers, but the last of
    them are not the ones that a mask misses.
    """
    for fact in facts[:: max(1, len(facts) // _OPENED)]:
        values = _values(fact.path, max_pixels)
        found, first = np.unique(values, return_index=True)
        first = first[(found != 0) & (found != IGNORE)]
        if (np.diff(first) < 0).any():
            return False
    return _single_areas(facts, max_pixels) >= 1


def without_gaps(held: Sequence[set[int]]) -> bool:
    """True if the ids of each mask run from 1 without a gap, up to different numbers.

    Args:
        held: ids of each mask, without 0.
    """
    several = [ids for ids in held if ids]
    highest = [max(ids) for ids in several]
    gaps = sum(max(ids) != len(ids) for ids in several)
    if len(several) < _LEAST_MASKS or len(set(highest)) < 3:
        return False
    if max(highest) < _LEAST_OBJECTS:
        return max(highest) >= _FEW_OBJECTS and len(several) >= _MANY_MASKS and not gaps
    return gaps <= (1 - _WITHOUT_GAP) * len(several)


def number_colors(facts: Sequence[MaskFacts]) -> bool:
    """True if nearly every color of many occurs in one mask alone."""
    seen: dict[tuple[int, int, int], int] = {}
    for fact in facts:
        for color in fact.colors:
            seen[color] = seen.get(color, 0) + 1
    alone = sum(count == 1 for count in seen.values())
    return len(facts) >= _LEAST_MASKS and len(seen) >= _LEAST_COLORS and alone > _ALONE * len(seen)


def _single_areas(facts: Sequence[MaskFacts], max_pixels: int) -> float:
    """Share of the ids of a few masks whose pixels form a single area."""
    from scipy import ndimage

    several = [fact for fact in facts if len(fact.values) > 2]
    single = total = 0
    for fact in several[:: max(1, len(several) // _OPENED)]:
        values = _values(fact.path, max_pixels)
        for value in sorted(fact.values - {0, IGNORE}):
            rows, columns = np.nonzero(values == value)
            part = values[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] == value
            single += ndimage.label(part, np.ones((3, 3)))[1] == 1
            total += 1
    return single / max(total, 1)
