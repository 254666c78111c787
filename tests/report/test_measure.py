"""Pixel counts of the report."""

import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.report.intervals import calibration
from ipixmatch_jax.report.measure import BINS, bin_counts


def test_calibration_of_a_network_that_is_always_sure_and_right_half_the_time():
    mask = jnp.asarray([[[0, 1, 0, 255]]], jnp.int32)
    bins = bin_counts(jnp.zeros_like(mask), mask, jnp.asarray([[[1.0, 1.0, 0.31, 1.0]]]))
    assert bins.shape == (BINS, 3)
    found = calibration(np.asarray(bins, np.float64))
    assert found["ece"] == pytest.approx((2 * 0.5 + 0.69) / 3)
    assert found["bins"][14] == [2, 0.5, 1.0] and found["bins"][0] == [0, None, None]
    assert found["coverage"][0] == [0.0, 1.0, pytest.approx(2 / 3)]
    assert found["coverage"][-1] == [59 / 60, pytest.approx(2 / 3), 0.5]
