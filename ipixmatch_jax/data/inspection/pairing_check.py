"""Masks that fit the next image better than their own, or their own only if mirrored or moved."""

import os
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from ipixmatch_jax.data.files.orientation import gradient_agreement, mask_edges
from ipixmatch_jax.data.inspection.findings import ERROR, Facts, Finding

_LEAST, _MOST = 8, 200
# Mean agreement of edges: masks of their own images reach 0.4 to 1.5 more than others.
_CLEAR = 0.3
# Fewer masks than for numbering: each one is compared with its own image, and most must agree.
_LEAST_MIRRORED, _MOSTLY = 4, 0.9
# Offsets of masks, in pixels of the small masks of 48 x 48: hand-drawn edges are off by less.
_NEAREST, _FARTHEST = 3, 12
# How much more the masks must agree there, by their number, and the share of them that must do so.
# Photos of pets, streets, clothes and cells agree most at offsets of at most 1, and if the masks
# are moved by a tenth, by 0.20 (streets) to 0.43 more where they belong, 97 to 100 % of them.
_LEAST_GAIN, _NOISE, _MOSTLY_MOVED = 0.15, 1.0, 0.8
# The last word of a name: a_flip, a-hflip2.
_LAST_WORD = re.compile(r"[_\-. ]([A-Za-z]+)\d*$")

Change = Callable[[np.ndarray], np.ndarray]
How = TypeVar("How", bound=Hashable)


