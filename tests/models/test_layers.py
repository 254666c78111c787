"""Resizing against PyTorch and against the interpolation formula; activations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.models.layers import relu6, resize_bilinear, resize_logits

SIZES = [
    ((5, 7), (9, 13)),
    ((9, 9), (33, 17)),
    ((1, 1), (4, 6)),
    ((1, 5), (3, 10)),
    ((6, 8), (1, 3)),
    ((12, 10), (5, 4)),
    ((4, 4), (4, 4)),
]


def image(size, channels=3, dtype=np.float64):
    return np.random.default_rng(1).normal(size=(2, *size, channels)).astype(dtype)


def interpolated(x, size):
    """Aligned corners by definition: output i of n samples the input at i·(m − 1)/(n − 1)."""
    for axis, n in ((1, size[0]), (2, size[1])):
        m = x.shape[axis]
        at = np.arange(n) * ((m - 1) / (n - 1) if n > 1 else 0.0)
        low = np.minimum(np.floor(at).astype(int), m - 1)
        high = np.minimum(low + 1, m - 1)
        weight = np.expand_dims(at - low, tuple(set(range(4)) - {axis}))
        x = np.take(x, low, axis) * (1 - weight) + np.take(x, high, axis) * weight
    return x


@pytest.mark.parametrize("small, large", SIZES, ids=str)
def test_resize_is_linear_interpolation_with_aligned_corners(small, large):
    x = image(small, dtype=np.float32)
    found = resize_bilinear(jnp.asarray(x), large)
    np.testing.assert_allclose(found, interpolated(x.astype(np.float64), large), atol=2e-6)


@pytest.mark.parametrize("small, large", SIZES, ids=str)
def test_resize_equals_pytorch_in_values_and_gradient(small, large):
    torch = pytest.importorskip("torch")
    x, dy = image(small), image(large)
    there = torch.tensor(x).permute(0, 3, 1, 2).requires_grad_()
    y = torch.nn.functional.interpolate(there, large, mode="bilinear", align_corners=True)
    y.backward(torch.tensor(dy).permute(0, 3, 1, 2))
    with jax.enable_x64(True):
        found, pull = jax.vjp(lambda a: resize_bilinear(a, large), jnp.asarray(x))
        (dx,) = pull(jnp.asarray(dy))
    np.testing.assert_allclose(found, y.detach().permute(0, 2, 3, 1).numpy(), atol=1e-13)
    np.testing.assert_allclose(dx, there.grad.permute(0, 2, 3, 1).numpy(), atol=1e-12)


def test_resize_keeps_bfloat16_and_constant_maps():
    x = jnp.full((1, 7, 5, 2), 3.0, jnp.bfloat16)
    y = resize_bilinear(x, (31, 12))
    assert y.dtype == jnp.bfloat16
    assert bool((y == 3.0).all())
    assert resize_logits(x, (8, 8)).dtype == jnp.float32


def test_relu6_and_its_gradient_at_the_corners():
    x = jnp.asarray([-1.0, 0.0, 2.0, 6.0, 7.0])
    np.testing.assert_array_equal(relu6(x), [0, 0, 2, 6, 6])
    np.testing.assert_array_equal(jax.grad(lambda a: relu6(a).sum())(x), [0, 0, 1, 0, 0])
