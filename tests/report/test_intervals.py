"""Means and confidence intervals, against NumPy and SciPy."""

import numpy as np
import pytest
from scipy import stats

from ipixmatch_jax.report.intervals import bootstrap_difference, mean_and_sd, paired_difference


def test_paired_needs_two_common_seeds():
    assert paired_difference({0: 0.5, 1: 0.6}, {1: 0.7, 2: 0.9}) is None
    found = paired_difference({0: 0.5, 1: 0.6, 2: 0.4}, {2: 0.5, 0: 0.55, 1: 0.75, 9: 0.0})
    interval = stats.ttest_rel([0.55, 0.75, 0.5], [0.5, 0.6, 0.4]).confidence_interval(0.95)
    assert found["seeds"] == [0, 1, 2]
    assert (found["low"], found["high"]) == pytest.approx(tuple(interval))
    assert mean_and_sd([0.5]) == {"n": 1, "mean": 0.5, "sd": None}


def test_the_bootstrap_covers_the_difference_of_the_whole():
    rng = np.random.default_rng(0)
    true = rng.integers(50, 100, (40, 2))
    counts = []
    for share in (0.5, 0.6):
        right = (true * rng.uniform(share - 0.1, share + 0.1, true.shape)).astype(int)
        counts.append(np.stack([right, true, right + (true - right)[:, ::-1]], 1))

    def miou(c):
        right, real, predicted = c.sum(0)
        return (right / (real + predicted - right)).mean()

    found = bootstrap_difference(*counts)
    assert found["mean"] == pytest.approx(miou(counts[1]) - miou(counts[0]))
    assert 0 < found["low"] < found["mean"] < found["high"]
    # The standard error by leaving images out one by one.
    each = [miou(np.delete(counts[1], i, 0)) - miou(np.delete(counts[0], i, 0)) for i in range(40)]
    error = np.sqrt(39 / 40 * np.sum((each - np.mean(each)) ** 2))
    assert (found["high"] - found["low"]) / 3.92 == pytest.approx(error, rel=0.15)


def test_images_without_labels_leave_the_interval_a_number():
    """JSON knows no NaN: a browser would show an empty page."""
    one, other = np.zeros((2, 2, 3, 2), np.int64)
    one[0], other[0] = [[10, 5], [15, 10], [15, 10]], [[12, 7], [15, 10], [15, 10]]
    assert bootstrap_difference(one, other) == bootstrap_difference(one[:1], other[:1])
    assert bootstrap_difference(one[1:], other[1:]) is None
