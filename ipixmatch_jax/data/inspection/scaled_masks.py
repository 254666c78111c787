"""Masks of another scale than their images: shapes of a smaller copy, or images cropped later."""

from collections.abc import Sequence

import numpy as np

from ipixmatch_jax.data.files.orientation import gradient_agreement
from ipixmatch_jax.data.inspection.findings import ERROR, WARNING, Facts, Finding
from ipixmatch_jax.data.records import IGNORE

_LEAST, _MOST = 4, 100
# How much more the masks must agree at another scale, and the share of them that must do so.
_CLEAR, _MOSTLY = 0.3, 0.9
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
    gradients = [record.gradient.astype(np.float32) for record in records]

    def agreement(scale: float, anchor: float) -> np.ndarray:
        return np.array([
            gradient_agreement(gradient, _scaled(record.small_mask, scale, anchor))
            for gradient, record in zip(gradients, records, strict=True)
        ])  # fmt: skip

    own = agreement(1.0, 0.0)
    found = {(scale, 0.0): agreement(scale, 0.0) for scale in _OF_COPIES}
    found |= {(s, anchor): agreement(s, anchor) for s in _OF_CROPS for anchor in (0.5, 1.0)}
    (scale, anchor), other = max(found.items(), key=lambda one: one[1].mean())
    clear = other.mean() > max(2 * own.mean(), own.mean() + _CLEAR)
    if not clear or (other > own).mean() <= _MOSTLY:
        return []
    file = records[0].files[-1]
    where = {0.0: "upper left corner", 0.5: "center"}.get(anchor, "lower right corner")
    reason = "were the images cropped or padded later?"
    if not anchor:
        reason = "were the shapes drawn on a smaller copy of the images?"
    text = (
        f"{file}, and the other masks: their edges fit the images if the masks are about "
        f"{scale:.2g} times as large from the {where} on (agreement {other.mean():.2f}), and not "
        f"as they are ({own.mean():.2f}); expected masks of these very images; {reason} Use the "
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
