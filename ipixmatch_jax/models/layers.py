"""Building blocks that the models share: convolution with batch norm, and bilinear resizing."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from ipixmatch_jax.models.lowering import conv_general_dilated

# He initialisation; the fan-in of a depthwise kernel (k,k,1,C) is its own k*k window.
kernel_init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


@lru_cache(maxsize=256)
def _bilinear_matrix(size_in: int, size_out: int) -> np.ndarray:
    """Weights [size_out,size_in] float64 of linear interpolation with aligned corners."""
    matrix = np.zeros((size_out, size_in))
    at = np.linspace(0.0, size_in - 1, size_out) if size_out > 1 else np.zeros(1)
    low = np.minimum(np.floor(at).astype(int), max(size_in - 2, 0))
    high = np.minimum(low + 1, size_in - 1)
    rows = np.arange(size_out)
    np.add.at(matrix, (rows, low), 1.0 - (at - low))
    np.add.at(matrix, (rows, high), at - low)
    return matrix


def widen(x: jax.Array) -> jax.Array:
    """x in float32; float64 stays as it is."""
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def resize_bilinear(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Bilinear resize with aligned corners, [B,h,w,C] → [B,H,W,C] in x's dtype.

    Equals `torch.nn.functional.interpolate(mode='bilinear', align_corners=True)`, which
    jax.image.resize does not offer. Computed in float32 or better: bilinear weights rounded to
    bfloat16 do not sum to 1.
    """
    y = widen(x)
    dtype = y.dtype
    einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    if x.shape[1] != size[0]:
        y = einsum("oh,bhwc->bowc", jnp.asarray(_bilinear_matrix(x.shape[1], size[0]), dtype), y)
    if x.shape[2] != size[1]:
        y = einsum("pw,bowc->bopc", jnp.asarray(_bilinear_matrix(x.shape[2], size[1]), dtype), y)
    return y.astype(x.dtype)


@jax.custom_jvp
def relu6(x: jax.Array) -> jax.Array:
    """min(max(x, 0), 6); the gradient at both corners is 0, as in PyTorch."""
    return jnp.clip(x, 0.0, 6.0)


@relu6.defjvp
def _relu6_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    return relu6(x), jnp.where((x > 0) & (x < 6), dx, jnp.zeros_like(dx))


def identity(x: jax.Array) -> jax.Array:
    return x


@dataclass(frozen=True)
class Numerics:
    """How a network computes: dtype of activations, and its batch norm.

    The variance is the mean of squared deviations (`use_fast_variance=False`): E[x²] − E[x]²
    cancels in float32 once the mean is large beside the spread (google/flax issue 1491).
    """

    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5

    def batch_norm(self, train: bool, name: str) -> nn.BatchNorm:
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            axis_name=self.axis_name,
            use_fast_variance=False,
            name=name,
        )


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, activation: [B,H,W,·] → [B,⌈H/s⌉,⌈W/s⌉,features].

    Padding is TensorFlow's SAME. `depthwise` filters every channel by itself; `features` is then
    the number of channels of the input.
    """

    features: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    depthwise: bool = False
    act: Callable[[jax.Array], jax.Array] = nn.relu
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.Conv(
            self.features,
            (self.kernel, self.kernel),
            strides=self.stride,
            kernel_dilation=self.dilation,
            feature_group_count=self.features if self.depthwise else 1,
            use_bias=False,
            kernel_init=kernel_init,
            dtype=self.numerics.dtype,
            conv_general_dilated=conv_general_dilated,
            name="conv",
        )(x)
        x = self.numerics.batch_norm(train, "norm")(widen(x))
        return self.act(x.astype(self.numerics.dtype))


def classifier(num_classes: int, numerics: Numerics, name: str) -> nn.Conv:
    """The 1x1 convolution with bias that gives logits."""
    return nn.Conv(
        num_classes,
        (1, 1),
        kernel_init=kernel_init,
        dtype=numerics.dtype,
        conv_general_dilated=conv_general_dilated,
        name=name,
    )


def resize_logits(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Logits [B,h,w,C] of any dtype → [B,H,W,C] float32 (float64 stays)."""
    return resize_bilinear(widen(x), size)
