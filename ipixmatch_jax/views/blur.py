"""Gaussian blur of one image [H,W,C]; vmap it over a batch."""

import math

import jax
import jax.numpy as jnp


def gaussian_blur(image: jax.Array, sigma: float | jax.Array, *, max_sigma: float) -> jax.Array:
    """The image blurred with a Gaussian, its border pixels repeated outwards.

    The kernel is cut at 3·max_sigma and normalized, and runs as a sum of shifted images, one axis
    after the other. Every image has its own sigma, and so would be a group of its own in a
    convolution, which is slow on CPU.

    Args:
        image: [H,W,C] float.
        sigma: standard deviation in pixels, above 0 and at most `max_sigma`; may be traced.
        max_sigma: the largest possible sigma, a Python number; it fixes the kernel's size.

    Returns:
        [H,W,C] of the image's dtype.
    """
    radius = math.ceil(3 * max_sigma)
    offsets = jnp.arange(radius + 1, dtype=image.dtype)
    taps = jnp.exp(-0.5 * (offsets / jnp.asarray(sigma, image.dtype)) ** 2)
    taps = taps / (2.0 * jnp.sum(taps) - taps[0])
    return _blur_axis(_blur_axis(image, taps, 0), taps, 1)


def random_gaussian_blur(
    key: jax.Array, image: jax.Array, *, probability: float, sigma: tuple[float, float]
) -> jax.Array:
    """`gaussian_blur` of an image [H,W,C] with a probability and a sigma uniform in a range."""
    low, high = sigma
    choice, share = jax.random.uniform(key, (2,))
    blurred = gaussian_blur(image, low + (high - low) * share, max_sigma=high)
    return jnp.where(choice < probability, blurred, image)


def _blur_axis(image: jax.Array, taps: jax.Array, axis: int) -> jax.Array:
    """Sum of the image shifted both ways by 0, 1, … pixels, each times its tap."""
    size = image.shape[axis]
    first = jax.lax.slice_in_dim(image, 0, 1, axis=axis)
    last = jax.lax.slice_in_dim(image, size - 1, size, axis=axis)

    # A loop, because XLA would fuse what made the image into a plain sum, once for every shift.
    def add_tap(carry, tap):
        before, after, total = carry
        before = jnp.concatenate(
            [first, jax.lax.slice_in_dim(before, 0, size - 1, axis=axis)], axis
        )
        after = jnp.concatenate([jax.lax.slice_in_dim(after, 1, size, axis=axis), last], axis)
        return (before, after, total + tap * (before + after)), None

    (_, _, total), _ = jax.lax.scan(add_tap, (image, image, taps[0] * image), taps[1:])
    return total
