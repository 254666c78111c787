"""Cross-entropy of labeled pixels."""

import jax
import jax.numpy as jnp
import optax

from ipixmatch_jax.losses.checks import check_logits, check_map


def pixel_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """-log p of each pixel's label: logits [B,H,W,C] float32, labels [B,H,W] int -> [B,H,W]."""
    # One-hot, because the backward pass of the integer form is a scatter.
    one_hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=jnp.float32)
    return optax.losses.softmax_cross_entropy(logits, one_hot)


def cross_entropy(
    logits: jax.Array, mask: jax.Array, *, ignore: int = 255
) -> tuple[jax.Array, jax.Array]:
    """Sum of the cross-entropy over counted pixels, and how many pixels were counted.

    The loss of a batch is `total / count`. The two come apart so that a caller can sum each over
    all devices first, and one device with batch 8 trains like eight devices with batch 1.

    Pixels of the ignore id add nothing to value, count or gradient, whatever their logits. A class
    id outside 0..C-1 that is not the ignore id makes the total NaN: bad masks never train silently.

    Args:
        logits: [B,H,W,C], any float dtype; computed in float32.
        mask: [B,H,W] integer class ids.
        ignore: the id of pixels that are not counted.

    Returns:
        (total, count), float32 scalars.

    Raises:
        ValueError: shapes that do not fit together.

    Example:
        >>> total, count = cross_entropy(jnp.zeros((1, 1, 3, 4)), jnp.array([[[0, 3, 255]]]))
        >>> print(f'{total / count:.4f} over {count:.0f} pixels')
        1.3863 over 2 pixels
    """
    check_logits("logits", logits)
    check_map("mask", mask, logits)
    mask = mask.astype(jnp.int32)
    counted = mask != ignore
    clean = jnp.where(counted[..., None], logits.astype(jnp.float32), 0.0)
    values = pixel_cross_entropy(clean, jnp.where(counted, mask, 0))
    known = (mask >= 0) & (mask < logits.shape[-1])
    values = jnp.where(known, values, jnp.nan)
    total = jnp.sum(jnp.where(counted, values, 0.0))
    return total, jnp.sum(counted, dtype=jnp.float32)
