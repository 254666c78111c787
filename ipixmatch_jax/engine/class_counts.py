"""Numbers of pixels by class, in the way that is fast on each kind of device.

A CPU adds pixel by pixel, which takes a nanosecond each. On a TPU or GPU such additions wait for
each other; there, comparisons with every class and matrix products of one-hot maps are faster.
`jax.lax.platform_dependent` chooses when the computation is lowered. The numbers are the same.
"""

import jax
import jax.numpy as jnp


def class_counts(ids: jax.Array, where: jax.Array, num_classes: int) -> jax.Array:
    """How many pixels have each class: int32 [num_classes].

    Args:
        ids: int32 [B, H, W] class ids; others than 0 to num_classes - 1 are not counted.
        where: bool [B, H, W], pixels that are counted.
    """

    def added(ids, where):
        return _added(jnp.where(where & (ids >= 0), ids, num_classes), num_classes)

    def compared(ids, where):
        of_class = ids[..., None] == jnp.arange(num_classes, dtype=ids.dtype)[None, None, None]
        return (of_class & where[..., None]).sum((0, 1, 2), dtype=jnp.int32)

    return jax.lax.platform_dependent(ids, where, cpu=added, default=compared)


def pair_counts(
    rows: jax.Array, columns: jax.Array, where: jax.Array, num_classes: int
) -> jax.Array:
    """How many pixels have each pair of classes: int32 [num_classes, num_classes].

    Args:
        rows, columns: int32 [B, H, W] class ids, of which those at `where` are 0 to
            num_classes - 1.
        where: bool [B, H, W], pixels that are counted.
    """

    def added(rows, columns, where):
        pairs = jnp.where(where, rows * num_classes + columns, num_classes**2)
        return _added(pairs, num_classes**2).reshape(num_classes, num_classes)

    def multiplied(rows, columns, where):
        # Exact in float32 up to 2^24 pixels an image.
        def of_image(rows, columns):
            one, other = (
                jax.nn.one_hot(ids.reshape(-1), num_classes, dtype=jnp.float32)
                for ids in (rows, columns)
            )
            return jnp.einsum("nr,nc->rc", one, other).astype(jnp.int32)

        # A class that does not exist has an empty one-hot vector.
        return jax.vmap(of_image)(jnp.where(where, rows, num_classes), columns).sum(
            0, dtype=jnp.int32
        )

    return jax.lax.platform_dependent(rows, columns, where, cpu=added, default=multiplied)


def _added(ids: jax.Array, length: int) -> jax.Array:
    """How often each of 0 to length - 1 occurs; larger ids are left out."""
    return jnp.zeros(length, jnp.int32).at[ids.reshape(-1)].add(1, mode="drop")
