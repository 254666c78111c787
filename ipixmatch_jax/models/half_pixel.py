"""Bilinear resizing and average pooling as PyTorch has them by default."""

import math
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from ipixmatch_jax.models.extent import Extent, center_weights, resize_within
from ipixmatch_jax.models.layers import widen


def resize_half_pixel(
    x: jax.Array, size: tuple[int, int], extent: Extent | None = None
) -> jax.Array:
    """Bilinear resize [B,h,w,C] → [B,*size,C] between half-pixel centers, in x's dtype.

    Equals `torch.nn.functional.interpolate(mode='bilinear', align_corners=False)`. With an
    `extent`, each image of the frame is resized alone.
    """
    if extent is not None and x.shape[1:3] != tuple(size):
        sizes = extent.at(x.shape[1:3]), extent.at(size)
        return resize_within(x, size, *sizes, center_weights)
    shape = (x.shape[0], *size, x.shape[-1])
    return jax.image.resize(widen(x), shape, "linear", antialias=False).astype(x.dtype)


def adaptive_average(x: jax.Array, side: int) -> jax.Array:
    """Means of side x side windows, [B,h,w,C] → [B,side,side,C] in x's dtype.

    Equals `torch.nn.AdaptiveAvgPool2d(side)`: window i reaches from ⌊i·h / side⌋ to
    ⌈(i + 1)·h / side⌉, so that neighbors overlap where `side` does not divide h.
    """
    y = widen(x)
    rows, columns = (jnp.asarray(_windows(n, side), y.dtype) for n in x.shape[1:3])
    highest = jax.lax.Precision.HIGHEST
    return jnp.einsum("ph,qw,bhwc->bpqc", rows, columns, y, precision=highest).astype(x.dtype)


@lru_cache(maxsize=256)
def _windows(size: int, windows: int) -> np.ndarray:
    """Weights [windows,size] of the mean over each window."""
    weights = np.zeros((windows, size))
    for i in range(windows):
        start, end = i * size // windows, math.ceil((i + 1) * size / windows)
        weights[i, start:end] = 1 / (end - start)
    return weights
