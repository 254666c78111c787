"""Masks of class ids in the blocks that lossy compression rounds."""

from collections.abc import Sequence

import numpy as np

from ipixmatch_jax.data.files.mask_facts import MaskFacts
from ipixmatch_jax.data.files.mask_styles import whole_numbers
from ipixmatch_jax.data.files.stored_masks import read_stored
from ipixmatch_jax.data.records import IGNORE

_MOST_IDS = 64


def masks_of_ids(facts: Sequence[MaskFacts], most: int) -> list[MaskFacts]:
    """At most `most` of the masks that hold class ids without 255, spread over all of them.

    Next to 255, lossy compression leaves large values that are no ids.
    """
    fitting = [fact for fact in facts if _fits(fact)]
    return fitting[:: -(-len(fitting) // most) or 1]


def _fits(fact: MaskFacts) -> bool:
    ids = 2 <= len(fact.counts) <= _MOST_IDS and min(fact.counts) >= 0
    return ids and max(fact.counts) < IGNORE and not fact.lossy


def read_ids(fact: MaskFacts, max_pixels: int) -> np.ndarray:
    """The class ids of a mask, uint8 [H,W]; larger masks than `max_pixels` are refused."""
    stored = read_stored(fact.path, fact.path, max_pixels)
    return whole_numbers(stored.gray, stored.nodata, fact.path).astype(np.uint8)


def center(ids: np.ndarray, side: int, block: int) -> np.ndarray:
    """At most `side` pixels of each side; whole blocks, counted from the upper left corner."""
    spans = []
    for size in ids.shape:
        length = min(size, side) // block * block
        start = (size - length) // 2 // block * block
        spans.append(slice(start, start + length))
    return ids[tuple(spans)]


def blocks_of(values: np.ndarray, block: int) -> np.ndarray:
    """[H,W] -> [H/block,block,W/block,block]."""
    height, width = values.shape
    return values.reshape(height // block, block, width // block, block)


def edges_of_blocks(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neighbors with different ids inside each block of `blocks_of`.

    Returns:
        Their number, and True for blocks with edges in both directions: [H/block,W/block] each.
    """
    rows = (blocks[:, 1:] != blocks[:, :-1]).sum((1, 3))
    columns = (blocks[..., 1:] != blocks[..., :-1]).sum((1, 3))
    return rows + columns, (rows > 0) & (columns > 0)
