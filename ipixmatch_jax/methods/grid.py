"""Points of a coarse grid, for frameworks that compare every point with every other one."""

import jax
import jax.numpy as jnp
import numpy as np


def grid_points(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """[B,H,W,C] -> [B,rows·columns,C] float32, means of what each point of the grid covers."""
    shape = (x.shape[0], *size, x.shape[-1])
    x = x.astype(jnp.float32)
    if x.shape != shape:
        x = jax.image.resize(x, shape, "linear", antialias=True)
    return x.reshape(x.shape[0], -1, x.shape[-1])


def grid_values(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """[B,H,W] of any dtype -> [B,rows·columns], the values at the centers of the grid's points."""
    for axis, (length, points) in enumerate(zip(x.shape[1:3], size, strict=True), start=1):
        at = (2 * np.arange(points) + 1) * length // (2 * points)
        x = jnp.take(x, at, axis=axis)
    return x.reshape(x.shape[0], -1)


def unit(x: jax.Array) -> jax.Array:
    """Vectors along the last axis, of length 1; 0 stays 0."""
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, 1e-12))
