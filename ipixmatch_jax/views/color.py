"""Photometric changes of one image [H,W,3], float32 in [0, 1]; vmap them over a batch.

Every change is a deterministic function of its factors, with a `random_` twin that takes a key
first and draws them. The definitions are torchvision's, for float tensors.
"""

import jax
import jax.numpy as jnp

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def color_jitter(
    image: jax.Array,
    *,
    brightness: float | jax.Array,
    contrast: float | jax.Array,
    saturation: float | jax.Array,
    hue: float | jax.Array,
    order: jax.Array,
) -> jax.Array:
    """Brightness, contrast, saturation and hue of an image changed, in the order given.

    The first three blend the image with black, its mean gray and its own gray version, clipped to
    [0, 1] after each; a factor of 1 changes nothing. Hue turns the hue circle.

    Args:
        image: [H,W,3] float32 in [0, 1].
        brightness: factor, at least 0.
        contrast: factor, at least 0.
        saturation: factor, at least 0.
        hue: turn of the hue circle, in [-0.5, 0.5].
        order: [4] int, a permutation of 0 brightness, 1 contrast, 2 saturation, 3 hue.

    Returns:
        [H,W,3] float32 in [0, 1].
    """
    planes = jnp.moveaxis(image, -1, 0)
    factors = jnp.stack([jnp.asarray(f, jnp.float32) for f in (brightness, contrast, saturation)])
    turn = jnp.argmax(order == HUE)
    # Under vmap every branch of a switch runs. With the hue, the expensive change, fixed in the
    # middle and blends on the wrong side made idle, it is computed once instead of four times.
    for slot in (0, 1, 2):
        planes = _blend(planes, factors, order[slot], slot < turn)
    planes = turn_hue(planes, hue)
    for slot in (1, 2, 3):
        planes = _blend(planes, factors, order[slot], slot > turn)
    return jnp.moveaxis(planes, 0, -1)


def random_color_jitter(
    key: jax.Array,
    image: jax.Array,
    *,
    probability: float = 1.0,
    brightness: float = 0.5,
    contrast: float = 0.5,
    saturation: float = 0.5,
    hue: float = 0.25,
) -> jax.Array:
    """`color_jitter` with a probability: factors and hue uniform, in any order.

    The factors come from [max(0, 1 - s), 1 + s] and the hue from [-s, s] for a strength s each.

    Args:
        key: PRNG key.
        image: [H,W,3] float32 in [0, 1].
        probability: that the image changes at all.
        brightness: strength s, at least 0.
        contrast: strength s, at least 0.
        saturation: strength s, at least 0.
        hue: strength s, in [0, 0.5].

    Returns:
        [H,W,3] float32 in [0, 1].
    """
    low = [max(0.0, 1 - s) for s in (brightness, contrast, saturation)] + [-hue]
    high = [1 + s for s in (brightness, contrast, saturation)] + [hue]
    low, high = jnp.array(low, jnp.float32), jnp.array(high, jnp.float32)
    drawn = jax.random.uniform(key, (9,))
    factors = low + (high - low) * drawn[:4]
    jittered = color_jitter(
        image,
        brightness=factors[BRIGHTNESS],
        contrast=factors[CONTRAST],
        saturation=factors[SATURATION],
        hue=factors[HUE],
        order=jnp.argsort(drawn[4:8]),
    )
    return jnp.where(drawn[8] < probability, jittered, image)


def random_band_jitter(
    key: jax.Array,
    image: jax.Array,
    *,
    probability: float = 1.0,
    brightness: float = 0.5,
    contrast: float = 0.5,
) -> jax.Array:
    """`random_color_jitter` of bands that are no colors: brightness and contrast, in any order.

    Brightness is one factor for all bands; contrast blends each band with its own mean.

    Args:
        key: PRNG key.
        image: [H,W,D] float32 in [0, 1].
        probability: that the image changes at all.
        brightness: strength s, at least 0: the factor is uniform in [max(0, 1 - s), 1 + s].
        contrast: likewise.

    Returns:
        [H,W,D] float32 in [0, 1].
    """
    drawn = jax.random.uniform(key, (4,))
    low = jnp.array([max(0.0, 1 - s) for s in (brightness, contrast)], jnp.float32)
    high = jnp.array([1 + s for s in (brightness, contrast)], jnp.float32)
    bright, contrasted = low + (high - low) * drawn[:2]

    def brighten(bands: jax.Array) -> jax.Array:
        return jnp.clip(bright * bands, 0.0, 1.0)

    def stretch(bands: jax.Array) -> jax.Array:
        mean = jnp.mean(bands, axis=(0, 1), keepdims=True)
        return jnp.clip(contrasted * bands + (1.0 - contrasted) * mean, 0.0, 1.0)

    one, other = stretch(brighten(image)), brighten(stretch(image))
    jittered = jnp.where(drawn[2] < 0.5, one, other)
    return jnp.where(drawn[3] < probability, jittered, image)


def grayscale(image: jax.Array) -> jax.Array:
    """The image [H,W,3] with its luma (.2989 R + .587 G + .114 B) in all three channels."""
    return jnp.broadcast_to(_gray(jnp.moveaxis(image, -1, 0))[..., None], image.shape)


def random_grayscale(key: jax.Array, image: jax.Array, *, probability: float) -> jax.Array:
    """`grayscale` of an image [H,W,3] with the given probability, else the image itself."""
    return jnp.where(jax.random.uniform(key) < probability, grayscale(image), image)


def _gray(planes: jax.Array) -> jax.Array:
    return 0.2989 * planes[0] + 0.587 * planes[1] + 0.114 * planes[2]


def _blend(planes: jax.Array, factors: jax.Array, change: jax.Array, active: jax.Array):
    """One blend of [3,H,W] planes, chosen by its number; the planes as they are if not active."""
    chosen = jnp.arange(3) == change
    factor = jnp.where(active, jnp.sum(jnp.where(chosen, factors, 0.0)), 1.0)
    gray = _gray(planes)
    anchor = jnp.where(chosen[SATURATION], gray, jnp.where(chosen[CONTRAST], jnp.mean(gray), 0.0))
    return jnp.clip(factor * planes + (1.0 - factor) * anchor[None], 0.0, 1.0)


def turn_hue(planes: jax.Array, turn: float | jax.Array) -> jax.Array:
    """Hue of [3,H,W] planes turned through HSV by a share of the circle.

    The saturation is never formed.
    """
    red, green, blue = planes
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    scale = 1.0 / jnp.where(chroma > 0, chroma, 1.0)
    # Never `value == red`: XLA may compute `red` twice and round it differently, so that no channel
    # is the largest. Where two are equal up to rounding, their formulas agree up to rounding, too.
    sixth = jnp.where(
        (red >= green) & (red >= blue),
        (green - blue) * scale,
        jnp.where(green >= blue, 2.0 + (blue - red) * scale, 4.0 + (red - green) * scale),
    )
    sixth = sixth + 6.0 * turn

    def channel(offset: float) -> jax.Array:
        k = (sixth + offset) / 6.0
        k = 6.0 * (k - jnp.floor(k))
        return value - chroma * jnp.clip(jnp.minimum(k, 4.0 - k), 0.0, 1.0)

    return jnp.stack([channel(5.0), channel(3.0), channel(1.0)])
