"""Masks that fit other images than their own: numbered in another order, or mixed up."""

import os
import re
from collections.abc import Mapping, Sequence

import numpy as np

from ipixmatch_jax.data.inspection.findings import ERROR, WARNING, Facts, Finding
from ipixmatch_jax.data.inspection.pairing_check import standardized

_LEAST, _MOST = 8, 1000
# Masks that another order gives to another image; fewer tell nothing.
_LEAST_MOVED = 5
# Mean agreement of edges, as for masks whose numbers differ by one.
_CLEAR = 0.3
# Share of the moved masks that must fit better in the other order.
_MOSTLY = 0.8
# Without an order to test, the best of all images is taken for each mask, which chance helps: masks
# and images that choose each other, and how much more they must agree.
_MUTUAL, _MUCH = 0.75, 0.5
_SHOWN = 3


def exchanged_masks(facts: Mapping[str, Sequence[Facts]]) -> list[Finding]:
    """A finding if masks of one folder fit other images of the folder, and not their own.

    Args:
        facts: records with gradient and small mask, per split; validation images may have been held
            out from the folder of the training images.
    """
    folders: dict[str, list[Facts]] = {}
    for record in (*facts.get("labeled", ()), *facts.get("val", ())):
        if record.small_mask is not None and len(record.files) > 1:
            folders.setdefault(os.path.dirname(record.files[-1]), []).append(record)
    for records in folders.values():
        if _LEAST <= len(records) <= _MOST:
            found = _in_folder(sorted(records, key=lambda record: _natural(record.files[0])))
            if found:
                return [found]
    return []


def _in_folder(records: list[Facts]) -> Finding | None:
    """The finding for the records of one folder, in the order of their numbers."""
    fits = agreements(records)
    own, count = np.diagonal(fits), len(records)
    texts = np.array(sorted(range(count), key=lambda index: records[index].files[0]))
    orders = {
        "as text (1, 10, 11, 2, …) and not by number": texts,
        "by number and not as text (1, 10, 11, 2, …)": np.argsort(texts),
        "from the last to the first": np.arange(count)[::-1],
    }
    for how, image_of in orders.items():
        moved = image_of != np.arange(count)
        if moved.sum() < _LEAST_MOVED:
            continue
        others = fits[np.arange(count), image_of][moved]
        other, stay = others.mean(), own[moved].mean()
        if other > max(2 * stay, stay + _CLEAR) and (others > own[moved]).mean() >= _MOSTLY:
            index = int(np.flatnonzero(moved)[0])
            file = records[index].files[-1]
            text = (
                f"{file}, and {int(moved.sum()) - 1} other masks: their edges fit other images "
                f"(agreement {other:.2f}), and not their own ({stay:.2f}), if the images are "
                f"sorted {how}: the masks seem to be numbered in that order; {file} fits "
                f"{records[image_of[index]].files[0]}; expected the mask of the image with its "
                "name; rename the masks"
            )
            return Finding(ERROR, "exchanged-masks", "labeled", file, text, records[index].index)
    return _mixed_up(records, fits)


def _mixed_up(records: list[Facts], fits: np.ndarray) -> Finding | None:
    """A warning if nearly every mask and another image fit each other best."""
    best = fits.argmax(1)
    rows = np.arange(len(records))
    mutual = (fits.argmax(0)[best] == rows) & (best != rows)
    if mutual.mean() < _MUTUAL:
        return None
    other, own = fits[rows, best][mutual].mean(), np.diagonal(fits)[mutual].mean()
    if other <= max(2 * own, own + _MUCH):
        return None
    shown = [f"{records[i].files[-1]} fits {records[best[i]].files[0]}"
             for i in np.flatnonzero(mutual)[:_SHOWN]]  # fmt: skip
    file = records[int(np.flatnonzero(mutual)[0])].files[-1]
    text = (
        f"{file}, and {int(mutual.sum()) - 1} other masks of {len(records)}: their edges fit other "
        f"images (agreement {other:.2f}), and not their own ({own:.2f}): {'; '.join(shown)}; the "
        "masks may be mixed up; expected the mask of the image with its name; compare a few, and "
        "rename the masks"
    )
    return Finding(WARNING, "exchanged-masks", "labeled", file, text)


def agreements(records: Sequence[Facts]) -> np.ndarray:
    """`gradient_agreement` of each mask with each image: float64 [masks,images]."""
    gradients, edges = (maps.reshape(len(records), -1) for maps in standardized(records))
    return edges @ gradients.T


def _natural(name: str) -> list[tuple[int, int | str]]:
    """A key that sorts numbers in names by their value."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part)) if part.isdigit() else (0, part) for part in parts if part]
