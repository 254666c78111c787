"""Means over seeds, and differences of methods with confidence intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

_CONFIDENCE = 0.95
_RESAMPLES = 2000


def mean_and_sd(values: Sequence[float]) -> dict[str, float | int | None]:
    """`n`, `mean` and the sample standard deviation `sd`, which is None for a single value."""
    array = np.asarray(values, np.float64)
    sd = float(array.std(ddof=1)) if len(array) > 1 else None
    return {"n": len(array), "mean": float(array.mean()), "sd": sd}


def paired_difference(
    one: Mapping[int, float], other: Mapping[int, float]
) -> dict[str, Any] | None:
    """Mean of `other` − `one` over common seeds, with Student's 95 % confidence interval.

    Args:
        one, other: seed → value.

    Returns:
        `{'seeds', 'mean', 'low', 'high'}`; None with fewer than two common seeds.
    """
    seeds = sorted(one.keys() & other.keys())
    if len(seeds) < 2:
        return None
    differences = np.array([other[seed] - one[seed] for seed in seeds], np.float64)
    mean = float(differences.mean())
    error = float(differences.std(ddof=1)) / math.sqrt(len(seeds))
    half_width = float(stats.t.ppf((1 + _CONFIDENCE) / 2, len(seeds) - 1)) * error
    return {"seeds": seeds, "mean": mean, "low": mean - half_width, "high": mean + half_width}


def bootstrap_difference(one: np.ndarray, other: np.ndarray) -> dict[str, Any] | None:
    """mIoU of `other` − `one` on the same images, with a bootstrap 95 % interval over the images.

    Args:
        one, other: int64 [n, 3, C]: for each image and class, the correct, true and predicted
            pixels.

    Returns:
        `{'images', 'mean', 'low', 'high'}`, the percentiles of 2000 resamples; None if no pixel has
        a label.
    """
    # A resample of images without any label would have no mIoU.
    has_labels = one.any((1, 2)) | other.any((1, 2))
    one, other = one[has_labels], other[has_labels]
    if not len(one):
        return None
    rng = np.random.default_rng(0)
    n = len(one)
    weights = rng.multinomial(n, np.full(n, 1 / n), _RESAMPLES).astype(np.float64)
    differences = _miou(weights, other) - _miou(weights, one)
    whole = np.ones((1, n))
    mean = float((_miou(whole, other) - _miou(whole, one))[0])
    tail = (1 - _CONFIDENCE) / 2
    low, high = (float(x) for x in np.quantile(differences, (tail, 1 - tail)))
    return {"images": n, "mean": mean, "low": low, "high": high}


def _miou(weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """mIoU [k] of images with weights [k, n]; classes that do not occur are left out."""
    right, true, predicted = np.moveaxis(np.einsum("kn,nac->kac", weights, counts), 1, 0)
    union = true + predicted - right
    iou = np.divide(right, union, out=np.full(right.shape, np.nan), where=union > 0)
    return np.nanmean(iou, axis=-1)


def calibration(bins: np.ndarray, shown: int = 15) -> dict[str, Any]:
    """Reliability, expected calibration error, and coverage against accuracy.

    The error is Σ_b n_b/n · |accuracy_b − confidence_b| over `shown` bins of equal width (Guo et
    al., arXiv 1706.04599).

    Args:
        bins: float64 [k, 3] for k bins of confidence: pixels, correct pixels, sum of confidences.
        shown: number of bins in the diagram; divides k.

    Returns:
        `{'bins': [[pixels, accuracy, confidence], …], 'ece', 'coverage': [[threshold, share of
        pixels at or above it, their accuracy], …]}`; an empty bin has accuracy and confidence None.
    """
    total = bins[:, 0].sum()
    merged = bins.reshape(shown, -1, 3).sum(1)
    rows, ece = [], 0.0
    for pixels, right, confidence in merged:
        if not pixels:
            rows.append([0, None, None])
            continue
        rows.append([int(pixels), right / pixels, confidence / pixels])
        ece += abs(right - confidence) / total
    above = bins[::-1].cumsum(0)[::-1]
    coverage = [
        [start / len(bins), row[0] / total, row[1] / row[0]]
        for start, row in enumerate(above)
        if row[0]
    ]
    return {"bins": rows, "ece": float(ece), "coverage": coverage}
