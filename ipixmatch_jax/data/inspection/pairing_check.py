"""Masks that fit the next image better than their own: numbering that is off by one."""

from collections.abc import Sequence

import numpy as np

from ipixmatch_jax.data.files.orientation import edge_agreement
from ipixmatch_jax.data.inspection.findings import ERROR, Facts, Finding

_LEAST, _MOST = 8, 200
# Mean agreement of edges: masks of their own images reach 0.4 to 1.5 more than others.
_CLEAR = 0.3


def shifted_masks(facts: Sequence[Facts]) -> list[Finding]:
    """A finding if the masks of a split fit the images before or after their own.

    Args:
        facts: records with thumbnail and small mask, of one split.
    """
    records = sorted((f for f in facts if f.small_mask is not None), key=lambda f: f.files[-1])
    if len(records) < _LEAST:
        return []
    own = _agreement(records, 0)
    for shift, place in ((1, "after"), (-1, "before")):
        other = _agreement(records, shift)
        if other > max(2 * own, own + _CLEAR):
            first = records[1]
            return [
                Finding(
                    ERROR,
                    "shifted-masks",
                    "labeled",
                    first.files[-1],
                    f"{first.files[-1]}, and the other masks: their edges fit the image {place} "
                    f"their own (agreement {other:.2f}), and not their own ({own:.2f}): the "
                    "numbers of images and masks seem to differ by one; expected the mask of the "
                    "image with its name; rename the masks",
                    first.index,
                )
            ]
    return []


def _agreement(records: Sequence[Facts], shift: int) -> float:
    """Mean agreement of each mask with the image `shift` places further."""
    indices = range(1, len(records) - 1)
    picked = indices[:: max(1, len(indices) // _MOST)]
    return float(np.mean([
        edge_agreement(records[i + shift].thumbnail[..., None], records[i].small_mask)
        for i in picked
    ]))  # fmt: skip
