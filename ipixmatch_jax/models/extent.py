"""Images of several sizes in one frame: layers that see each image as if it were alone.

An image lies in the upper left corner of its frame, and so does every feature map of it. Sizes of
frames are static and compiled; sizes of images are traced, so that one program serves all of them.
Whatever lies outside of an image is garbage: a layer that reads neighbors replaces it first by what
the layer reads beyond the border of an image that is alone, zeros in a convolution.

The sides of a frame are multiples of `frame_multiple` of the network. Then a map of h rows in a
frame of H rows holds ⌈n h / H⌉ rows of an image with n rows: exactly as many as the image has
alone, because every strided layer maps n rows to ⌈n / stride⌉. An encoder whose strided layers are
not padded maps them to ⌊n / stride⌋ instead; it has `full_windows`, and its maps hold ⌊n h / H⌋.
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


@dataclass(frozen=True, eq=False)
class Extent:
    """The true sizes of the images of a batch.

    Attributes:
        frame: (height, width) of the frame that the network gets.
        rows, columns: int32 [B], height and width of each image, from 1 to those of the frame.
        full_windows: strided layers drop the rows and columns that fill no window.
    """

    frame: tuple[int, int]
    rows: jax.Array
    columns: jax.Array
    full_windows: bool = False

    def at(self, size: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
        """True rows and columns, int32 [B], of maps that are `size` in this frame."""
        sides = zip((self.rows, self.columns), size, self.frame, strict=True)
        if self.full_windows:
            return tuple(n * side // full for n, side, full in sides)
        return tuple(n if side == full else -(-n * side // full) for n, side, full in sides)

    def inside(self, size: tuple[int, int]) -> jax.Array:
        """bool [B,*size]: true on the images, in maps that are `size` in this frame."""
        return inside(size, self.at(size))


def inside(size: tuple[int, int], true: tuple[jax.Array, jax.Array]) -> jax.Array:
    """bool [B,*size]: true in the upper left corner of the `true` rows and columns, int32 [B]."""
    rows, columns = (
        jnp.arange(side, dtype=jnp.int32)[None] < n[:, None]
        for side, n in zip(size, true, strict=True)
    )
    return rows[:, :, None] & columns[:, None]


def cut(x: jax.Array, extent: Extent | None, value: float = 0.0) -> jax.Array:
    """x [B,h,w,C] with `value` outside of the images; without an extent, x itself."""
    if extent is None:
        return x
    return jnp.where(extent.inside(x.shape[1:3])[..., None], x, jnp.asarray(value, x.dtype))


def mean_of_image(x: jax.Array, extent: Extent | None) -> jax.Array:
    """The mean [B,1,1,C] of x [B,h,w,C] over each image."""
    if extent is None:
        return jnp.mean(x, axis=(1, 2), keepdims=True)
    rows, columns = extent.at(x.shape[1:3])
    total = jnp.sum(cut(x, extent), axis=(1, 2), keepdims=True)
    return total / (rows * columns).astype(x.dtype).reshape(-1, 1, 1, 1)


def same_padded(
    x: jax.Array, window: tuple[int, int], strides: tuple[int, int], extent: Extent
) -> jax.Array:
    """Pads x [B,h,w,C] as TensorFlow's SAME pads each image alone; the rest is zeros.

    How many rows come before the first depends on the image's size modulo the stride. A convolution
    of the result without padding has ⌈h / stride⌉ rows.
    """
    # All rows that any image may need come before the first; each image then starts at its own.
    config, starts, lengths = [(0, 0, 0)], [], []
    for axis, true in zip((1, 2), extent.at(x.shape[1:3]), strict=True):
        side, stride, reach = x.shape[axis], strides[axis - 1], window[axis - 1]
        length = (-(-side // stride) - 1) * stride + reach
        needed = (-(-true // stride) - 1) * stride + reach - true
        most = (reach - 1) // 2
        config.append((most, max(length - side, 0), 0))
        starts.append(most - jnp.maximum(needed, 0) // 2)
        lengths.append(length)
    padded = jax.lax.pad(cut(x, extent), jnp.zeros((), x.dtype), [*config, (0, 0, 0)])

    def one(image: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
        at = (row, column, jnp.zeros((), row.dtype))
        return jax.lax.dynamic_slice(image, at, (*lengths, x.shape[3]))

    return jax.vmap(one)(padded, *starts)


def group_norm(layer: nn.GroupNorm, x: jax.Array, extent: Extent | None) -> jax.Array:
    """Applies a group norm whose statistics are those of each image."""
    if extent is None:
        return layer(x)
    x = cut(x, extent)
    mask = extent.inside(x.shape[1:3])[..., None]
    return layer(x, mask=jnp.broadcast_to(mask, x.shape))


def corner_weights(
    size_in: int, size_out: int, true_in: jax.Array, true_out: jax.Array, dtype: Any
) -> jax.Array:
    """Weights [B,size_out,size_in] of linear interpolation with aligned corners, of true sizes.

    Positions are fractions of whole numbers, exact also where float32 would round them.
    """
    steps = jnp.maximum(true_out - 1, 1)[:, None]
    at = jnp.arange(size_out, dtype=jnp.int32)[None] * (true_in - 1)[:, None]
    return _linear_weights(at, steps, size_in, true_in, dtype)


def center_weights(
    size_in: int, size_out: int, true_in: jax.Array, true_out: jax.Array, dtype: Any
) -> jax.Array:
    """Weights like `corner_weights`, between half-pixel centers; the border is repeated."""
    centers = 2 * jnp.arange(size_out, dtype=jnp.int32)[None] + 1
    at = jnp.maximum(centers * true_in[:, None] - true_out[:, None], 0)
    return _linear_weights(at, 2 * true_out[:, None], size_in, true_in, dtype)


def _linear_weights(
    at: jax.Array, steps: jax.Array, size_in: int, true_in: jax.Array, dtype: Any
) -> jax.Array:
    """Weights [B,out,size_in] of linear interpolation at `at / steps`, int32 [B,out] and [B,1]."""
    last = (true_in - 1)[:, None]
    low = jnp.minimum(at // steps, last)
    share = (at - low * steps).astype(dtype) / steps.astype(dtype)
    high = jnp.minimum(low + 1, last)
    columns = jnp.arange(size_in, dtype=jnp.int32)[None, None]
    zero = jnp.zeros((), dtype)
    first = jnp.where(columns == low[..., None], 1 - share[..., None], zero)
    return first + jnp.where(columns == high[..., None], share[..., None], zero)


def resize_within(
    x: jax.Array,
    size: tuple[int, int],
    true_in: tuple[jax.Array, jax.Array],
    true_out: tuple[jax.Array, jax.Array],
    weights: Any = corner_weights,
) -> jax.Array:
    """Resizes each image of x [B,h,w,C] from its true size to another: [B,*size,C], in x's dtype.

    Outside of the results lies garbage.

    Args:
        size: the frame of the result.
        true_in, true_out: rows and columns of each image, int32 [B].
        weights: `corner_weights` or `center_weights`.
    """
    y = jnp.where(inside(x.shape[1:3], true_in)[..., None], x, jnp.zeros((), x.dtype))
    y = y if y.dtype == jnp.float64 else y.astype(jnp.float32)
    rows, columns = (
        weights(before, after, n, m, y.dtype)
        for before, after, n, m in zip(x.shape[1:3], size, true_in, true_out, strict=True)
    )
    return weighted_sums(y, rows, columns).astype(x.dtype)


def weighted_sums(x: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Σ_hw rows[b,o,h] columns[b,p,w] x[b,h,w,C] → [B,o,p,C], in x's dtype.

    Columns come first: their sums are transposed, and the map has fewer rows then if it grows. The
    sums of rows lie in memory as the result does (a 4-fold larger map on a CPU: 3 times as fast).
    """
    batch, height, _, channels = x.shape
    width, highest = columns.shape[1], jax.lax.Precision.HIGHEST
    y = jnp.einsum("bpw,bhwc->bhpc", columns, x, precision=highest)
    y = y.reshape(batch, height, width * channels)  # no -1: exports may not know the batch
    y = jnp.einsum("boh,bhn->bon", rows, y, precision=highest)
    return y.reshape(batch, rows.shape[1], width, channels)
