"""Order statistics over all pixels of all devices, with static shapes."""

import jax
import jax.numpy as jnp

# (shift, width) of the bits of a float32 that each round of counting decides.
_ROUNDS = ((21, 11), (10, 11), (0, 10))


def kth_smallest(
    values: jax.Array, counted: jax.Array, k: int, axis_name: str | None = None
) -> jax.Array:
    """The k-th smallest of the counted values, or −1 if there are fewer than k.

    Non-negative floats are ordered as their bits are: three histograms find the bits of the k-th,
    exactly, and add up over devices, where a sort would have to gather all values first.

    Args:
        values: any shape, float32, at least 0.
        counted: bool of that shape.
        k: at least 1.
        axis_name: the mapped axis of the devices whose values are ranked together.

    Returns:
        float32 scalar, the same on all devices of the axis.
    """
    bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32).reshape(-1)
    candidates = counted.reshape(-1)
    rank = jnp.asarray(k, jnp.int32)
    prefix = jnp.zeros((), jnp.uint32)
    enough = jnp.ones((), bool)
    for shift, width in _ROUNDS:
        bucket = (bits >> jnp.uint32(shift)) & jnp.uint32(2**width - 1)
        counts = jnp.zeros(2**width, jnp.int32).at[bucket].add(candidates.astype(jnp.int32))
        if axis_name is not None:
            counts = jax.lax.psum(counts, axis_name)
        up_to = jnp.cumsum(counts)
        enough = enough & (up_to[-1] >= rank)
        chosen = jnp.argmax(up_to >= rank)
        rank = rank - (up_to[chosen] - counts[chosen])
        prefix = (prefix << jnp.uint32(width)) | chosen.astype(jnp.uint32)
        candidates = candidates & (bucket == chosen.astype(jnp.uint32))
    found = jax.lax.bitcast_convert_type(prefix, jnp.float32)
    return jnp.where(enough, found, -1.0)
