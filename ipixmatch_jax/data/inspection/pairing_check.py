"""Masks that fit the next image better than their own, or their own only if they are mirrored."""

from collections.abc import Callable, Sequence

import numpy as np

from ipixmatch_jax.data.files.orientation import gradient_agreement, gradient_of
from ipixmatch_jax.data.inspection.findings import ERROR, Facts, Finding

_LEAST, _MOST = 8, 200
# Mean agreement of edges: masks of their own images reach 0.4 to 1.5 more than others.
_CLEAR = 0.3
# Fewer masks than for numbering: each one is compared with its own image, and most must agree.
_LEAST_MIRRORED, _MOSTLY = 4, 0.9


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


# The array of a small mask, mirrored or turned; small masks and thumbnails are square.
_TURNS = {
    "upside down": lambda a: a[::-1],
    "mirrored left to right": lambda a: a[:, ::-1],
    "turned by 180 degrees": lambda a: a[::-1, ::-1],
}
# Those that keep the size of square images alone.
_QUARTERS = {
    "with rows and columns exchanged": lambda a: a.T,
    "turned by 90 degrees": lambda a: np.rot90(a),
    "turned by 270 degrees": lambda a: np.rot90(a, 3),
}


def mirrored_masks(facts: Sequence[Facts]) -> list[Finding]:
    """A finding if the masks of a split fit their images only when they are mirrored or turned.

    Args:
        facts: records with thumbnail and small mask, of one split.
    """
    records = [f for f in facts if f.small_mask is not None]
    if len(records) < _LEAST_MIRRORED:
        return []
    records = records[:: max(1, len(records) // _MOST)]
    own = _turned(records, lambda a: a)
    square = all(record.size[0] == record.size[1] for record in records)
    turns = _TURNS | (_QUARTERS if square else {})
    agreement = {how: _turned(records, turn) for how, turn in turns.items()}
    how = max(agreement, key=lambda how: agreement[how].mean())
    other = agreement[how]
    clear = other.mean() > max(2 * own.mean(), own.mean() + _CLEAR)
    if not clear or (other > own).mean() <= _MOSTLY:
        return []
    file = records[0].files[-1]
    return [
        Finding(
            ERROR,
            "mirrored-masks",
            "labeled",
            file,
            f"{file}, and the other masks: their edges fit the images if the masks are {how} "
            f"(agreement {other.mean():.2f}), and not as they are ({own.mean():.2f}); expected "
            "masks in the orientation of their images; save the masks again",
            records[0].index,
        )
    ]


def small_gradient(record: Facts) -> np.ndarray:
    """The gradient of the small image, float32 [48,48]; that of its brightness if it is unknown."""
    if record.gradient is None:
        return gradient_of(record.thumbnail[..., None])
    return record.gradient.astype(np.float32)


def _turned(records: Sequence[Facts], turn: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return np.array([
        gradient_agreement(small_gradient(r), np.ascontiguousarray(turn(r.small_mask)))
        for r in records
    ])  # fmt: skip


def _agreement(records: Sequence[Facts], shift: int) -> float:
    """Mean agreement of each mask with the image `shift` places further."""
    indices = range(1, len(records) - 1)
    picked = indices[:: max(1, len(indices) // _MOST)]
    return float(np.mean([
        gradient_agreement(small_gradient(records[i + shift]), records[i].small_mask)
        for i in picked
    ]))  # fmt: skip
