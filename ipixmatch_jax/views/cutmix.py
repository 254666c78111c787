"""CutMix: one random box of an image taken from another, in every map that belongs to them."""

import jax
import jax.numpy as jnp
import numpy as np

# Tries for a box that fits. At the largest default area, 0.4 of the image, 5.9 % of the tries fit,
# so all fail once in 6 million boxes; over the whole default range, once in 300 million.
TRIES = 256


def cutmix_box(
    key: jax.Array,
    height: int,
    width: int,
    *,
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    ratio: tuple[float, float] = (0.3, 1 / 0.3),
) -> jax.Array:
    """A random box, with some probability, by the law of UniMatch (arXiv 2208.09910).

    The box's area is uniform in `area` times H·W. Its ratio height/width (uniform, not
    log-uniform) and its corner (uniform over all pixels) are drawn together, again and again until
    the box lies inside the image, so that shapes with more places to be are more frequent.
    Here a ratio is accepted with the share of corners that fit, and then the corner is drawn among
    those: the same law, from `TRIES` ratios. If none is accepted there is no box.

    Args:
        key: PRNG key.
        height: H, pixels.
        width: W, pixels.
        probability: probability that there is a box at all.
        area: range of the box's area as a share of the image's.
        ratio: range of the box's height over its width.

    Returns:
        [H,W] bool, true inside the box.
    """
    # One draw for all, because every draw is compiled for itself.
    drawn = jax.random.uniform(key, (4 + 2 * TRIES,))
    exists, size, across, down = drawn[:4]
    ratios, chances = drawn[4:].reshape(2, TRIES)
    size = (area[0] + (area[1] - area[0]) * size) * (height * width)
    ratios = ratio[0] + (ratio[1] - ratio[0]) * ratios
    box_height = jnp.floor(jnp.sqrt(size * ratios))
    box_width = jnp.floor(jnp.sqrt(size / ratios))
    rows = jnp.clip(height - box_height + 1.0, 0.0, float(height))
    columns = jnp.clip(width - box_width + 1.0, 0.0, float(width))
    fits = chances * (height * width) < rows * columns
    first = jnp.arange(TRIES) == jnp.argmax(fits)
    box_height, box_width, rows, columns = (
        jnp.sum(jnp.where(first, values, 0.0)) for values in (box_height, box_width, rows, columns)
    )
    top, left = jnp.floor(down * rows), jnp.floor(across * columns)
    row = jnp.arange(height, dtype=jnp.float32)[:, None]
    column = jnp.arange(width, dtype=jnp.float32)[None]
    inside_rows = (row >= top) & (row < top + box_height)
    inside_columns = (column >= left) & (column < left + box_width)
    return inside_rows & inside_columns & jnp.any(fits) & (exists < probability)


def paste(box: jax.Array, inside: jax.Array, outside: jax.Array) -> jax.Array:
    """`inside` where the box is true, `outside` elsewhere.

    Args:
        box: bool [H,W] or [B,H,W].
        inside: a map with the box's axes first and any others after them: images, logits, valid.
        outside: same shape and dtype as `inside`.

    Returns:
        A map of that shape and dtype.

    Raises:
        ValueError: shapes or dtypes that do not fit together.
    """
    if inside.shape != outside.shape or inside.dtype != outside.dtype:
        raise ValueError(
            f"inside is {inside.dtype}{inside.shape} and outside {outside.dtype}{outside.shape}; "
            "paste needs two maps of one shape and dtype"
        )
    if inside.shape[: box.ndim] != box.shape:
        raise ValueError(f"the maps {inside.shape} must begin with the box's axes {box.shape}")
    return jnp.where(jnp.expand_dims(box, tuple(range(box.ndim, inside.ndim))), inside, outside)


def resize_box(box: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The box at the points of a coarser grid whose corners are the image's, [B,H,W] -> [B,h,w]."""
    for axis, points in enumerate(size, start=1):
        at = np.round(np.linspace(0, box.shape[axis] - 1, points)).astype(np.int32)
        box = jnp.take(box, at, axis=axis)
    return box
