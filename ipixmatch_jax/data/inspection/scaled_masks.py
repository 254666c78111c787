"""Masks of another scale than their images: shapes of a smaller copy, or images cropped later."""

import functools
from collections.abc import Sequence

import numpy as np

from ipixmatch_jax.data.inspection.findings import ERROR, WARNING, Facts, Finding
from ipixmatch_jax.data.inspection.pairing_check import better_changed
from ipixmatch_jax.data.records import IGNORE

_LEAST, _MOST = 4, 100
# Scales about the upper left corner, where the coordinates of all images begin; and about the
# center, or the lower right corner, of images that were cropped or padded.
_OF_COPIES = (1.25, 4 / 3, 1.5, 5 / 3, 2.0, 2.5, 3.0)
_OF_CROPS = (0.67, 0.75, 0.8, 1.25, 4 / 3, 1.5)
# Masks of which all objects keep to the upper left corner, and the part of each side they reach.
_LEAST_CORNERED, _CORNER = 8, 0.6
# A mask with this share of background, 0, tells where its objects are.
_GROUND = 0.4


def scaled_masks(facts: Sequence[Facts]) -> list[Finding]:
    """A finding if masks fit their images only at another scale, or fill one corner of all images.

    Args:
        facts: records with gradient and small mask, of one split.
    """
    records = [f for f in facts if f.small_mask is not None and len(np.unique(f.small_mask)) > 1]
    if len(records) < _LEAST:
        return []
    return _by_edges(records[:: max(1, len(records) // _MOST)]) or _cornered(records)


def _by_edges(records: Sequence[Facts]) -> list[Finding]:
    places = [(scale, 0.0) for scale in _OF_COPIES]
    places += [(scale, anchor) for scale in _OF_CROPS for anchor in (0.5, 1.0)]
    found = better_changed(
        records,
        {one: functools.partial(_scaled, scale=one[0], anchor=one[1]) for one in places},
    )
    if found is None:
        return []
    (scale, anchor), other, own = found
    file = records[0].files[-1]
    where = {0.0: "upper left corner", 0.5: "center"}.get(anchor, "lower right corner")
    reason = "were the images cropped or padded later?"
    if not anchor:
        reason = "were the shapes drawn on a smaller copy of the images?"
    text = (
        f"{file}, and the other masks: their edges fit the images if the masks are about "
        f"{scale:.2g} times as large from the {where} on (agreement {other:.2f}), and not "
        f"as they are ({own:.2f}); expected masks of these very images; {reason} Use the "
        "images that were annotated, or scale the coordinates"
    )
    return [Finding(ERROR, "scaled-masks", "labeled", file, text, records[0].index)]


def _scaled(mask: np.ndarray, scale: float, anchor: float) -> np.ndarray:
    """A mask [S,S] enlarged about a point at the share `anchor` of both sides."""
    side = len(mask)
    center = anchor * side
    places = ((np.arange(side) + 0.5 - center) / scale + center).astype(int).clip(0, side - 1)
    return mask[places[:, None], places]


def _cornered(records: Sequence[Facts]) -> list[Finding]:
    """A warning if no mask has an object beyond the upper left part of its image."""
    reached = []
    for record in records:
        objects = (record.small_mask != 0) & (record.small_mask != IGNORE)
        if (record.small_mask == 0).mean() < _GROUND or not objects.any():
            continue
        rows, columns = np.nonzero(objects)
        reached.append(((rows.max() + 1) / len(objects), (columns.max() + 1) / len(objects)))
    if len(reached) < _LEAST_CORNERED or np.max(reached) > _CORNER:
        return []
    down, right = np.max(reached, axis=0)
    file = records[0].files[-1]
    text = (
        f"{file}, and the other masks: all objects of {len(reached)} images lie in the upper "
        f"{down:.0%} and the left {right:.0%}; were the shapes drawn on smaller copies of the "
        "images, or are they percentages? Look at a few masks; expected coordinates of these very "
        "images"
    )
    return [Finding(WARNING, "scaled-masks", "labeled", file, text, records[0].index)]
