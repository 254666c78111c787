"""Bilinear resizing and average pooling as PyTorch has them by default."""

import math
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from ipixmatch_jax.models.extent import Extent, center_weights, cut, resize_within
from ipixmatch_jax.models.layers import linear_matrix, resize_by, widen


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
    return resize_by(_center_matrix, x, size)


@lru_cache(maxsize=256)
def _center_matrix(size_in: int, size_out: int) -> np.ndarray:
    """Weights [size_out,size_in] float64 of linear interpolation between half-pixel centers."""
    at = (np.arange(size_out) + 0.5) * size_in / size_out - 0.5
    return linear_matrix(at.clip(0, size_in - 1), size_in)


def adaptive_average(x: jax.Array, side: int, extent: Extent | None = None) -> jax.Array:
    """Means of side x side windows, [B,h,w,C] → [B,side,side,C] in x's dtype.

    Equals `torch.nn.AdaptiveAvgPool2d(side)`: window i reaches from ⌊i·h / side⌋ to
    ⌈(i + 1)·h / side⌉, so that neighbors overlap where `side` does not divide h. With an `extent`,
    the windows of each image of the frame divide its true size.
    """
    y, highest = widen(cut(x, extent)), jax.lax.Precision.HIGHEST
    if extent is None:
        rows, columns = (jnp.asarray(_windows(n, side), y.dtype) for n in x.shape[1:3])
        y = jnp.einsum("ph,qw,bhwc->bpqc", rows, columns, y, precision=highest)
    else:
        rows, columns = (
            jnp.asarray(_all_windows(most, side), y.dtype)[n]
            for most, n in zip(x.shape[1:3], extent.at(x.shape[1:3]), strict=True)
        )
        y = jnp.einsum("bph,bqw,bhwc->bpqc", rows, columns, y, precision=highest)
    return y.astype(x.dtype)


def spread_pools(x: jax.Array, size: tuple[int, int], extent: Extent | None) -> jax.Array:
    """Resizes pools [B,side,side,C], as `resize_half_pixel` does; they are whole in any frame."""
    if extent is None:
        return resize_half_pixel(x, size)
    whole = tuple(jnp.full_like(n, x.shape[1]) for n in extent.at(size))
    return resize_within(x, size, whole, extent.at(size), center_weights)


@lru_cache(maxsize=256)
def _windows(size: int, windows: int) -> np.ndarray:
    """Weights [windows,size] of the mean over each window."""
    weights = np.zeros((windows, size))
    for i in range(windows):
        start, end = i * size // windows, math.ceil((i + 1) * size / windows)
        weights[i, start:end] = 1 / (end - start)
    return weights


def _all_windows(most: int, windows: int) -> np.ndarray:
    """Weights [most + 1,windows,most]: `_windows` of every size up to `most`, then zeros."""
    weights = np.zeros((most + 1, windows, most))
    for size in range(1, most + 1):
        weights[size, :, :size] = _windows(size, windows)
    return weights
