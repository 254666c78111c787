"""Images of bands that are not colors: normalized per band, and changed in brightness only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.views import Views
from ipixmatch_jax.views.color import random_band_jitter

MEAN, STD = (0.1, 0.2, 0.3, 0.4, 0.5), (0.5, 0.4, 0.3, 0.2, 0.1)
VIEWS = Views(mean=MEAN, std=STD)


def draw(bands=5, count=3):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 9, 11, bands), dtype=np.uint8)
    return images, rng.integers(0, 2**32, (count, 2), dtype=np.uint32)


def test_weak_view_is_normalized_by_band():
    images, _ = draw()
    expected = (images / 255.0 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(VIEWS.weak(images), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"uint8 \[B,H,W,5\]"):
        VIEWS.weak(images[..., :3])


@pytest.mark.parametrize("bands", [1, 5])
def test_strong_view_of_any_number_of_bands(bands):
    images, keys = draw(bands)
    views = Views(mean=MEAN[:bands], std=STD[:bands], jitter_probability=1.0)
    strong = views.strong(images, keys)
    assert strong.shape == images.shape and strong.dtype == jnp.float32
    assert (np.abs(strong - views.weak(images)).mean((1, 2, 3)) > 1e-3).all()


def test_jitter_is_brightness_and_contrast_in_either_order():
    image = draw()[0][0].astype(np.float32) / 255

    def mean(x):
        return x.mean((0, 1), keepdims=True)

    orders = set()
    for seed in range(8):
        key = jax.random.key(seed)
        drawn = np.asarray(jax.random.uniform(key, (4,)), np.float64)
        bright, spread = 0.5 + drawn[:2]
        one = np.clip(bright * image, 0, 1)
        one = np.clip(spread * one + (1 - spread) * mean(one), 0, 1)
        other = np.clip(spread * image + (1 - spread) * mean(image), 0, 1)
        other = np.clip(bright * other, 0, 1)
        expected = one if drawn[2] < 0.5 else other
        orders.add(bool(drawn[2] < 0.5))
        np.testing.assert_allclose(random_band_jitter(key, image), expected, atol=1e-6)
        np.testing.assert_array_equal(random_band_jitter(key, image, probability=0.0), image)
    assert orders == {True, False}
