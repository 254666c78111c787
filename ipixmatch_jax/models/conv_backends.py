"""Convolution in the fastest form for each platform; results and signature stay the same.

XLA's CPU backend is slow in four cases, for which this module has faster forms:

- Depthwise convolutions, as a sum of k*k shifted products: 10 to 40 times as fast.
- 1x1 convolutions, as a matrix product: about twice as fast.
- Atrous convolutions that reach far beyond the image, as matrix products of the part of the input
  that their taps touch: 2 to 7 times as fast.
- The kernel gradient of the others, as k*k matrix products: about 1.5 times as fast.

Other platforms use the native convolution. `jax.lax.platform_dependent` chooses when the
computation is lowered, so an exported or ahead-of-time compiled model gets the form for its target.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_LAYOUT = ("NHWC", "HWIO", "NHWC")
# From this many input channels on, a matrix product for every kernel position is faster.
_WIDE_ENOUGH = 16
# The atrous form is faster if a smaller share of the kernel's products than this reads real input.
_MOSTLY_INSIDE = 0.75
_Pads = tuple[tuple[int, int], tuple[int, int]]


class _Geometry(NamedTuple):
    """Strides, padding, dilation and so on of a convolution; hashable, so that it can be static."""

    strides: tuple[int, int]
    pads: _Pads
    dilation: tuple[int, int]
    groups: int
    precision: Any


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: Any = None,
) -> jax.Array:
    """`jax.lax.conv_general_dilated` for NHWC images, for `flax.linen.Conv` to call.

    lhs [B,H,W,C], rhs [k,k,C/groups,D] of one dtype → [B,H',W',D]. `lhs_dilation` must be 1 and
    `dimension_numbers` NHWC, as linen passes them. Gradients are reverse-mode only.
    """
    dilation = tuple(rhs_dilation or (1, 1))
    pads = explicit_pads(lhs.shape, rhs.shape, window_strides, dilation, padding)
    geometry = _Geometry(tuple(window_strides), pads, dilation, feature_group_count, precision)
    if feature_group_count == lhs.shape[-1] == rhs.shape[-1] > 1:
        return _by_platform(lhs, rhs, geometry, _DEPTHWISE)
    if feature_group_count > 1:
        return _native(lhs, rhs, geometry)
    if rhs.shape[:2] == geometry.strides == (1, 1) and not any(sum(pads, ())):
        return _by_platform(lhs, rhs, geometry, _POINTWISE)
    if rhs.shape[2] < _WIDE_ENOUGH:
        return _native(lhs, rhs, geometry)
    if geometry.strides == (1, 1) and _inside(lhs.shape, rhs.shape, geometry) < _MOSTLY_INSIDE:
        return _by_platform(lhs, rhs, geometry, _ATROUS)
    return _by_platform(lhs, rhs, geometry, _DENSE)


def explicit_pads(
    shape: Sequence[int],
    kernel_shape: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
) -> _Pads:
    """Padding as (low, high) of height and width; takes every form that a convolution takes."""
    if isinstance(padding, str):
        window = [(k - 1) * d + 1 for k, d in zip(kernel_shape[:2], dilation, strict=True)]
        padding = jax.lax.padtype_to_pads(shape[1:3], window, strides, padding)
    return tuple(tuple(pair) for pair in padding)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _by_platform(
    x: jax.Array, kernel: jax.Array, geometry: _Geometry, cpu: "_CpuForm"
) -> jax.Array:
    if cpu.forward is None:
        return _native(x, kernel, geometry)
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=partial(cpu.forward, geometry=geometry),
        default=partial(_native, geometry=geometry),
    )


def _forward(x, kernel, geometry, cpu):
    return _by_platform(x, kernel, geometry, cpu), (x, kernel)


def _backward(geometry, cpu, saved, dy):
    # Differentiating through platform_dependent would save the residuals of both branches; here
    # the operands are enough.
    return jax.lax.platform_dependent(
        *saved,
        dy,
        cpu=partial(cpu.backward, geometry=geometry),
        default=partial(_native_vjp, geometry=geometry),
    )


_by_platform.defvjp(_forward, _backward)


def _native(x: jax.Array, kernel: jax.Array, geometry: _Geometry) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        geometry.strides,
        geometry.pads,
        rhs_dilation=geometry.dilation,
        dimension_numbers=_LAYOUT,
        feature_group_count=geometry.groups,
        precision=geometry.precision,
    )


def _native_vjp(x, kernel, dy, geometry):
    return jax.vjp(partial(_native, geometry=geometry), x, kernel)[1](dy)


def _accumulator(x: jax.Array) -> jax.Array:
    # As in native convolutions: bfloat16 operands, float32 sums.
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def _pointwise(x: jax.Array, kernel: jax.Array, geometry: _Geometry) -> jax.Array:
    operands = _accumulator(x), _accumulator(kernel[0, 0])
    return jnp.einsum("bhwc,cd->bhwd", *operands, precision=geometry.precision).astype(x.dtype)


def _pointwise_vjp(x, kernel, dy, geometry):
    wide, wide_dy = _accumulator(x), _accumulator(dy)
    dk = _outer(wide, wide_dy, geometry)
    dx = _transposed(wide_dy, _accumulator(kernel[0, 0]), geometry)
    return dx.astype(x.dtype), dk[None, None].astype(kernel.dtype)


def _transposed(dy: jax.Array, kernel: jax.Array, geometry: _Geometry) -> jax.Array:
    return jnp.einsum("bhwd,cd->bhwc", dy, kernel, precision=geometry.precision)


def _outer(x: jax.Array, dy: jax.Array, geometry: _Geometry) -> jax.Array:
    """[C,D]; the narrow factor comes first, because XLA transposes the first one."""
    einsum = partial(jnp.einsum, precision=geometry.precision)
    if x.shape[3] < dy.shape[3]:
        return einsum("bhwc,bhwd->cd", x, dy)
    return einsum("bhwd,bhwc->dc", dy, x).T


class _Tap(NamedTuple):
    """The input slice that one position of a kernel multiplies, and the output slice it adds to."""

    at: tuple[int, int]
    source: tuple[slice, ...]
    target: tuple[slice, ...]


def _results(shape, kernel_shape, geometry) -> tuple[int, int]:
    """Height and width of the output of a convolution without strides."""
    sides = zip(shape[1:3], kernel_shape, geometry.pads, geometry.dilation, strict=False)
    return tuple(size + sum(pads) - (k - 1) * dilation for size, k, pads, dilation in sides)


def _overlaps(shape, kernel_shape, geometry, side) -> list[tuple[int, slice, slice]]:
    """Kernel rows or columns that touch x: (index, input slice, output slice) of each; stride 1."""
    size, results = shape[1 + side], _results(shape, kernel_shape, geometry)[side]
    found = []
    for i in range(kernel_shape[side]):
        shift = i * geometry.dilation[side] - geometry.pads[side][0]
        first, last = max(0, -shift), min(results, size - shift)
        if first < last:
            found.append((i, slice(first + shift, last + shift), slice(first, last)))
    return found


def _taps(shape, kernel_shape, geometry) -> Iterator[_Tap]:
    rows, columns = (_overlaps(shape, kernel_shape, geometry, side) for side in (0, 1))
    for (i, *down), (j, *across) in itertools.product(rows, columns):
        source, target = ((slice(None), *cut) for cut in zip(down, across, strict=True))
        yield _Tap((i, j), source, target)


def _inside(shape, kernel_shape, geometry) -> float:
    """Share of a convolution's products that read real input and not padding."""
    used = sum(
        math.prod(cut.stop - cut.start for cut in tap.target[1:])
        for tap in _taps(shape, kernel_shape, geometry)
    )
    return used / math.prod((*kernel_shape[:2], *_results(shape, kernel_shape, geometry)))


