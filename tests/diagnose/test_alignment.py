"""Cosines against projections of explicit vectors; the jackknife against s/√n and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from ipixmatch_jax.diagnose.alignment import Estimate, Products

BATCHES, SIZE = 5, 40


def drawn(seed, *losses):
    """Products of random gradients; a loss is a function of (supervised, pseudo, truth, rng)."""
    rng = np.random.default_rng(seed)
    others = rng.normal(size=(BATCHES, SIZE)) + 1
    vectors, bases = [], []
    for _ in range(BATCHES):
        three = rng.normal(size=(3, SIZE)) + [[0.5], [0.2], [1.0]]
        bases.append(np.concatenate([three, others]))
        vectors.append(np.stack([loss(*three, rng) for loss in losses]))
    products = Products(
        np.stack([basis @ basis.T for basis in bases]),
        np.stack([v @ basis.T for v, basis in zip(vectors, bases, strict=True)]),
        np.stack([np.sum(v**2, -1) for v in vectors]),
    )
    return products, bases, vectors


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def rest(vector, basis):
    q, _ = np.linalg.qr(basis[:2].T)
    return vector - q @ (q.T @ vector)


def test_measures_are_those_of_the_vectors():
    products, bases, vectors = drawn(0, lambda s, p, t, rng: t + s + rng.normal(size=SIZE))
    got = products.alignment(0)
    one = [v[0] for v in vectors]
    norm = np.mean([np.linalg.norm(v) for v in one])
    assert got.norm.value == pytest.approx(
        norm / np.mean([np.linalg.norm(basis[1]) for basis in bases])
    )
    for name, function in (("", lambda v, _: v), ("extra_", rest)):
        truth, other = [], []
        for b, (v, basis) in enumerate(zip(one, bases, strict=True)):
            kept = np.mean([basis[3 + j] for j in range(BATCHES) if j != b], axis=0)
            truth.append(cosine(function(v, basis), function(basis[2], basis)))
            other.append(cosine(function(v, basis), function(kept, basis)))
        found = getattr(got, f"{name}truth")
        assert found.value == pytest.approx(np.mean(truth))
        # A plain mean over batches: the jackknife's error is s/√n.
        assert found.error == pytest.approx(np.std(truth, ddof=1) / math.sqrt(BATCHES))
        assert getattr(got, f"{name}other").value == pytest.approx(np.mean(other))


def test_what_the_supervised_and_pseudo_label_gradients_contain_is_no_extra():
    products, _, _ = drawn(1, lambda s, p, t, rng: p, lambda s, p, t, rng: 2 * s - p)
    for loss in range(2):
        got = products.alignment(loss)
        assert math.isnan(got.extra_truth.value) and math.isnan(got.extra_other.value)
        assert not math.isnan(got.truth.value)
    assert products.alignment(0).norm.value == pytest.approx(1)
    assert products.alignment(0).norm.error == pytest.approx(0, abs=1e-12)


def test_without_pseudo_labels_there_is_no_norm_to_compare_with():
    basis = np.eye(6)[None].repeat(3, 0)
    basis[:, 1, 1] = 0
    got = Products(basis, np.ones((3, 1, 6)), np.full((3, 1), 9.0)).alignment(0)
    assert math.isnan(got.norm.value) and not math.isnan(got.extra_truth.value)


def test_intervals():
    values = np.array([0.1, 0.4, 0.3, 0.2])
    without = np.array([np.delete(values, i).mean() for i in range(4)])
    estimate = Estimate(values.mean(), without)
    low = stats.ttest_1samp(values, 0).confidence_interval(0.95).low
    assert estimate.low() == pytest.approx(low)
    three = stats.ttest_1samp(values, 0).confidence_interval(1 - 0.05 / 3).low
    assert estimate.low(3) == pytest.approx(three)
    assert estimate.minus(estimate).low() == 0


def test_the_error_covers_that_of_the_other_images():
    """The cosine with other images has their noise too, which all batches share."""
    values, errors = [], []
    for seed in range(60):
        products, _, _ = drawn(seed, lambda s, p, t, rng: 1.0 + rng.normal(size=SIZE))
        estimate = products.alignment(0).other
        values.append(estimate.value)
        errors.append(estimate.error)
    assert np.mean(np.square(errors)) > 0.8 * np.var(values, ddof=1)
