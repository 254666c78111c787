"""Max-pooling in the fastest form for each platform; values and gradients stay the same.

XLA's CPU backend scatters the gradient one window at a time, which takes longer than all other
layers of the network. On a CPU, pooling is therefore a maximum of nine strided slices, and its
gradient nine masked sums. `jax.lax.platform_dependent` chooses when the computation is lowered.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

_KERNEL, _STRIDE, _PAD = 3, 2, 1


@jax.custom_vjp
def max_pool_3x3(x: jax.Array) -> jax.Array:
    """Maximum over 3x3 windows at stride 2, one pixel of −∞ around: [B,H,W,C] → [B,⌈H/2⌉,⌈W/2⌉,C].

    Equals torch.nn.MaxPool2d(3, 2, 1): the gradient goes to the first maximum of a window in row
    order. At odd sides it also equals `ceil_mode=True`. Gradients are reverse-mode only.
    """
    return jax.lax.platform_dependent(x, cpu=_shifted, default=_native)


def _native(x: jax.Array) -> jax.Array:
    window, stride, pad = ((n, n) for n in (_KERNEL, _STRIDE, _PAD))
    return nn.max_pool(x, window, stride, (pad, pad))


def _padded(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Pads x with −∞, so that every tap of `size` windows is a slice of the result."""
    low = jnp.asarray(-jnp.inf, x.dtype)
    height, width = ((_PAD, _STRIDE * (size[i] + 1) - _PAD - x.shape[1 + i], 0) for i in (0, 1))
    return jax.lax.pad(x, low, ((0, 0, 0), height, width, (0, 0, 0)))


def _taps(x: jax.Array, size: tuple[int, int]):
    """(row, column, values [B,*size,C] at that position of every window), in row order."""
    padded = _padded(x, size)
    for i, j in np.ndindex(_KERNEL, _KERNEL):
        bottom, right = i + _STRIDE * size[0], j + _STRIDE * size[1]
        yield i, j, padded[:, i:bottom:_STRIDE, j:right:_STRIDE]


def _shifted(x: jax.Array) -> jax.Array:
    size = tuple((n - 1) // _STRIDE + 1 for n in x.shape[1:3])
    taps = [tap for _, _, tap in _taps(x, size)]
    return jax.tree.reduce(jnp.maximum, taps)


def _shifted_vjp(x: jax.Array, y: jax.Array, dy: jax.Array) -> jax.Array:
    size = y.shape[1:3]
    rows, columns = (n + 1 for n in size)
    zeros = jnp.zeros((x.shape[0], rows, columns, x.shape[3]), dy.dtype)
    # The padded gradient, one map for each residue of row and column modulo the stride.
    classes, free = [zeros] * _STRIDE**2, jnp.ones(y.shape, bool)
    for i, j, tap in _taps(x, size):
        first = free & (tap == y)
        free &= ~first
        (down, row), (right, column) = divmod(i, _STRIDE), divmod(j, _STRIDE)
        config = ((0, 0, 0), (down, 1 - down, 0), (right, 1 - right, 0), (0, 0, 0))
        share = jnp.where(first, dy, jnp.zeros_like(dy))
        classes[row * _STRIDE + column] += jax.lax.pad(share, jnp.zeros((), dy.dtype), config)
    dx = jnp.stack(classes).reshape(_STRIDE, _STRIDE, *zeros.shape).transpose(2, 3, 0, 4, 1, 5)
    dx = dx.reshape(x.shape[0], rows * _STRIDE, columns * _STRIDE, x.shape[3])
    return dx[:, _PAD : _PAD + x.shape[1], _PAD : _PAD + x.shape[2]]


def _native_vjp(x: jax.Array, y: jax.Array, dy: jax.Array) -> jax.Array:
    return jax.vjp(_native, x)[1](dy)[0]


def _forward(x):
    y = max_pool_3x3(x)
    return y, (x, y)


def _backward(saved, dy):
    dx = jax.lax.platform_dependent(*saved, dy, cpu=_shifted_vjp, default=_native_vjp)
    return (dx,)


max_pool_3x3.defvjp(_forward, _backward)
