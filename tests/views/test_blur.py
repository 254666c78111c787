import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.views import gaussian_blur, random_gaussian_blur


def naive(image, sigma, radius):
    """Two-dimensional sum over a window, in float64, the border repeated."""
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    height, width, _ = image.shape
    padded = np.pad(image.astype(np.float64), ((radius, radius), (radius, radius), (0, 0)), "edge")
    return sum(
        kernel[i, j] * padded[i : i + height, j : j + width]
        for i in range(2 * radius + 1)
        for j in range(2 * radius + 1)
    )


@pytest.mark.parametrize("shape", [(9, 14, 3), (4, 3, 1)])
def test_blur_is_the_naive_sum(shape):
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    blur = jax.jit(lambda sigma: gaussian_blur(jnp.asarray(image), sigma, max_sigma=2.0))
    for sigma in (0.1, 0.5, 1.3, 2.0):
        found = blur(sigma)
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, naive(image, sigma, 6), atol=1e-6)


def test_the_kernel_reaches_three_sigma():
    image = np.zeros((9, 9, 1), np.float32)
    image[4, 4] = 1
    found = np.asarray(gaussian_blur(jnp.asarray(image), 1.0, max_sigma=1.0))[..., 0]
    assert found[4, 1] > 0 and found[4, 0] == 0
    assert found.sum() == pytest.approx(1, abs=1e-6)


def test_blur_happens_as_often_as_asked_with_every_sigma(key):
    step = np.zeros((4, 16, 1), np.float32)
    step[:, 8:] = 1
    keys = jax.random.split(key, 2000)
    found = jax.jit(
        jax.vmap(
            lambda k: random_gaussian_blur(k, jnp.asarray(step), probability=0.5, sigma=(0.5, 2.0))
        )
    )(keys)
    found = np.asarray(found)[:, 2, :, 0]
    blurred = found[:, 7] > 0
    assert abs(blurred.mean() - 0.5) < 0.05
    np.testing.assert_array_equal(found[~blurred], np.tile(step[2, :, 0], (np.sum(~blurred), 1)))
    # The value next to the step falls with sigma, so its median belongs to the median sigma.
    median = np.median(found[blurred, 8])
    assert median == pytest.approx(naive(step, 1.25, 6)[2, 8, 0], abs=0.01)
