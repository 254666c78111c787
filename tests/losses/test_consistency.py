"""Soft distances, class thresholds and order statistics against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.losses import class_thresholds, consistency_loss
from ipixmatch_jax.losses.order_statistics import kth_smallest

rng = np.random.default_rng(0)
SHAPE = (2, 5, 6, 4)
STUDENT, TEACHER = (rng.normal(size=SHAPE).astype("f4") * 2 for _ in range(2))
WEIGHT = rng.random(SHAPE[:3]).astype("f4") * (rng.random(SHAPE[:3]) < 0.7)


def softmax(x):
    e = np.exp(x.astype("f8") - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


Q, P = softmax(STUDENT), softmax(TEACHER)
STATED = {
    "pseudo_label": -np.log(np.take_along_axis(Q, P.argmax(-1)[..., None], -1))[..., 0],
    "kl": (P * (np.log(P) - np.log(Q))).sum(-1),
    "mse": ((Q - P) ** 2).mean(-1),
    "soft_cross_entropy": -(P * np.log(Q)).sum(-1),
}


@pytest.mark.parametrize("distance", STATED)
def test_value_is_the_stated_sum_and_only_the_student_learns(distance):
    loss = jax.value_and_grad(consistency_loss, argnums=(0, 1, 2))
    value, (student, *others) = loss(STUDENT, TEACHER, WEIGHT, distance)
    assert value == pytest.approx((WEIGHT * STATED[distance]).sum(), rel=1e-5)
    assert all(np.all(np.asarray(grad) == 0) for grad in others)
    assert np.all((np.asarray(student) != 0).any(-1) == (WEIGHT > 0))


@pytest.mark.parametrize("distance", STATED)
def test_pixels_of_weight_zero_change_nothing(distance):
    wild = np.where(WEIGHT[..., None] > 0, STUDENT, np.float32(np.nan))
    value, grad = jax.value_and_grad(consistency_loss)(wild, TEACHER, WEIGHT, distance)
    assert value == pytest.approx(float(consistency_loss(STUDENT, TEACHER, WEIGHT, distance)))
    assert np.isfinite(grad).all()


def test_unknown_distances_suggest_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'mse'"):
        consistency_loss(STUDENT, TEACHER, WEIGHT, "mze")


def test_class_thresholds_follow_the_confidence_of_the_classes():
    valid = WEIGHT > 0
    found = class_thresholds(jnp.asarray(TEACHER), jnp.asarray(valid), 0.9)
    label, sure = P.argmax(-1), P.max(-1)
    means = np.array([sure[valid & (label == c)].mean() for c in range(SHAPE[-1])])
    np.testing.assert_allclose(found, (0.9 * means / means.max())[label], rtol=1e-5)


def test_class_thresholds_are_those_of_all_devices():
    valid = WEIGHT > 0
    together = class_thresholds(jnp.asarray(TEACHER), jnp.asarray(valid), 0.9)
    alone = jax.vmap(
        lambda t, v: class_thresholds(t[None], v[None], 0.9, "data")[0], axis_name="data"
    )(jnp.asarray(TEACHER), jnp.asarray(valid))
    np.testing.assert_allclose(alone, together, rtol=1e-6)


@pytest.mark.parametrize("k", [1, 7, 40, 300, 301])
def test_kth_smallest_is_that_of_a_sort_over_all_devices(k):
    values = rng.random((4, 100)).astype("f4").round(2)  # with ties
    counted = rng.random((4, 100)) < 0.75
    counted.reshape(-1)[np.flatnonzero(counted)[300:]] = False
    counted.reshape(-1)[np.flatnonzero(~counted)[: 300 - counted.sum()]] = True
    ordered = np.sort(values[counted])
    expected = ordered[k - 1] if k <= len(ordered) else -1.0
    found = jax.vmap(lambda v, c: kth_smallest(v, c, k, "data"), axis_name="data")(values, counted)
    np.testing.assert_array_equal(found, np.full(4, expected, np.float32))
    assert kth_smallest(values, counted, k) == np.float32(expected)
