"""Relation losses against the float64 statement, at their limits, and their cost in memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from ipixmatch_jax.losses import (
    affinity,
    affinity_kl,
    class_map,
    pixel_vectors,
    relation_loss,
)
from tests.references import loss_reference as reference
from tests.references.relations import AFFINITIES, NAMES, draw, evaluate, value_and_grad


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from([(2, 4, 5, 2), (3, 3, 4, 7), (1, 6, 6, 30), (2, 3, 5, 150)]),
    scale=st.sampled_from([0.1, 1.0, 6.0]),
    gap=st.sampled_from([1e-4, 0.03, 0.5, 4.0]),
    density=st.sampled_from([0.1, 0.6, 1.0]),
    fractional=st.booleans(),
    temperature=st.sampled_from([0.5, 1.0, 3.0]),
)
def test_value_and_gradients_are_those_of_the_float64_statement(
    name, seed, shape, scale, gap, density, fractional, temperature
):
    student, teacher, keep = draw(
        seed, shape, scale=scale, gap=gap, density=density, fractional=fractional
    )

    def naive(logits):
        return reference.relation_loss(logits, teacher, keep, name, temperature)

    value, grad = evaluate(name, student, teacher, keep, temperature)
    # A correlation over two or three pixels that hardly differ has the rounding of their logits.
    few = 1e-6 if name.endswith("corr") and density == 0.1 else 1e-7
    assert value == pytest.approx(naive(student), rel=1e-5, abs=few)
    direction = np.random.default_rng(seed).normal(size=shape)
    expected = reference.directional_derivative(naive, student, direction)
    # Where the gradient is 0 because two pixels always correlate, the rounding of float32 is left.
    tolerance = np.linalg.norm(direction) * (1e-5 * np.linalg.norm(grad) + 1e-6)
    assert np.sum(grad * direction) == pytest.approx(expected, rel=1e-4, abs=tolerance)


@pytest.mark.parametrize("gap", [0.02, 2.0])
@pytest.mark.parametrize("name", NAMES)
def test_every_partial_derivative(name, gap):
    student, teacher, keep = draw(1, (2, 4, 5, 2), gap=gap)
    _, grad = evaluate(name, student, teacher, keep, 0.5)

    def naive(logits):
        return reference.relation_loss(logits, teacher, keep, name, 0.5)

    expected = reference.gradient(naive, student)
    np.testing.assert_allclose(grad, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_near_agreement_keeps_its_digits_over_many_pixels(name):
    side = 200 if name.startswith("class_map") else 30
    student, teacher, keep = draw(2, (1, side, side, 2), scale=3.0, gap=1e-3)
    value, _ = evaluate(name, student, teacher, keep)
    assert value == pytest.approx(reference.relation_loss(student, teacher, keep, name), rel=1e-5)


@pytest.mark.parametrize("rubbish", [3e38, -1e30, np.inf, np.nan])
@pytest.mark.parametrize("name", NAMES)
def test_pixels_of_weight_zero_change_nothing(name, rubbish):
    student, teacher, keep = draw(3, (3, 3, 4, 7))
    out = keep[..., None] == 0
    spoiled = [np.where(out, np.float32(rubbish), a) for a in (student, teacher)]
    value, grad = evaluate(name, student, teacher, keep)
    spoiled_value, spoiled_grad = evaluate(name, *spoiled, keep)
    assert spoiled_value == value
    np.testing.assert_array_equal(spoiled_grad, grad)
    assert not np.any(grad[keep == 0])
    assert np.all(np.any(grad[keep > 0] != 0, axis=-1))


@pytest.mark.parametrize("pixels", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_too_few_pixels_give_zero(name, pixels):
    student, teacher, keep = draw(4, (2, 4, 5, 2))
    keep = np.zeros_like(keep)
    keep.reshape(2, -1)[:, :pixels] = 0.3
    value, grad = evaluate(name, student, teacher, keep)
    assert value == 0
    assert not np.any(grad)


def test_min_pixels_counts_images():
    student, teacher, _ = draw(5, (2, 4, 5, 2))
    keep = np.zeros((2, 20), np.float32)
    keep[0, :3], keep[1, :7] = 0.01, 1.0
    keep = keep.reshape(2, 4, 5)
    for least, count in ((0, 2), (3, 2), (4, 1), (7, 1), (8, 0)):
        total, images = relation_loss(
            student, teacher, keep, relation="class_map", distance="kl", min_pixels=least
        )
        assert images == count
        mean = reference.relation_loss(student, teacher, keep, "class_map/kl", min_pixels=least)
        assert float(total) == pytest.approx(count * mean, rel=1e-5)


def one_hot_maps(labels, classes, height=40.0):
    return (height * np.eye(classes)[labels]).astype(np.float32)


LABELS = np.random.default_rng(0).integers(0, 3, (2, 4, 5))
CASES = {
    "identical": draw(6, (2, 4, 5, 3), gap=0.0)[:2],
    "constant": (np.full((2, 4, 5, 3), 0.7, np.float32),) * 2,
    "constant student": (np.zeros((2, 4, 5, 3), np.float32), draw(6, (2, 4, 5, 3))[1]),
    "constant teacher": (draw(6, (2, 4, 5, 3))[0], np.zeros((2, 4, 5, 3), np.float32)),
    "one class": (one_hot_maps(0 * LABELS, 3), one_hot_maps(0 * LABELS, 3)),
    "opposite classes": (one_hot_maps(0 * LABELS, 3), one_hot_maps(1 + 0 * LABELS, 3)),
    "saturated": (one_hot_maps(LABELS, 3), one_hot_maps((LABELS + 1) % 3, 3)),
    "saturated alike": (one_hot_maps(LABELS, 3), one_hot_maps(LABELS, 3)),
    "one far pixel": (
        np.zeros((2, 4, 5, 3), np.float32),
        np.where(np.arange(20).reshape(1, 4, 5, 1) == 7, np.float32(1000), np.zeros((2, 4, 5, 3))),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", NAMES)
def test_degenerate_maps(name, case):
    student, teacher = (a.astype(np.float32) for a in CASES[case])
    keep = np.ones((2, 4, 5), np.float32)
    value, grad = evaluate(name, student, teacher, keep)
    expected = reference.relation_loss(student, teacher, keep, name)
    assert value == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert np.all(np.isfinite(grad))
    if student is teacher or np.array_equal(student, teacher):
        assert 0 <= value < 1e-12
        np.testing.assert_allclose(grad, 0, atol=1e-6)


@pytest.mark.parametrize("name", ["class_map/kl", "class_map/corr"])
def test_opposite_pixels(name):
    teacher = np.array([[[[2.0, 0.0], [0.0, 2.0]]]], np.float32)
    keep = np.ones((1, 1, 2), np.float32)
    # Two pixels at logits ±1: p = (s, 1−s), q = (1−s, s) with s = sigmoid(2), in both channels.
    s = 1 / (1 + np.exp(-2.0))
    expected = {"class_map/kl": (2 * s - 1) * np.log(s / (1 - s)), "class_map/corr": 2.0}[name]
    assert evaluate(name, -teacher, teacher, keep)[0] == pytest.approx(expected, rel=1e-6)


def test_affinity_of_a_student_that_knows_nothing():
    teacher = np.array([[[[2.0, 0.0], [0.0, 2.0]]]], np.float32)
    keep = np.ones((1, 1, 2), np.float32)
    # All of B is 1/2, A is 1/2 + δ on and 1/2 − δ off the diagonal.
    delta = np.tanh(1.0) ** 2 / 2
    r = 1 / (1 + np.exp(-2 * delta))
    row = r * np.log(2 * r) + (1 - r) * np.log(2 - 2 * r)
    for name, expected in (("mse", delta**2), ("corr", 0.0), ("kl", row)):
        value, _ = evaluate(f"affinity/{name}", 0 * teacher, teacher, keep)
        assert value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", AFFINITIES)
def test_affinity_does_not_care_what_the_classes_are_called(name):
    student, teacher, keep = draw(22, (2, 4, 5, 7), gap=0.0)
    renamed = student[..., np.random.default_rng(0).permutation(7)]
    assert evaluate(name, renamed, teacher, keep)[0] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", AFFINITIES)
@pytest.mark.parametrize(
    "options",
    [
        {"cosine": True},
        {"stride": 2},
        {"stride": 3, "cosine": True},
        {"classes": "present"},
        {"classes": "present", "cosine": True},
        {"on": "features"},
        {"on": "features", "cosine": True, "stride": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("gap", [1e-3, 1.0])
def test_options_of_affinity(name, options, gap):
    student, teacher, keep = draw(23, (2, 5, 7, 9), gap=gap, scale=3.0, density=0.2)

    def naive(maps):
        return reference.relation_loss(maps, teacher, keep, name, 0.7, **options)

    value, grad = evaluate(name, student, teacher, keep, 0.7, **options)
    assert value == pytest.approx(naive(student), rel=1e-5)
    for direction in np.random.default_rng(23).normal(size=(3, *student.shape)):
        size = np.linalg.norm(grad) * np.linalg.norm(direction)
        expected = reference.directional_derivative(naive, student, direction)
        assert np.sum(grad * direction) == pytest.approx(expected, rel=1e-4, abs=1e-5 * size)
    assert value != pytest.approx(evaluate(name, student, teacher, keep, 0.7)[0], rel=1e-3)


@pytest.mark.parametrize("name", ["class_map/kl", "class_map/corr"])
def test_class_map_over_present_classes(name):
    student, teacher, keep = draw(24, (3, 3, 4, 30), scale=3.0)
    value, grad = evaluate(name, student, teacher, keep, classes="present")
    expected = reference.relation_loss(student, teacher, keep, name, classes="present")
    assert value == pytest.approx(expected, rel=1e-5)
    if name == "class_map/kl":
        kept = keep > 0
        for image in range(3):
            absent = ~np.isin(np.arange(30), teacher[image].argmax(-1)[kept[image]])
            assert absent.any()
            assert not np.any(grad[image][..., absent])


def test_features_may_have_one_channel_and_zero_length():
    student, teacher, keep = draw(25, (2, 4, 5, 1))
    student[:, 0], teacher[:, 1] = 0.0, 0.0
    for name in AFFINITIES:
        for cosine in (False, True):
            value, grad = evaluate(name, student, teacher, keep, on="features", cosine=cosine)
            expected = reference.relation_loss(
                student, teacher, keep, name, on="features", cosine=cosine
            )
            assert value == pytest.approx(expected, rel=1e-5)
            assert np.all(np.isfinite(grad))


@pytest.mark.parametrize("block", [1, 3, 7, 20, 64])
def test_blocks_of_rows_change_nothing(block):
    student, teacher, keep = draw(26, (2, 4, 5, 7))
    value, grad = evaluate("affinity/kl", student, teacher, keep)
    blocked_value, blocked_grad = evaluate("affinity/kl", student, teacher, keep, block=block)
    assert blocked_value == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(blocked_grad, grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("gap", [1.0, 0.01])
def test_hand_written_derivatives(gap):
    student, teacher, keep = draw(27, (2, 3, 4, 5), gap=gap)
    maps = [x.reshape(2, 12, -1).astype(np.float64) for x in (student, teacher, keep)]
    classes = np.array([[1.0, 1, 0, 1, 1], [1, 1, 1, 1, 1]])
    # Forms are float32 constants of zeros and ones.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        y, z, weight = map(jnp.asarray, maps)
        weight = weight / weight.sum(1, keepdims=True)

        def check(f, *rest, **how):
            return check_grads(jax.jit(f), *rest, order=1, rtol=1e-5, eps=1e-6, **how)

        check(lambda y: class_map._divergence(y, z, weight), (y,))
        check(lambda y: pixel_vectors._probabilities(y, z), (y,))
        check = functools.partial(check, modes=["rev"])
        check(lambda y: class_map._correlation(y, z, weight, classes), (y,))
        check(lambda y: affinity._square_gap(z, y, y - z, weight), (y,))
        check(lambda y: affinity._correlation(z, y, y - z, weight), (y,))

        def rows(y):
            return affinity_kl.row_divergence(z, y, y - z, weight, 0.5, block=5)

        check(rows, (y,))


@pytest.mark.parametrize("name", NAMES)
def test_memory_stays_a_few_maps(name):
    student, teacher, keep = draw(29, (1, 64, 64, 21))
    compiled = value_and_grad(name).lower(student, teacher, keep, jnp.float32(1.0)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes <= 6 * 2 * student.nbytes


@pytest.mark.parametrize("distance", ["mse", "corr"])
def test_sums_over_many_pixels_keep_their_digits(distance):
    student, teacher, keep = draw(30, (1, 401, 401, 2), scale=3.0)
    with jax.enable_x64(True):
        q, p = (jax.nn.softmax(jnp.float64(x)).reshape(-1, 2) for x in (student, teacher))
        m = jnp.float64(keep).reshape(-1, 1) / np.float64(keep).sum()

        def inner(x, y):
            return jnp.sum(((m * x).T @ y) ** 2)  # ⟨x xᵀ, y yᵀ⟩

        if distance == "mse":
            expected = inner(p, p) + inner(q, q) - 2 * inner(p, q)
        else:

            def mean(x):
                return jnp.sum((m * x).sum(0) ** 2)

            def cov(x, y):
                return inner(x, y) - mean(x) * mean(y)

            expected = 1 - cov(p, q) / jnp.sqrt(cov(p, p) * cov(q, q))
    value, _ = evaluate(f"affinity/{distance}", student, teacher, keep)
    assert value == pytest.approx(float(expected), rel=2e-6)


def test_a_channel_without_variance_counts_zero():
    rng = np.random.default_rng(7)
    # The third class has probability 1/3 everywhere, the others are anticorrelated.
    half = rng.uniform(0.05, 0.6, (1, 4, 5))
    probs = np.stack([half, 2 / 3 - half, np.full_like(half, 1 / 3)], -1)
    teacher = np.log(probs).astype(np.float32) + rng.normal(size=(1, 4, 5, 1)).astype(np.float32)
    swapped = teacher[..., [1, 0, 2]]
    value, grad = evaluate("class_map/corr", swapped, teacher, np.ones((1, 4, 5), np.float32))
    assert value == pytest.approx((2 + 2 + 0) / 3, rel=1e-5)
    assert np.all(np.isfinite(grad))


def test_corr_sees_channels_that_are_all_but_zero_or_one():
    rng = np.random.default_rng(8)
    keep = np.ones((1, 4, 5), np.float32)
    teacher = rng.normal(size=(1, 4, 5, 2)).astype(np.float32)
    student = rng.normal(size=(1, 4, 5, 2)).astype(np.float32)
    offset = np.array([14.0, 0.0], np.float32)
    teacher, student = teacher + offset, student + offset
    value, grad = evaluate("class_map/corr", student, teacher, keep)

    def naive(logits):
        return reference.relation_loss(logits, teacher, keep, "class_map/corr")

    assert value == pytest.approx(naive(student), rel=1e-5)
    expected = reference.gradient(naive, student)
    np.testing.assert_allclose(grad, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
