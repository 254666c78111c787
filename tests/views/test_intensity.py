"""AugSeg's operations against Pillow's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from ipixmatch_jax.views import Views, intensity

rng = np.random.default_rng(0)
IMAGE = np.clip(rng.normal(120, 50, (24, 20, 3)).cumsum(1) % 230 + 10, 0, 255).astype(np.uint8)
FACTOR = 0.05 + 0.9 * 0.3
PILLOW = {
    "autocontrast": ImageOps.autocontrast,
    "equalize": ImageOps.equalize,
    "contrast": lambda i: ImageEnhance.Contrast(i).enhance(FACTOR),
    "brightness": lambda i: ImageEnhance.Brightness(i).enhance(FACTOR),
    "color": lambda i: ImageEnhance.Color(i).enhance(FACTOR),
    "sharpness": lambda i: ImageEnhance.Sharpness(i).enhance(FACTOR),
    "posterize": lambda i: ImageOps.posterize(i, 4 + int(0.3 * 4)),
    "solarize": lambda i: ImageOps.solarize(i, 1 + int(0.3 * 255)),
}


@pytest.mark.parametrize("name", PILLOW)
def test_operations_are_those_of_pillow(name):
    there = np.asarray(PILLOW[name](Image.fromarray(IMAGE)), np.float64)
    image = jnp.asarray(IMAGE / np.float32(255), jnp.float32)
    here = 255 * np.asarray(getattr(intensity, name)(image, jnp.float32(0.3)))
    # Pillow rounds every intermediate result to whole levels, its gray and its mean among them.
    tolerance = {"contrast": 1.6, "color": 1.6, "sharpness": 1.6}.get(name, 1.1)
    assert np.abs(here - there).max() < tolerance


@pytest.mark.parametrize("strength, bits", [(0.0, 4), (0.3, 5), (0.6, 6), (0.999, 7)])
def test_posterize_keeps_four_to_seven_bits(strength, bits):
    image = jnp.asarray(IMAGE / np.float32(255), jnp.float32)
    here = np.rint(255 * np.asarray(intensity.posterize(image, jnp.float32(strength))))
    np.testing.assert_array_equal(here, IMAGE >> (8 - bits) << (8 - bits))


@pytest.mark.parametrize(
    "strength, color", [(1 / 6, (0, 0, 1)), (0.5, (1, 0, 0)), (5 / 6, (0, 1, 0))]
)
def test_hue_turns_both_ways(strength, color):
    red = jnp.zeros((2, 2, 3), jnp.float32).at[..., 0].set(1.0)
    found = intensity.hue(red, jnp.float32(strength))
    np.testing.assert_allclose(found, np.broadcast_to(color, found.shape), atol=1e-5)


def test_equalize_of_one_value_changes_nothing():
    image = jnp.full((4, 4, 3), 0.2, jnp.float32)
    np.testing.assert_allclose(intensity.equalize(image, 0.5), image, atol=1 / 500)


def test_records_change_by_their_own_keys_and_stay_in_range():
    views = Views(mean=(0.0,) * 3, std=(1.0,) * 3)
    images = jnp.asarray(np.stack([IMAGE] * 6))
    keys = jnp.asarray(rng.integers(0, 2**32, (6, 2), dtype=np.uint32))
    both = jax.jit(views.intensity)(images, keys)
    alone = jax.jit(views.intensity)(images[3:4], keys[3:4])
    np.testing.assert_allclose(alone[0], both[3], atol=1e-6)
    assert len({np.asarray(x).tobytes() for x in both}) > 3
    assert both.min() >= 0 and both.max() <= 1


def test_beta_boxes_have_the_area_of_the_law():
    views = Views(mean=(0.0,) * 3, std=(1.0,) * 3)
    keys = jnp.asarray(rng.integers(0, 2**32, (4000, 2), dtype=np.uint32))
    boxes = np.asarray(jax.jit(lambda k: views.beta_box(k, 40, 30, (8.0, 2.0)))(keys))
    assert boxes.mean() == pytest.approx(0.2, abs=0.01)  # 1 − E[Beta(8, 2)]
    # Wherever it fits: as often at the top as at the bottom.
    assert boxes[:, 0].mean() == pytest.approx(boxes[:, -1].mean(), abs=0.02)
