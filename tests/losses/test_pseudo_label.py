import doctest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.losses import (
    confidence_mask,
    pseudo_label,
    pseudo_label_loss,
    pseudo_label_statistics,
)
from tests.references import loss_reference as reference

THRESHOLD = 0.6


@jax.jit
def evaluate(student, teacher, valid, confidence=THRESHOLD):
    def loss(student, teacher):
        total, count, keep = pseudo_label_loss(student, teacher, valid, confidence=confidence)
        return total, (count, keep)

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(student, teacher)


def draw(seed, classes=4):
    rng = np.random.default_rng(seed)
    student, teacher = (2 * rng.normal(size=(2, 2, 4, 6, classes))).astype(np.float32)
    return student, teacher, rng.random((2, 4, 6)) < 0.7


def test_value_and_gradient_are_those_of_float64():
    student, teacher, valid = draw(0)
    (total, (count, keep)), (grad, _) = evaluate(student, teacher, valid)
    probs = reference.softmax(teacher.astype(np.float64))
    confident = valid & (probs.max(-1) >= THRESHOLD)
    assert 0 < confident.sum() < valid.sum()
    label = probs.argmax(-1)
    log_probs = reference.log_softmax(student.astype(np.float64))
    values = -np.take_along_axis(log_probs, label[..., None], -1)[..., 0]
    assert float(total) == pytest.approx(values[confident].sum(), rel=1e-5)
    # Valid pixels, not confident ones, are the denominator.
    assert int(count) == valid.sum()
    assert keep.dtype == jnp.float32
    np.testing.assert_array_equal(keep, confident)
    np.testing.assert_array_equal(confidence_mask(teacher, valid, THRESHOLD), confident)
    expected = confident[..., None] * (np.exp(log_probs) - np.eye(4)[label])
    np.testing.assert_allclose(grad, expected, rtol=1e-4, atol=1e-6)


def test_teacher_learns_nothing():
    _, (grad, teacher_grad) = evaluate(*draw(1))
    assert np.any(grad)
    assert not np.any(teacher_grad)


def test_threshold_zero_keeps_every_valid_pixel_and_above_one_none():
    student, teacher, valid = draw(2)
    _, _, keep = pseudo_label_loss(student, teacher, valid, confidence=0.0)
    np.testing.assert_array_equal(keep, valid)
    (total, (count, keep)), (grad, _) = evaluate(student, teacher, valid, 1.1)
    assert total == 0
    assert int(count) == valid.sum()
    assert not np.any(keep)
    assert not np.any(grad)


@pytest.mark.parametrize("rubbish", [3e38, np.inf, np.nan])
def test_invalid_pixels_change_nothing(rubbish):
    student, teacher, valid = draw(3)
    spoiled = [np.where(valid[..., None], a, np.float32(rubbish)) for a in (student, teacher)]
    (total, (count, keep)), (grad, _) = evaluate(student, teacher, valid)
    (spoiled_total, (spoiled_count, spoiled_keep)), (spoiled_grad, _) = evaluate(*spoiled, valid)
    assert (spoiled_total, spoiled_count) == (total, count)
    np.testing.assert_array_equal(spoiled_keep, keep)
    np.testing.assert_array_equal(spoiled_grad, grad)
    statistics = jax.jit(pseudo_label_statistics)
    for clean, dirty in zip(
        jax.tree.leaves(statistics(student, teacher, valid, keep)),
        jax.tree.leaves(statistics(*spoiled, valid, keep)),
        strict=True,
    ):
        np.testing.assert_array_equal(dirty, clean)


def test_no_valid_pixel():
    student, teacher, valid = draw(4)
    (total, (count, keep)), (grad, _) = evaluate(student, teacher, np.zeros_like(valid))
    assert (total, count, keep.sum()) == (0, 0, 0)
    assert not np.any(grad)


def test_statistics_count_what_they_say():
    student, teacher, valid = draw(5)
    keep = confidence_mask(teacher, valid, THRESHOLD)
    found = jax.jit(pseudo_label_statistics)(student, teacher, valid, keep)
    probs = reference.softmax(teacher.astype(np.float64))
    confident = agree = confidence = 0.0
    accepted, given = np.zeros(4), np.zeros(4)
    for pixel in np.argwhere(valid):
        p = probs[tuple(pixel)]
        chosen = p.argmax()
        confident += p.max() >= THRESHOLD
        agree += student[tuple(pixel)].argmax() == chosen
        confidence += p.max()
        accepted[chosen] += p.max() >= THRESHOLD
        given[chosen] += 1
    expected = {
        "confident_share": (confident, valid.sum()),
        "agreement": (agree, valid.sum()),
        "mean_confidence": (confidence, valid.sum()),
        "class_acceptance": (accepted, given),
    }
    assert found.keys() == expected.keys()
    for name, pair in expected.items():
        for value, wanted in zip(found[name], pair, strict=True):
            assert value.dtype == jnp.float32
            np.testing.assert_allclose(value, wanted, rtol=1e-6)


def test_bfloat16_logits_are_computed_in_float32():
    student, teacher, valid = (jnp.asarray(a) for a in draw(6))
    student, teacher = student.astype(jnp.bfloat16), teacher.astype(jnp.bfloat16)
    (total, (_, keep)), _ = evaluate(student, teacher, valid)
    (exact, (_, exact_keep)), _ = evaluate(
        student.astype(jnp.float32), teacher.astype(jnp.float32), valid
    )
    assert total.dtype == jnp.float32
    assert float(total) == pytest.approx(float(exact), rel=1e-6)
    np.testing.assert_array_equal(keep, exact_keep)


def test_shapes_that_do_not_fit():
    student, teacher, valid = draw(7)
    with pytest.raises(ValueError, match="differ"):
        pseudo_label_loss(student[..., :3], teacher, valid, confidence=0.5)
    with pytest.raises(ValueError, match="valid"):
        pseudo_label_loss(student, teacher, valid[:1], confidence=0.5)


def test_example_in_the_docstring():
    assert doctest.testmod(pseudo_label) == (0, 4)
