import colorsys
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.views import (
    color,
    color_jitter,
    grayscale,
    random_color_jitter,
    random_grayscale,
)

ORDERS = list(itertools.permutations(range(4)))


def image_of(seed, height=5, width=6):
    """Random colors, with grays, black, white and pure colors among them."""
    image = np.random.default_rng(seed).random((height, width, 3))
    image[0, :5] = [[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [1, 0, 0], [0, 0.25, 0.25]]
    return image.astype(np.float32)


def luma(image):
    return image @ np.array([0.2989, 0.587, 0.114])


def blended(image, other, factor):
    return np.clip(factor * image + (1 - factor) * other, 0, 1)


def hue_turned(image, turn):
    out = np.empty_like(image)
    for row, column in np.ndindex(image.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[row, column])
        out[row, column] = colorsys.hsv_to_rgb((hue + turn) % 1.0, saturation, value)
    return out


def jittered(image, factors, order):
    """The four changes one after the other, in float64."""
    image = image.astype(np.float64)
    changes = [
        lambda x: blended(x, 0.0, factors[0]),
        lambda x: blended(x, luma(x).mean(), factors[1]),
        lambda x: blended(x, luma(x)[..., None], factors[2]),
        lambda x: hue_turned(x, factors[3]),
    ]
    for change in order:
        image = changes[change](image)
    return image


@jax.jit
def jitter(image, factors, order):
    brightness, contrast, saturation, hue = factors
    return color_jitter(
        image,
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
        hue=hue,
        order=order,
    )


@pytest.mark.parametrize("change", range(4))
def test_each_change_alone(change):
    image = image_of(0)
    for factor in (0.0, 0.3, 1.5) if change < 3 else (-0.5, -0.2, 0.25, 0.5):
        factors = [1.0, 1.0, 1.0, 0.0]
        factors[change] = factor
        found = jitter(image, jnp.array(factors), jnp.arange(4))
        assert found.dtype == jnp.float32
        expected = jittered(image, factors, [change])
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_every_order_of_changes_over_a_batch():
    rng = np.random.default_rng(1)
    images = np.stack([image_of(seed) for seed in range(24)])
    factors = np.stack([*rng.uniform(0.5, 1.5, (3, 24)), rng.uniform(-0.25, 0.25, 24)], -1)
    found = jax.jit(jax.vmap(jitter))(images, factors.astype(np.float32), jnp.array(ORDERS))
    for index, order in enumerate(ORDERS):
        expected = jittered(images[index], factors[index], order)
        np.testing.assert_allclose(found[index], expected, atol=1e-5, err_msg=str(order))


def test_a_value_that_is_rounded_in_two_ways_keeps_its_hue():
    # As tests compile with jaxlib 0.10, without fusion emitters, XLA computes a channel once in a
    # fused multiply-add and once not.
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (8, 16, 16, 3)).astype(np.float32) / np.float32(255)
    factors = np.stack([*rng.uniform(0.5, 1.5, (3, 8)), rng.uniform(-0.25, 0.25, 8)], -1)
    found = jax.jit(jax.vmap(jitter))(images, factors.astype(np.float32), jnp.array(ORDERS[:8]))
    for index, order in enumerate(ORDERS[:8]):
        expected = jittered(images[index], factors[index], order)
        np.testing.assert_allclose(found[index], expected, atol=1e-5, err_msg=str(order))


def test_the_orders_differ():
    # Otherwise the test above would pass with any order.
    image, factors = image_of(2), (1.5, 0.6, 1.4, 0.2)
    results = {jittered(image, factors, order).tobytes() for order in ORDERS}
    assert len(results) > 20


def test_factors_that_change_nothing():
    image = image_of(3)
    found = jitter(image, jnp.array([1.0, 1.0, 1.0, 0.0]), jnp.arange(4))
    np.testing.assert_allclose(found, image, atol=1e-6)


def uniform_distance(values, low, high):
    """Kolmogorov-Smirnov distance of a sample from the uniform distribution, times sqrt(n)."""
    sorted_values = np.sort((np.asarray(values) - low) / (high - low))
    n = len(sorted_values)
    steps = np.arange(n + 1) / n
    return np.sqrt(n) * max((steps[1:] - sorted_values).max(), (sorted_values - steps[:-1]).max())


def test_the_distribution_of_factors_and_orders(key, monkeypatch):
    noted = {}

    def note(image, **factors):
        noted.update(factors)
        return image + 1.0

    def draw(key):
        strengths = {"brightness": 0.5, "contrast": 1.5, "saturation": 0.2, "hue": 0.25}
        image = random_color_jitter(key, jnp.zeros((1, 1, 3)), probability=0.8, **strengths)
        return {**noted, "changed": image[0, 0, 0]}

    monkeypatch.setattr(color, "color_jitter", note)
    n = 4800
    drawn = jax.jit(jax.vmap(draw))(jax.random.split(key, n))
    ranges = {
        "brightness": (0.5, 1.5),
        "contrast": (0, 2.5),
        "saturation": (0.8, 1.2),
        "hue": (-0.25, 0.25),
    }
    for name, (low, high) in ranges.items():
        assert low <= drawn[name].min() and drawn[name].max() <= high
        assert uniform_distance(drawn[name], low, high) < 1.95, name
    assert abs(drawn["changed"].mean() - 0.8) < 0.03
    orders = [tuple(order) for order in np.asarray(drawn["order"]).tolist()]
    counts = np.array([orders.count(order) for order in ORDERS])
    # Chi-square with 23 degrees of freedom exceeds 49.7 once in a thousand.
    assert np.sum((counts - n / 24) ** 2) / (n / 24) < 49.7


def test_grayscale():
    image = image_of(4)
    expected = np.repeat(luma(image)[..., None], 3, axis=-1)
    np.testing.assert_allclose(grayscale(jnp.asarray(image)), expected, atol=1e-6)


def test_grayscale_happens_as_often_as_asked(key):
    image = jnp.asarray(image_of(5, 2, 6))
    keys = jax.random.split(key, 2000)
    gray = jax.jit(jax.vmap(lambda k: random_grayscale(k, image, probability=0.2)))(keys)
    same = np.all(np.isclose(gray, image[None]), axis=(1, 2, 3))
    turned = np.all(np.isclose(gray, grayscale(image)[None]), axis=(1, 2, 3))
    assert np.all(same ^ turned)
    assert abs(turned.mean() - 0.2) < 0.03
