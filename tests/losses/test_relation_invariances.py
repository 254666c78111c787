"""Changes that a relation loss must not see: order, scale, batch, device, compute type."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.losses import (
    inter_pixel_loss,
    relation_loss,
)
from tests.references import loss_reference as reference
from tests.references.relations import AFFINITIES, NAMES, draw, evaluate


@pytest.mark.parametrize("name", NAMES)
def test_order_of_pixels_does_not_matter(name):
    student, teacher, keep = draw(9, (1, 6, 6, 30))
    order = np.random.default_rng(9).permutation(36)

    def shuffled(a):
        return a.reshape(1, 36, *a.shape[3:])[:, order].reshape(a.shape)

    value, grad = evaluate(name, student, teacher, keep)
    moved_value, moved_grad = evaluate(name, *map(shuffled, (student, teacher, keep)))
    assert moved_value == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(moved_grad, shuffled(grad), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "axis"),
    [("class_map/kl", (1, 2)), ("class_map/corr", (3,)), *((name, (3,)) for name in AFFINITIES)],
)
def test_shifts_of_the_logits_that_change_nothing(name, axis):
    student, teacher, keep = draw(10, (2, 4, 5, 2))
    rng = np.random.default_rng(10)
    shape = [1 if a in axis else n for a, n in enumerate(student.shape)]
    offset = (8 * rng.integers(-8, 9, shape)).astype(np.float32)
    value, _ = evaluate(name, student, teacher, keep)
    assert evaluate(name, student + offset, teacher, keep)[0] == pytest.approx(value, rel=1e-4)
    assert evaluate(name, student, teacher + offset, keep)[0] == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_scale_of_the_weights_does_not_matter(name):
    student, teacher, keep = draw(11, (2, 4, 5, 2))
    value, _ = evaluate(name, student, teacher, keep)
    assert evaluate(name, student, teacher, keep / 64)[0] == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_batch_is_the_mean_of_its_images(name):
    student, teacher, keep = draw(12, (3, 3, 4, 7))
    keep[1] = 0
    value, grad = evaluate(name, student, teacher, keep)
    singles = []
    for image in (0, 2):
        alone = np.where(np.arange(3)[:, None, None] == image, keep, 0)
        singles.append(evaluate(name, student, teacher, alone)[0])
    assert value == pytest.approx(np.mean(singles), rel=1e-6)
    assert not np.any(grad[1])


@pytest.mark.parametrize("name", NAMES)
def test_only_the_student_learns(name):
    relation, distance = name.split("/")
    student, teacher, keep = draw(13, (2, 4, 5, 2))
    grads = jax.jit(
        jax.grad(
            lambda *a: inter_pixel_loss(*a, relation=relation, distance=distance),
            argnums=(0, 1, 2),
        )
    )(student, teacher, keep)
    assert np.any(grads[0])
    assert not np.any(grads[1])
    assert not np.any(grads[2])


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_logits_and_boolean_weights(name):
    student, teacher, keep = draw(14, (2, 4, 5, 2))
    rounded = [jnp.asarray(a, jnp.bfloat16) for a in (student, teacher)]
    value, grad = evaluate(name, *rounded, keep > 0)
    kept = (keep > 0).astype(np.float32)
    exact, exact_grad = evaluate(name, student, teacher, kept)
    assert value == pytest.approx(exact, rel=2e-2)
    np.testing.assert_allclose(grad, exact_grad, rtol=0.1, atol=2e-2 * np.abs(exact_grad).max())
    of_rounded = reference.relation_loss(*(np.float32(a) for a in rounded), kept, name)
    assert value == pytest.approx(of_rounded, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_totals_add_up_over_devices(name):
    student, teacher, keep = draw(15, (4, 3, 4, 7))
    keep[2] = 0
    relation, distance = name.split("/")

    def loss(student, teacher, keep):
        parts = relation_loss(student, teacher, keep, relation=relation, distance=distance)
        total, count = jax.lax.psum(parts, "data")
        return total / count

    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    one_each = jax.sharding.PartitionSpec("data")
    spread = jax.jit(
        jax.value_and_grad(
            jax.shard_map(
                loss, mesh=mesh, in_specs=(one_each,) * 3, out_specs=jax.sharding.PartitionSpec()
            )
        )
    )
    whole, whole_grad = evaluate(name, student, teacher, keep)
    value, grad = spread(student, teacher, keep)
    assert float(value) == pytest.approx(whole, rel=1e-6)
    np.testing.assert_allclose(grad, whole_grad, rtol=1e-4, atol=1e-7)
