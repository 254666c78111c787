import doctest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.losses import cross_entropy, supervised
from tests.references import loss_reference as reference

evaluate = jax.jit(jax.value_and_grad(cross_entropy, has_aux=True))


def draw(seed, classes=5, scale=3.0):
    rng = np.random.default_rng(seed)
    logits = (scale * rng.normal(size=(2, 4, 6, classes))).astype(np.float32)
    mask = rng.integers(0, classes, (2, 4, 6)).astype(np.int32)
    return logits, np.where(rng.random((2, 4, 6)) < 0.3, 255, mask)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_value_and_gradient_are_those_of_float64(scale):
    logits, mask = draw(0, scale=scale)
    (total, count), grad = evaluate(logits, mask)
    counted = mask != 255
    exact = logits[counted].astype(np.float64)
    log_probs = reference.log_softmax(exact)
    labels = mask[counted]
    assert (total.dtype, count.dtype) == (jnp.float32, jnp.float32)
    assert int(count) == counted.sum()
    assert float(total) == pytest.approx(-log_probs[np.arange(labels.size), labels].sum(), rel=1e-5)
    expected = reference.softmax(exact) - np.eye(5)[labels]
    np.testing.assert_allclose(grad[counted], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rubbish", [3e38, np.inf, np.nan])
def test_ignored_pixels_change_nothing(rubbish):
    logits, mask = draw(1)
    spoiled = np.where(mask[..., None] == 255, np.float32(rubbish), logits)
    (total, _), grad = evaluate(logits, mask)
    (spoiled_total, _), spoiled_grad = evaluate(spoiled, mask)
    assert spoiled_total == total
    np.testing.assert_array_equal(spoiled_grad, grad)
    assert not np.any(grad[mask == 255])


def test_a_batch_of_ignored_pixels_is_zero_over_zero():
    logits, mask = draw(2)
    (total, count), grad = evaluate(logits, np.full_like(mask, 255))
    assert (total, count) == (0, 0)
    assert not np.any(grad)


@pytest.mark.parametrize("wrong", [5, 254, -1])
def test_an_unknown_class_never_trains_silently(wrong):
    logits, mask = draw(3)
    mask[1, 2, 3] = wrong
    assert np.isnan(evaluate(logits, mask)[0][0])


def test_other_ignore_id_and_small_integers():
    logits, mask = draw(4)
    total, count = cross_entropy(logits, mask)
    other = np.where(mask == 255, 7, mask).astype(np.uint8)
    other_total, other_count = cross_entropy(logits, other, ignore=7)
    assert (other_total, other_count) == (total, count)


def test_bfloat16_logits_are_computed_in_float32():
    logits, mask = draw(5)
    rounded = jnp.asarray(logits, jnp.bfloat16)
    (total, _), grad = evaluate(rounded, mask)
    assert (total.dtype, grad.dtype) == (jnp.float32, jnp.bfloat16)
    (exact, _), _ = evaluate(np.asarray(rounded, np.float32), mask)
    assert float(total) == pytest.approx(float(exact), rel=1e-6)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="mask"):
        cross_entropy(jnp.zeros((1, 4, 4, 3)), jnp.zeros((1, 4, 5), jnp.int32))
    with pytest.raises(ValueError, match="C >= 2"):
        cross_entropy(jnp.zeros((1, 4, 4, 1)), jnp.zeros((1, 4, 4), jnp.int32))


def test_example_in_the_docstring():
    assert doctest.testmod(supervised) == (0, 2)
