"""Masks of two classes in which background and object are exchanged, in some files alone."""

from collections.abc import Mapping, Sequence

import numpy as np

from ipixmatch_jax.data.files.mask_checks import percent
from ipixmatch_jax.data.inspection.findings import WARNING, Facts, Finding
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.data.tiles import window_sums

_SIDE = 48
# Pixels of each class that a small mask must show.
_FEWEST_PIXELS = 5
# Masks of each kind, and of both together.
_LEAST_INVERTED, _LEAST_UPRIGHT, _LEAST = 2, 4, 6
# Share of the masks whose class 1 looks as in the others of their kind, and share of the other
# kind in which class 0 does. Of 34 pairs of classes in photographs (CamVid, pets, fashion, nuclei),
# in sets of 8 to 800 masks, none reached both; with a half or a quarter of the masks inverted, 94
# to 100 % did.
_ALIKE, _OPPOSITE = 0.9, 0.75
# Of two kinds of about the same number, the one with more of class 1 is likelier the inverted one.
_MOST_LARGE = 2 / 3
# Added to the covariance of standardized features, so that few masks do not fit by chance.
_RIDGE = 0.3
_SHOWN = 3
_WINDOW = 5
_ROWS, _COLUMNS = np.mgrid[:_SIDE, :_SIDE] / (_SIDE - 1) * 2 - 1
# Where an object may be: distance from the center, height, distance from the nearest border.
_PLACES = (
    _ROWS**2 + _COLUMNS**2,
    _ROWS,
    np.maximum(np.abs(_ROWS), np.abs(_COLUMNS)),
)


def contrast_of(colors: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """How class 1 of a mask of two classes differs from class 0 in its image.

    Args:
        colors: the image in small, uint8 [48,48,3].
        mask: the mask in small, uint8 [48,48].

    Returns:
        Float64 [8]: the share of class 1 along the border, then the differences of the means of
        brightness, two colors, texture and three coordinates, each divided by its standard
        deviation in the image. None for a mask of other classes, or of one class alone.
    """
    first, second = mask == 0, mask == 1
    if not (first | second | (mask == IGNORE)).all():
        return None
    if min(first.sum(), second.sum()) < _FEWEST_PIXELS:
        return None
    features = _features(colors)
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    border = border[border != IGNORE]
    rim = float((border == 1).mean()) if len(border) else float(second.sum() / first.sum())
    return np.array([rim, *(features[:, second].mean(1) - features[:, first].mean(1))])


def _features(colors: np.ndarray) -> np.ndarray:
    """Features of the pixels of an image in small, standardized: float64 [7,48,48]."""
    small = colors.astype(np.float64)
    gray = small.mean(-1)
    padded = np.pad(gray, _WINDOW // 2, mode="edge")
    sums, squares = (window_sums(padded**power, (_WINDOW, _WINDOW)) for power in (1, 2))
    texture = np.sqrt(np.maximum(squares / _WINDOW**2 - (sums / _WINDOW**2) ** 2, 0))
    features = np.stack(
        [gray, small[..., 0] - small[..., 1], small[..., 2] - gray, texture, *_PLACES]
    )
    features -= features.mean((1, 2), keepdims=True)
    return features / (features.std((1, 2), keepdims=True) + 1e-3)


def inverted_masks(names: Sequence[str], facts: Mapping[str, Sequence[Facts]]) -> list[Finding]:
    """A warning if class 1 looks like class 0 of the others in some masks of two classes.

    Masks of which class 1 covers most of the area and of the border are compared with the others.
    Large objects look like small ones: then nothing is wrong. In inverted masks, class 0 does.

    Args:
        names: the class names.
        facts: facts per split.
    """
    records = [
        (split, fact) for split, own in facts.items() for fact in own if fact.contrast is not None
    ]
    if len(names) != 2 or len(records) < _LEAST:
        return []
    contrast = np.array([fact.contrast for _, fact in records])
    share = np.array([f.histogram[1] / max(f.histogram[:2].sum(), 1) for _, f in records])
    large = share + contrast[:, 0] > 1
    few = large if large.mean() <= _MOST_LARGE and (~large).sum() >= _LEAST_UPRIGHT else ~large
    if few.sum() < _LEAST_INVERTED or (~few).sum() < _LEAST_UPRIGHT:
        return []
    score = _likeness(contrast[:, 1:], few)
    if (score[~few] > 0).mean() < _ALIKE or (score[few] < 0).mean() < _OPPOSITE:
        return []
    wrong = [records[index] for index in np.flatnonzero(few & (score < 0))]
    right = records[int(np.argmax(score))][1]
    split, first = wrong[0]
    shown = ", ".join(fact.files[-1] for _, fact in wrong[1 : 1 + _SHOWN])
    more = f", and {len(wrong) - 1} other masks ({shown}{', …' * (len(wrong) > 1 + _SHOWN)})"
    covers = [float(share[kind].mean()) for kind in (few, ~few)]
    text = (
        f"{first.files[-1]}{more * (len(wrong) > 1)}, of {len(records)}: {names[1]} covers "
        f"{percent(covers[0])} of them and {percent(covers[1])} of the others such as "
        f"{right.files[-1]}, and in the photos it looks there like {names[0]} of the others: "
        "background and object seem exchanged in these files; expected one meaning of the values; "
        "compare a few with their photos, and invert those that are wrong"
    )
    return [Finding(WARNING, "inverted-masks", split, first.files[-1], text, first.index)]


def _likeness(contrast: np.ndarray, few: np.ndarray) -> np.ndarray:
    """How much class 1 looks as in the masks that are not `few`; below 0: class 0 does.

    A linear discriminant; each mask is compared with the others, without itself.

    Args:
        contrast: differences of the classes, float64 [N,K].
        few: bool [N].
    """
    known = contrast[~few]
    inverse = np.linalg.inv(np.cov(known.T) + _RIDGE * np.eye(contrast.shape[1]))
    total, count = known.sum(0), len(known)
    score = contrast @ inverse @ (total / count)
    without = (total - known) / (count - 1)
    score[~few] = ((without @ inverse) * known).sum(1)
    return score
