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

from ipixmatch_jax.data.files.mask_blocks import (
    blocks_of,
    center,
    edges_of_blocks,
    masks_of_ids,
    read_ids,
)
from ipixmatch_jax.data.files.mask_facts import MaskFacts

_BLOCK, _MACROBLOCK = 4, 16
_QUALITIES = (60, 70, 75, 80, 85, 90, 95, 100)
_UNSHIFTED, _SHIFTS = (0, 0), ((1, 3), (3, 1))
# Changed pixels per edge, divided by those with shifted blocks. Never compressed (pets, CCP,
# nuclei, CamVid: 0.975 and more; drawn shapes, also those that start on the grid: 0.9 and more).
# After WebP of quality 30 to 100, 3 to 8 ids: below 0.75, most below 0.4.
_RATIO = 0.75
_FEWEST_EDGES, _FEWEST_PIXELS = 200, 100
_MOST_MASKS, _SIDE = 12, 256
_THREADS = 4


def saved_as_webp(facts: Sequence[MaskFacts], max_pixels: int) -> list[MaskFacts]:
    """The masks that were compared, if together they show signs of lossy WebP; else none.

    Args:
        facts: of all masks; some of them are read again.
        max_pixels: larger masks are refused before they are decoded.
    """
    picked = masks_of_ids(facts, _MOST_MASKS)

    def center_of(fact: MaskFacts) -> np.ndarray:
        return center(read_ids(fact, max_pixels), _SIDE, _MACROBLOCK)

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


def _edges(mask: np.ndarray, shift: tuple[int, int]) -> int:
    """Neighbors with different ids in blocks with edges in both directions."""
    edges, corners = edges_of_blocks(blocks_of(_part(mask, shift), _BLOCK))
    return int(edges[corners].sum())


def _changed(mask: np.ndarray, shift: tuple[int, int], quality: int) -> int:
    """Pixels that WebP changes in blocks with edges in both directions."""
    part, file = _part(mask, shift), io.BytesIO()
    Image.fromarray(part).save(file, "WEBP", quality=quality)
    with Image.open(file) as picture:
        changed = blocks_of(np.asarray(picture)[..., 0] != part, _BLOCK).sum((1, 3))
    _, corners = edges_of_blocks(blocks_of(part, _BLOCK))
    return int(changed[corners].sum())


def _part(mask: np.ndarray, shift: tuple[int, int]) -> np.ndarray:
    """The mask without its first `shift` rows and columns, one macroblock smaller."""
    (height, width), (row, column) = mask.shape, shift
    return np.ascontiguousarray(
        mask[row : row + height - _MACROBLOCK, column : column + width - _MACROBLOCK]
    )
