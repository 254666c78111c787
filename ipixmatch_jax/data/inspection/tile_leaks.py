"""Tiles of an image in one split, and the image itself in another."""

from collections.abc import Mapping, Sequence

import numpy as np

from ipixmatch_jax.data.inspection.findings import OVERLAPS, WARNING, Facts, Finding
from ipixmatch_jax.data.records import Dataset
from ipixmatch_jax.data.tiles import tile_pairs
from ipixmatch_jax.errors import DataError


def tile_leaks(dataset: Dataset, facts: Mapping[str, Sequence[Facts]]) -> list[Finding]:
    """Warnings about tiles of validation or test images, or images of their tiles, in other splits.

    Args:
        dataset: the data set; a few images are read again.
        facts: facts per split.
    """
    records = [(split, fact) for split, own in facts.items() for fact in own]

    def read(position: int) -> np.ndarray:
        split, fact = records[position]
        try:
            return getattr(dataset, split)[fact.index]["image"]
        except DataError:
            return np.zeros((1, 1, 3), np.uint8)

    leaks: dict[tuple[str, str], list[tuple[Facts, Facts]]] = {}
    for pair in tile_pairs([fact.id for _, fact in records], read):
        (split, image), (other, tile) = records[pair[0]], records[pair[1]]
        if frozenset({split, other}) in OVERLAPS:
            leaks.setdefault((split, other), []).append((image, tile))
    return [_finding(splits, found) for splits, found in leaks.items()]


def _finding(splits: tuple[str, str], found: list[tuple[Facts, Facts]]) -> Finding:
    (split, other), (image, tile) = splits, found[0]
    more = f", like {len(found) - 1} other {other} images" if len(found) > 1 else ""
    return Finding(
        WARNING, "tiles", other, tile.files[0],
        f"{tile.files[0]} ({other}): a part of {image.files[0]} ({split}){more}; "
        f"{OVERLAPS[frozenset(splits)]}; put an image and its tiles into one split, or remove "
        "either",
        tile.index,
    )  # fmt: skip