def _atrous(x: jax.Array, kernel: jax.Array, geometry: _Geometry) -> jax.Array:
    wide, weights = _accumulator(x), _accumulator(kernel)
    size = _results(x.shape, kernel.shape, geometry)
    y = jnp.zeros((x.shape[0], *size, kernel.shape[3]), wide.dtype)
    for at, source, target in _taps(x.shape, kernel.shape, geometry):
        y = y.at[target].add(_pointwise(wide[source], weights[at][None, None], geometry))
    return y.astype(x.dtype)


def _atrous_vjp(x, kernel, dy, geometry):
    wide, wide_dy, weights = _accumulator(x), _accumulator(dy), _accumulator(kernel)
    dx, dk = jnp.zeros_like(wide), jnp.zeros_like(weights)
    for at, source, target in _taps(x.shape, kernel.shape, geometry):
        dx = dx.at[source].add(_transposed(wide_dy[target], weights[at], geometry))
        dk = dk.at[at].set(_outer(wide[source], wide_dy[target], geometry))
    return dx.astype(x.dtype), dk.astype(kernel.dtype)


def _dense_vjp(x, kernel, dy, geometry):
    """A matrix product for every kernel position; dy is transposed once."""
    (dx,) = jax.vjp(lambda x: _native(x, kernel, geometry), x)[1](dy)
    by_filter = _accumulator(dy).reshape(-1, dy.shape[3]).T

    def contract(tap):
        return jnp.matmul(by_filter, tap.reshape(-1, tap.shape[3]), precision=geometry.precision)

    dk = _kernel_gradient(x, kernel.shape[:2], dy.shape[1:3], geometry, contract)
    return dx, jnp.swapaxes(dk, 2, 3).astype(kernel.dtype)


def _depthwise(x: jax.Array, kernel: jax.Array, geometry: _Geometry) -> jax.Array:
    size = jax.eval_shape(partial(_native, geometry=geometry), x, kernel).shape[1:3]
    (sh, sw), (dh, dw) = geometry.strides, geometry.dilation
    kept, pads = _reach(x.shape, size, kernel.shape, geometry)
    weights, padded = _accumulator(kernel[kept]), _pad(x, pads)
    height, width = (size[0] - 1) * sh + 1, (size[1] - 1) * sw + 1
    y = jnp.zeros((x.shape[0], *size, x.shape[3]), weights.dtype)
    for i, j in np.ndindex(*weights.shape[:2]):
        tap = padded[:, i * dh : i * dh + height : sh, j * dw : j * dw + width : sw]
        y += _accumulator(tap) * weights[i : i + 1, j : j + 1]
    return y.astype(x.dtype)


