"""AugSeg's intensity operations on one image [H,W,3], float32 in [0, 1].

One to three operations are drawn, with replacement, from `OPERATIONS` (Zhao et al., arXiv
2212.04976, table 1; strengths as in its code). Their definitions are Pillow's, on values 0..255.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ipixmatch_jax.views.blur import gaussian_blur
from ipixmatch_jax.views.color import grayscale, turn_hue

MOST = 3


def random_intensity(key: jax.Array, image: jax.Array) -> jax.Array:
    """The image after one to `MOST` operations, each with a strength of its own."""
    drawn = jax.random.uniform(key, (1 + 2 * MOST,))
    count = 1 + jnp.floor(drawn[0] * MOST).astype(jnp.int32)
    chosen = jnp.floor(drawn[1 : 1 + MOST] * len(OPERATIONS)).astype(jnp.int32)
    chosen = jnp.where(jnp.arange(MOST) < count, chosen, 0)

    def apply(slot: jax.Array, image: jax.Array) -> jax.Array:
        strength = drawn[1 + MOST + slot]
        return jax.lax.switch(chosen[slot], OPERATIONS, image, strength)

    return jax.lax.fori_loop(0, MOST, apply, image)


def identity(image: jax.Array, strength: jax.Array) -> jax.Array:
    return image


def autocontrast(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Each channel stretched to the whole range."""
    low, high = (f(image, axis=(0, 1), keepdims=True) for f in (jnp.min, jnp.max))
    span = high - low
    stretched = (image - low) / jnp.where(span > 0, span, 1.0)
    return jnp.where(span > 0, stretched, image)


def equalize(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Each channel with an even histogram."""

    def channel(plane: jax.Array) -> jax.Array:
        values = _levels(plane)
        counts = jnp.bincount(values.reshape(-1), length=256)
        last = counts[jnp.max(values)]
        step = (values.size - last) // 255
        before = jnp.cumsum(counts) - counts
        table = jnp.clip((before + step // 2) // jnp.maximum(step, 1), 0, 255)
        return jnp.where(step > 0, table[values], values).astype(jnp.float32) / 255.0

    return jnp.stack([channel(image[..., i]) for i in range(3)], axis=-1)


def blur(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Gaussian blur, sigma 0.1 to 2 pixels."""
    return gaussian_blur(image, 0.1 + 1.9 * strength, max_sigma=2.0)


def contrast(image: jax.Array, strength: jax.Array) -> jax.Array:
    mean = jnp.mean(grayscale(image))
    return _blend(image, jnp.full_like(image, mean), strength)


def brightness(image: jax.Array, strength: jax.Array) -> jax.Array:
    return _blend(image, jnp.zeros_like(image), strength)


def color(image: jax.Array, strength: jax.Array) -> jax.Array:
    return _blend(image, grayscale(image), strength)


def sharpness(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Blended with its 3 × 3 mean, the center counting 5 times; the border stays."""
    height, width = image.shape[:2]
    shifted = [
        image[1 + y : height - 1 + y, 1 + x : width - 1 + x] for y in (-1, 0, 1) for x in (-1, 0, 1)
    ]
    smooth = (sum(shifted) + 4.0 * image[1:-1, 1:-1]) / 13.0
    return _blend(image, image.at[1:-1, 1:-1].set(smooth), strength)


def posterize(image: jax.Array, strength: jax.Array) -> jax.Array:
    """The first 4 to 7 bits of every value."""
    bits = 4 + jnp.floor(strength * 4.0).astype(jnp.int32)
    unit = jnp.left_shift(1, 8 - jnp.minimum(bits, 7))
    return (_levels(image) // unit * unit).astype(jnp.float32) / 255.0


def solarize(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Values from a threshold of 1 to 255 on, inverted."""
    threshold = 1.0 + jnp.floor(strength * 255.0)
    return jnp.where(_levels(image).astype(jnp.float32) >= threshold, 1.0 - image, image)


def hue(image: jax.Array, strength: jax.Array) -> jax.Array:
    """The hue circle turned by up to a half, either way."""
    return jnp.moveaxis(turn_hue(jnp.moveaxis(image, -1, 0), strength - 0.5), 0, -1)


# `identity` comes first: it stands in for operations that were not drawn.
OPERATIONS: tuple[Callable[[jax.Array, jax.Array], jax.Array], ...] = (
    identity,
    autocontrast,
    equalize,
    blur,
    contrast,
    brightness,
    color,
    sharpness,
    posterize,
    solarize,
    hue,
)


def _blend(image: jax.Array, other: jax.Array, strength: jax.Array) -> jax.Array:
    """With a factor of 0.05 to 0.95 for the image, as Pillow's ImageEnhance."""
    factor = 0.05 + 0.9 * strength
    return jnp.clip(factor * image + (1.0 - factor) * other, 0.0, 1.0)


def _levels(image: jax.Array) -> jax.Array:
    return jnp.round(255.0 * image).astype(jnp.int32)
