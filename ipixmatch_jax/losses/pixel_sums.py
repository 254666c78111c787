"""Sums over the pixels of an image, and maps of each pixel by itself, in blocks.

XLA's CPU backend adds numbers one after the other: over the 641,601 pixels of an 801 × 801 crop a
float32 product of two maps was wrong by 8e-4; summed in blocks of pixels, by less than 1e-6.
It also turns `sum(x * y, axis=1)` into a matrix product that took 100 times as long (jax 0.10).
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

BLOCK = 512
CHUNKS = 8

# Accelerators would round the factors of float32 products to 8 or 11 bits.
einsum = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


def pad_to_blocks(x: jax.Array) -> jax.Array:
    """[B,N,C] with zeros after the last pixel, so that N is a multiple of a block of pixels."""
    blocks, block = _split(x.shape[1])
    return jnp.pad(x, ((0, 0), (0, blocks * block - x.shape[1]), (0, 0)))


def once(x: jax.Array) -> jax.Array:
    """x, computed once: XLA would do it again for every channel that it is broadcast to."""
    return jax.lax.optimization_barrier(x)


def total(x: jax.Array, axis: int) -> jax.Array:
    """Sum over `axis`, which stays as an axis of length 1; axis 1 of [B,N,C] is that of pixels."""
    return pixel_sum(x) if axis == 1 else jnp.sum(x, axis=axis, keepdims=True)


def pixel_sum(x: jax.Array) -> jax.Array:
    """Sum over pixels, [B,N,C] -> [B,1,C]."""
    # The barrier, because XLA would make one sum of the two.
    partial = jax.lax.optimization_barrier(jnp.sum(_blocks(x), axis=2))
    return jnp.sum(partial, axis=1, keepdims=True)


def centered(x: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """x [B,N,C] less its weighted mean over pixels, and that mean [B,1,C]."""
    mean = pixel_sum(weight * x)
    return x - mean, mean


def normalized(weight: jax.Array) -> jax.Array:
    """Pixel weights [B,N,1] that sum to 1, or to 0 where all are 0."""
    whole = pixel_sum(weight)
    return weight / jnp.where(whole > 0, whole, 1.0)


def pixel_products(x: jax.Array, y: jax.Array) -> jax.Array:
    """Sum over pixels of the products of all channels, [B,N,C], [B,N,E] -> [B,C,E]."""
    return jnp.sum(einsum("zkni,zknj->zkij", _blocks(x), _blocks(y)), axis=1)


def _blocks(x: jax.Array) -> jax.Array:
    """[B,N,C] -> [B,blocks,pixels of one,C]."""
    return pad_to_blocks(x).reshape(x.shape[0], *_split(x.shape[1]), x.shape[2])


@functools.cache
def _split(pixels: int) -> tuple[int, int]:
    """Blocks and pixels of one: a divisor of all near `BLOCK`, else with padding."""
    if pixels <= BLOCK:
        return 1, pixels
    divisors = [n for n in range(BLOCK // 4, 2 * BLOCK + 1) if pixels % n == 0]
    if divisors:
        block = min(divisors, key=lambda n: max(n, BLOCK**2 / n))
        return pixels // block, block
    blocks = -(-pixels // BLOCK)
    return blocks, -(-pixels // blocks)


def by_chunks(
    function: Callable[..., tuple[jax.Array, ...]], *maps: jax.Array
) -> tuple[jax.Array, ...]:
    """Applies a pixelwise `function` of maps [B,N,·] to an eighth of the pixels at a time.

    It returns maps [B,N,·]; its temporary memory is that of one chunk.
    """
    pixels = maps[0].shape[1]
    size = -(-pixels // CHUNKS)

    def visit(i, results):
        # The last chunks may begin earlier to be full; what is done twice comes out the same.
        start = jnp.minimum(i * size, pixels - size)

        def cut(x):
            return jax.lax.dynamic_slice_in_dim(x, start, size, axis=1)

        parts = function(*map(cut, maps))
        put = jax.lax.dynamic_update_slice_in_dim
        return tuple(put(x, part, start, 1) for x, part in zip(results, parts, strict=True))

    # Zeros that vary over devices as the maps do, which shard_map asks of a loop's carry.
    zero = sum(x[:, :, :1] * 0.0 for x in maps)
    shapes = jax.eval_shape(function, *maps)
    results = tuple(jnp.broadcast_to(zero, x.shape) for x in shapes)
    return jax.lax.fori_loop(0, CHUNKS, visit, results)