def _reach(shape, size, kernel_shape, geometry):
    """Finds the kernel's rows and columns that touch x, and the padding that those need.

    On a small map, most of an atrous kernel with a large dilation lies in the padding.
    """
    kept, pads = [], []
    for side, (low, high) in enumerate(geometry.pads):
        k, dilation = kernel_shape[side], geometry.dilation[side]
        span = (size[side] - 1) * geometry.strides[side]
        starts = [i * dilation - low for i in range(k)]
        inside = [i for i, at in enumerate(starts) if -span <= at < shape[1 + side]]
        first, last = (inside[0], inside[-1]) if inside else (0, 0)
        kept.append(slice(first, last + 1))
        pads.append((low - first * dilation, high - (k - 1 - last) * dilation))
    return tuple(kept), tuple(pads)


def _pad(x, pads):
    """Zero padding that may be negative, which crops."""
    config = ((0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0))
    return jax.lax.pad(x, jnp.zeros((), x.dtype), config)


def _depthwise_vjp(x, kernel, dy, geometry):
    kept, pads = _reach(x.shape, dy.shape[1:3], kernel.shape, geometry)
    wide, geometry = _accumulator(dy), geometry._replace(pads=pads)
    dx = _depthwise_dx(x.shape, _accumulator(kernel[kept]), wide, geometry)
    dk = _kernel_gradient(
        x,
        kernel[kept].shape[:2],
        dy.shape[1:3],
        geometry,
        lambda tap: jnp.sum(tap * wide, axis=(0, 1, 2)),
    )
    dk = jnp.zeros(kernel.shape, dk.dtype).at[kept].set(dk[:, :, None])
    return dx.astype(x.dtype), dk.astype(kernel.dtype)


def _kernel_gradient(x, size, dy_size, geometry, contract):
    """[k,k,*] of contract(tap) for the view of padded x that each kernel position multiplies.

    A loop: unrolled it is no faster, compiles several times slower, and XLA finds the k*k taps of
    a depthwise convolution common to the forward pass and keeps them all in memory.
    """
    (sh, sw), (dh, dw) = geometry.strides, geometry.dilation
    padded, zero = _accumulator(_pad(x, geometry.pads)), np.int32(0)
    height, width = (dy_size[0] - 1) * sh + 1, (dy_size[1] - 1) * sw + 1
    window = (x.shape[0], height, width, x.shape[3])

    def one(offset):
        tap = jax.lax.dynamic_slice(padded, (zero, offset[0], offset[1], zero), window)
        return contract(tap[:, ::sh, ::sw])

    offsets = np.indices(size, np.int32).reshape(2, -1).T * np.asarray((dh, dw), np.int32)
    gradient = jax.lax.map(one, offsets)
    return gradient.reshape(*size, *gradient.shape[1:])


def _depthwise_dx(shape, kernel, dy, geometry):
    """The gradient of padded x, one residue class of rows and columns modulo the stride at a time.

    Left to autodiff, a strided slice becomes a scatter into zeros for every kernel position.
    """
    (sh, sw), (dh, dw) = geometry.strides, geometry.dilation
    rows, columns = (
        -(-(n + sum(pad)) // s)
        for n, pad, s in zip(shape[1:3], geometry.pads, geometry.strides, strict=True)
    )
    top, left = (kernel.shape[0] - 1) * dh // sh, (kernel.shape[1] - 1) * dw // sw
    padded = _pad(dy, ((top, rows - dy.shape[1]), (left, columns - dy.shape[2])))
    zeros = jnp.zeros((shape[0], rows, columns, shape[3]), dy.dtype)
    classes = [zeros] * (sh * sw)
    for i, j in np.ndindex(*kernel.shape[:2]):
        (down, row), (right, column) = divmod(i * dh, sh), divmod(j * dw, sw)
        tap = padded[:, top - down :, left - right :][:, :rows, :columns]
        classes[row * sw + column] += tap * kernel[i : i + 1, j : j + 1]
    dx = jnp.stack(classes).reshape(sh, sw, *zeros.shape).transpose(2, 3, 0, 4, 1, 5)
    dx = dx.reshape(shape[0], rows * sh, columns * sw, shape[3])
    (low_h, _), (low_w, _) = geometry.pads
    crop = ((-low_h, shape[1] + low_h - dx.shape[1]), (-low_w, shape[2] + low_w - dx.shape[2]))
    return _pad(dx, crop)


class _CpuForm(NamedTuple):
    forward: Callable[..., jax.Array] | None
    backward: Callable[..., tuple[jax.Array, jax.Array]]


_POINTWISE = _CpuForm(_pointwise, _pointwise_vjp)
_DEPTHWISE = _CpuForm(_depthwise, _depthwise_vjp)
_ATROUS = _CpuForm(_atrous, _atrous_vjp)
_DENSE = _CpuForm(None, _dense_vjp)
