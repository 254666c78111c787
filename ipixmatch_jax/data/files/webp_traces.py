"""Signs that class ids went through lossy WebP before they were saved as PNG.

WebP transforms blocks of 4x4 pixels (RFC 6386, section 14.1). A mask that went through it changes
less if that is done again than with the blocks shifted by odd numbers; a mask that was never
compressed changes equally. Only blocks with edges in both directions count, since straight borders
may lie at the same place of every block on purpose.
"""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from ipixmatch_jax.data.files.mask_facts import MaskFacts
from ipixmatch_jax.data.files.mask_styles import whole_numbers
from ipixmatch_jax.data.files.stored_masks import read_stored
from ipixmatch_jax.data.records import IGNORE

_BLOCK, _MACROBLOCK = 4, 16
_QUALITIES = (60, 70, 75, 80, 85, 90, 95, 100)
_UNSHIFTED, _SHIFTS = (0, 0), ((1, 3), (3, 1))
# Changed pixels per edge, divided by those with shifted blocks. Never compressed (pets, CCP,
# nuclei, CamVid: 0.975 and more; drawn shapes, also those that start on the grid: 0.9 and more).
# After WebP of quality 30 to 100, 3 to 8 ids: below 0.75, most below 0.4.
_RATIO = 0.75
_FEWEST_EDGES, _FEWEST_PIXELS = 200, 100
_MOST_MASKS, _MOST_IDS, _SIDE = 12, 64, 256
_THREADS = 4


def saved_as_webp(facts: Sequence[MaskFacts], max_pixels: int) -> list[MaskFacts]:
    """The masks that were compared, if together they show signs of lossy WebP; else none.

    Args:
        facts: of all masks; some of them are read again.
        max_pixels: larger masks are refused before they are decoded.
    """
    fitting = [fact for fact in facts if _fits(fact)]
    picked = fitting[:: -(-len(fitting) // _MOST_MASKS) or 1]

    def center_of(fact: MaskFacts) -> np.ndarray:
        stored = read_stored(fact.path, fact.path, max_pixels)
        return _center(whole_numbers(stored.gray, stored.nodata, fact.path).astype(np.uint8))

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="masks") as executor:
        masks = list(executor.map(center_of, picked))
        masks = [mask for mask in masks if min(mask.shape) > _MACROBLOCK]
        edges = {shift: sum(_edges(mask, shift) for mask in masks)
                 for shift in (_UNSHIFTED, *_SHIFTS)}  # fmt: skip
        if min(edges.values()) < _FEWEST_EDGES:
            return []

        def changed(quality: int, shift: tuple[int, int]) -> int:
            return sum(executor.map(lambda mask: _changed(mask, shift, quality), masks))

        for quality in _QUALITIES:
            own = changed(quality, _UNSHIFTED) / edges[_UNSHIFTED]
            shifted = (changed(quality, shift) for shift in _SHIFTS)
            if all(
                other >= _FEWEST_PIXELS and own < _RATIO * other / edges[shift]
                for shift, other in zip(_SHIFTS, shifted, strict=True)
            ):
                return picked
    return []


def _fits(fact: MaskFacts) -> bool:
    """True for class ids without 255: next to 255, WebP leaves large values that are no ids."""
    ids = 2 <= len(fact.counts) <= _MOST_IDS and min(fact.counts) >= 0
    return ids and max(fact.counts) < IGNORE and not fact.lossy


def _edges(mask: np.ndarray, shift: tuple[int, int]) -> int:
    """Neighbors with different ids in blocks with edges in both directions."""
    rows, columns = _edges_of_blocks(_part(mask, shift))
    return int((rows + columns)[(rows > 0) & (columns > 0)].sum())


def _changed(mask: np.ndarray, shift: tuple[int, int], quality: int) -> int:
    """Pixels that WebP changes in blocks with edges in both directions."""
    part, file = _part(mask, shift), io.BytesIO()
    Image.fromarray(part).save(file, "WEBP", quality=quality)
    with Image.open(file) as picture:
        changed = _blocks(np.asarray(picture)[..., 0] != part).sum((1, 3))
    rows, columns = _edges_of_blocks(part)
    return int(changed[(rows > 0) & (columns > 0)].sum())


def _edges_of_blocks(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges between rows, and between columns, inside of each block: int [H/4,W/4] each."""
    blocks = _blocks(part)
    rows = (blocks[:, 1:] != blocks[:, :-1]).sum((1, 3))
    return rows, (blocks[..., 1:] != blocks[..., :-1]).sum((1, 3))


def _blocks(values: np.ndarray) -> np.ndarray:
    height, width = values.shape
    return values.reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)


def _part(mask: np.ndarray, shift: tuple[int, int]) -> np.ndarray:
    """The mask without its first `shift` rows and columns, one macroblock smaller."""
    (height, width), (row, column) = mask.shape, shift
    return np.ascontiguousarray(
        mask[row : row + height - _MACROBLOCK, column : column + width - _MACROBLOCK]
    )


def _center(ids: np.ndarray) -> np.ndarray:
    """At most _SIDE pixels of each side, in whole macroblocks from the upper left corner."""
    spans = []
    for size in ids.shape:
        length = min(size, _SIDE) // _MACROBLOCK * _MACROBLOCK
        start = (size - length) // 2 // _MACROBLOCK * _MACROBLOCK
        spans.append(slice(start, start + length))
    return ids[tuple(spans)]
