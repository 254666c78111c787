"""The order in which images are suggested: parts of the score, and diversity. No jax."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist

PARTS = ("uncertainty", "disagreement", "rarity")
# Values closer than this are equal: another batch size changes the last bits of a network's output.
_DECIMALS = 5
# Centers whose distances are computed at once, to bound memory.
_CENTERS = 64


@dataclasses.dataclass(frozen=True)
class Ranking:
    """The order of suggestion.

    Attributes:
        order: positions of all N images, first suggestion first, int64 [N].
        score: float64 [N] in (0, 1], by position.
        distance: float64 [N]: distance to the nearest labeled or earlier suggested image when the
            image was picked; for images that were not picked, after the last pick.
    """

    order: np.ndarray
    score: np.ndarray
    distance: np.ndarray


def rarity(class_pixels: np.ndarray, labeled_pixels: np.ndarray) -> np.ndarray:
    """How rare the predicted classes of each image are among the labels.

    The mean over pixels of -log f_c, the self-information (Shannon 1948) of the predicted class c,
    as a share of that of the rarest class. f_c is the share of class c in the labeled pixels, each
    class counted with one pixel more, so that a class without labels has a finite value.

    Args:
        class_pixels: pixels of each predicted class, [N,C].
        labeled_pixels: pixels of each class in the labeled masks, [C].

    Returns:
        float64 [N] in [0, 1]; 0 for an image without a pixel.
    """
    pixels = np.asarray(class_pixels, np.float64)
    labeled = np.asarray(labeled_pixels, np.float64) + 1
    information = -np.log(labeled / labeled.sum())
    shares = pixels / np.maximum(pixels.sum(1, keepdims=True), 1)
    return shares @ (information / information.max())


def combined(parts: Mapping[str, np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """One score from parts of different scales: the weighted mean of their ranks.

    Equal values share the mean of their ranks; see `rank_shares`.

    Args:
        parts: `PARTS` → float [N].
        weights: one for each of `PARTS`, at least one above 0.

    Returns:
        float64 [N] in (0, 1].
    """
    ranks = [rank_shares(parts[name]) for name in PARTS]
    return np.average(ranks, axis=0, weights=weights)


def rank_shares(values: np.ndarray) -> np.ndarray:
    """The rank of each value divided by their number, 1 for the largest: float64 [N]."""
    rounded = np.round(np.asarray(values, np.float64), _DECIMALS)
    return stats.rankdata(rounded) / len(rounded)


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Rows [N,D] of length 1, float64; a row of zeros stays.

    Lengths of features differ much more between images than scores do: distances between rows of
    any length would leave the score little say.
    """
    features = np.asarray(features, np.float64)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1.0)


def ranked(score: np.ndarray, features: np.ndarray, labeled: np.ndarray, count: int) -> Ranking:
    """Picks `count` images one by one, by score times distance to what is labeled or picked.

    Greedy k-center (Gonzalez 1985; as active learning with features of a network: Sener and
    Savarese 2018, arXiv 1708.00489) takes the image that is farthest from its nearest center. Here
    the distance is multiplied by the score, so that near copies of a pick come last however high
    their score is. Images that were not picked follow by the same product. Ties go to the higher
    score, then to the earlier position.

    Args:
        score: [N], at least 0.
        features: [N,D].
        labeled: features of the labeled images, the first centers, [L,D]; L may be 0: then the
            first pick is the image with the highest score.
        count: number of images to pick.
    """
    features = np.asarray(features, np.float64)
    nearest = _nearest(features, np.asarray(labeled, np.float64))
    distance, picked = np.full(len(score), np.nan), []
    left = np.ones(len(score), bool)
    for _ in range(min(count, len(score))):
        pick = _by_priority(score, nearest, np.flatnonzero(left))[0]
        picked.append(int(pick))
        left[pick], distance[pick] = False, nearest[pick]
        if np.isinf(nearest).any():  # nothing was labeled: the first center
            distance[pick] = 0.0
        nearest = np.minimum(nearest, cdist(features, features[pick : pick + 1])[:, 0])
    rest = _by_priority(score, nearest, np.flatnonzero(left))
    distance[rest] = nearest[rest]
    return Ranking(np.array([*picked, *rest], np.int64), np.asarray(score, np.float64), distance)


def _by_priority(score: np.ndarray, nearest: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Positions in falling order of score times distance."""
    score, near = score[positions], nearest[positions]
    # Without any center all distances are infinite, and the score alone decides.
    priority = score * np.where(np.isinf(near), 1.0, near)
    return positions[np.lexsort((positions, -score, -priority))]


def _nearest(features: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Distance of each row to the nearest center; infinite without centers."""
    nearest = np.full(len(features), np.inf)
    for start in range(0, len(centers), _CENTERS):
        nearest = np.minimum(nearest, cdist(features, centers[start : start + _CENTERS]).min(1))
    return nearest
