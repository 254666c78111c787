"""Tiles of an image in one split, and the image itself or other tiles of it in another."""

from collections.abc import Mapping, Sequence

import numpy as np

from ipixmatch_jax.data.inspection.findings import OVERLAPS, WARNING, Facts, Finding
from ipixmatch_jax.data.records import Dataset
from ipixmatch_jax.data.tiles import sibling_groups, tile_pairs
from ipixmatch_jax.errors import DataError

# Of two splits, the one that is named first, and the one that the finding is about.
_ORDER = frozenset(
    [("labeled", "val"), ("labeled", "test"), ("unlabeled", "val"), ("unlabeled", "test"),
     ("val", "test")]
)  # fmt: skip


def tile_leaks(dataset: Dataset, facts: Mapping[str, Sequence[Facts]]) -> list[Finding]:
    """Warnings about validation or test images whose tiles, or other tiles, are in other splits.

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

    names = [fact.id for _, fact in records]
    pairs, what = tile_pairs(names, read), "a part of"
    if not pairs:
        groups, what = sibling_groups(names, read), "a tile of the same image as"
        # One tile of another split for each tile.
        pairs = [
            (next(other for other in group if records[other][0] == split), tile)
            for group in groups
            for split in dict.fromkeys(records[other][0] for other in group)
            for tile in group
        ]
    leaks: dict[tuple[str, str], list[tuple[Facts, Facts]]] = {}
    for pair in pairs:
        (split, image), (other, tile) = records[pair[0]], records[pair[1]]
        if split != other and {split, other} & {"val", "test"}:
            # Siblings are found from both sides.
            if what == "a part of" or (split, other) in _ORDER:
                leaks.setdefault((split, other), []).append((image, tile))
    return [_finding(splits, found, what) for splits, found in leaks.items()]


def _finding(splits: tuple[str, str], found: list[tuple[Facts, Facts]], what: str) -> Finding:
    (split, other), (image, tile) = splits, found[0]
    more = f", like {len(found) - 1} other {other} images" if len(found) > 1 else ""
    return Finding(
        WARNING, "tiles", other, tile.files[0],
        f"{tile.files[0]} ({other}): {what} {image.files[0]} ({split}){more}; "
        f"{OVERLAPS[frozenset(splits)]}; put an image and its tiles into one split, or remove "
        "either",
        tile.index,
    )  # fmt: skip