def shifted_masks(facts: Sequence[Facts]) -> list[Finding]:
    """A finding if the masks of a split fit the images before or after their own.

    Args:
        facts: records with gradient and small mask, of one split.
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
    # Of shares of width and height, too, which know no size.
    "with rows and columns exchanged": lambda a: a.T,
}
# Those that keep the size of square images alone.
_QUARTERS = {
    "turned by 90 degrees": lambda a: np.rot90(a),
    "turned by 270 degrees": lambda a: np.rot90(a, 3),
}


def mirrored_masks(facts: Sequence[Facts]) -> list[Finding]:
    """A finding if masks fit their images only when they are mirrored or turned.

    All masks of a split are judged together, then those whose names end in the same word, such as
    `_flip`: copies of which the images alone were flipped.

    Args:
        facts: records with gradient and small mask, of one split.
    """
    records = [f for f in facts if f.small_mask is not None]
    groups: dict[str, list[Facts]] = {}
    for record in records:
        word = _LAST_WORD.search(os.path.splitext(os.path.basename(record.files[0]))[0])
        groups.setdefault(word[1] if word else "", []).append(record)
    found = _mirrored(records, "")
    for word in sorted(groups if len(groups) > 1 else ()):
        found = found or _mirrored(groups[word], word)
    return found


def _mirrored(records: Sequence[Facts], word: str) -> list[Finding]:
    """The finding for these records, whose names end in a word if it is not ''."""
    if len(records) < _LEAST_MIRRORED:
        return []
    records = records[:: max(1, len(records) // _MOST)]
    square = all(record.size[0] == record.size[1] for record in records)
    turns = _TURNS | (_QUARTERS if square else {})
    found = better_changed(records, turns)
    if found is None:
        return []
    how, other, own = found
    file = records[0].files[-1]
    text = (
        f"{file}, and the other masks{f' of images named …{word}' * bool(word)}: their edges fit "
        f"the images if the masks are {how} (agreement {other:.2f}), and not as they are "
        f"({own:.2f}); expected masks in the orientation of their images; save the masks "
        "again"
    )
    return [Finding(ERROR, "mirrored-masks", "labeled", file, text, records[0].index)]


def displaced_masks(facts: Sequence[Facts]) -> list[Finding]:
    """A finding if the masks of a split fit their images only when all are moved by some pixels.

    What the masks agree with in images of others is subtracted: the horizon of all is no sign.

    Args:
        facts: records with gradient and small mask, of one split.
    """
    records = [f for f in facts if f.small_mask is not None]
    if len(records) < _LEAST:
        return []
    records = records[:: max(1, len(records) // _MOST)]
    fits, excess = _by_offset(records)
    row, column = np.unravel_index(excess.argmax(), excess.shape)
    down, right = int(row) - _FARTHEST, int(column) - _FARTHEST
    own, other = excess[_FARTHEST, _FARTHEST], excess[row, column]
    better = (fits[:, row, column] > fits[:, _FARTHEST, _FARTHEST]).mean()
    if (
        max(abs(down), abs(right)) < _NEAREST
        or other <= max(2 * own, own + max(_LEAST_GAIN, _NOISE / len(records) ** 0.5))
        or better < _MOSTLY_MOVED
    ):
        return []
    file, side = records[0].files[-1], records[0].small_mask.shape[0]
    moved = " and ".join(
        f"{abs(part) / side:.0%} of the {size} {there if part > 0 else back}"
        for part, size, there, back in (
            (down, "height", "down", "up"), (right, "width", "to the right", "to the left"),
        )
        if part
    )  # fmt: skip
    text = (
        f"{file}, and the other masks: their edges fit the images if the masks are moved by about "
        f"{moved} (agreement {other:.2f}), and not as they are ({own:.2f}); expected masks of "
        "these very images; were the images cropped or padded, and the masks not? Make the masks "
        "again"
    )
    return [Finding(ERROR, "displaced-masks", "labeled", file, text, records[0].index)]


def _by_offset(records: Sequence[Facts]) -> tuple[np.ndarray, np.ndarray]:
    """Agreement of masks moved by -12 to 12 pixels down and right, with 48 x 48 in all.

    Returns:
        Float64 [N,25,25]: of each mask with its own image; and [25,25]: their mean, less the mean
        agreement with the images of others.
    """
    gradients, edges = standardized(records)
    padded = (2 * gradients.shape[1], 2 * gradients.shape[2])
    images, masks = np.fft.rfft2(gradients, padded), np.conj(np.fft.rfft2(edges, padded))
    near = np.arange(-_FARTHEST, _FARTHEST + 1)

    def at_offsets(products: np.ndarray) -> np.ndarray:
        return np.fft.irfft2(products, padded)[..., near[:, None], near]

    fits, count = at_offsets(images * masks), len(records)
    everything = at_offsets(images.sum(0) * masks.sum(0))
    others = (everything - fits.sum(0)) / (count * (count - 1))
    return fits, fits.mean(0) - others


def standardized(records: Sequence[Facts]) -> tuple[np.ndarray, np.ndarray]:
    """Gradients and edges, of which sums of products are `gradient_agreement`: float64 [N,48,48].

    The gradients of each image have mean 0 and deviation 1; the edges of each mask have sum 1.
    """
    gradients = np.stack([record.gradient for record in records]).astype(np.float64)
    gradients -= gradients.mean((1, 2), keepdims=True)
    gradients /= np.maximum(gradients.std((1, 2), keepdims=True), 1e-6)
    edges = np.stack([mask_edges(record.small_mask) for record in records]).astype(np.float64)
    return gradients, edges / np.maximum(edges.sum((1, 2), keepdims=True), 1)


def _agreement_with(image: Facts, mask: np.ndarray) -> float:
    return gradient_agreement(image.gradient.astype(np.float32), mask)


def better_changed(
    records: Sequence[Facts], changes: Mapping[How, Change]
) -> tuple[How, float, float] | None:
    """The change of all masks by which nearly each of them fits its image clearly better.

    Returns:
        Its key, the mean agreement of edges with it, and that of the masks as they are; or None.
    """
    own = _changed(records, lambda mask: mask)
    agreement = {how: _changed(records, change) for how, change in changes.items()}
    how, other = max(agreement.items(), key=lambda one: one[1].mean())
    clear = other.mean() > max(2 * own.mean(), own.mean() + _CLEAR)
    if not clear or (other > own).mean() <= _MOSTLY:
        return None
    return how, float(other.mean()), float(own.mean())


def _changed(records: Sequence[Facts], change: Change) -> np.ndarray:
    return np.array([
        _agreement_with(r, np.ascontiguousarray(change(r.small_mask)))
        for r in records
    ])  # fmt: skip


def _agreement(records: Sequence[Facts], shift: int) -> float:
    """Mean agreement of each mask with the image `shift` places further."""
    indices = range(1, len(records) - 1)
    picked = indices[:: max(1, len(indices) // _MOST)]
    return float(np.mean([
        _agreement_with(records[i + shift], records[i].small_mask)
        for i in picked
    ]))  # fmt: skip
