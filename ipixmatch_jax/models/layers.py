"""Building blocks that the models share: convolution with batch norm, and bilinear resizing."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models.conv_backends import conv_general_dilated
from ipixmatch_jax.models.extent import (
    Extent,
    cut,
    group_norm,
    resize_within,
    same_padded,
    weighted_sums,
)
from ipixmatch_jax.models.frozen import is_frozen, within_network
from ipixmatch_jax.models.lora import Lora

# He initialization; the fan-in of a depthwise kernel (k,k,1,C) is its own k*k window.
kernel_init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def linear_matrix(at: np.ndarray, size_in: int) -> np.ndarray:
    """Weights [out,size_in] float64 of linear interpolation at positions 0 … size_in - 1, [out]."""
    matrix = np.zeros((len(at), size_in))
    low = np.minimum(np.floor(at).astype(int), max(size_in - 2, 0))
    high = np.minimum(low + 1, size_in - 1)
    rows = np.arange(len(at))
    np.add.at(matrix, (rows, low), 1.0 - (at - low))
    np.add.at(matrix, (rows, high), at - low)
    return matrix


@lru_cache(maxsize=256)
def _corner_matrix(size_in: int, size_out: int) -> np.ndarray:
    """Weights [size_out,size_in] float64 of linear interpolation with aligned corners."""
    at = np.linspace(0.0, size_in - 1, size_out) if size_out > 1 else np.zeros(1)
    return linear_matrix(at, size_in)


def widen(x: jax.Array) -> jax.Array:
    """x in float32; float64 stays as it is."""
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def resize_bilinear(x: jax.Array, size: tuple[int, int], extent: Extent | None = None) -> jax.Array:
    """Bilinear resize with aligned corners, [B,h,w,C] → [B,H,W,C] in x's dtype.

    Equals `torch.nn.functional.interpolate(mode='bilinear', align_corners=True)`, which
    jax.image.resize does not offer. Computed in float32 or better: bilinear weights rounded to
    bfloat16 do not sum to 1. With an `extent`, each image of the frame is resized alone.
    """
    if extent is not None and x.shape[1:3] != tuple(size):
        return resize_within(x, size, extent.at(x.shape[1:3]), extent.at(size))
    return resize_by(_corner_matrix, x, size)


def resize_by(
    matrix: Callable[[int, int], np.ndarray], x: jax.Array, size: tuple[int, int]
) -> jax.Array:
    """x [B,h,w,C] → [B,*size,C] in x's dtype; `matrix` maps sides (in, out) to weights [out,in]."""
    if x.shape[1:3] == tuple(size):
        return x
    y = widen(x)
    rows, columns = (
        jnp.broadcast_to(jnp.asarray(matrix(before, after), y.dtype), (x.shape[0], after, before))
        for before, after in zip(x.shape[1:3], size, strict=True)
    )
    return weighted_sums(y, rows, columns).astype(x.dtype)


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


class BatchNorm(nn.Module):
    """Batch norm over all axes except the last, with PyTorch's running statistics.

    Maps x [...,C] to the same shape and dtype; give float32 or better. In training, statistics are
    averaged over the devices of `axis_name`. The variance is the mean of squared deviations,
    because E[x²] − E[x]² cancels in float32 if the mean is large compared with the deviation
    (google/flax issue 1491). Normalization uses the biased variance, but the running variance is
    the unbiased one, n/(n − 1) times as large, with n values of a channel on all devices, as in
    torch.nn.SyncBatchNorm. (linen's is the biased one, half as large if n = 2.) If `frozen` names
    the module (see `is_frozen`), it uses its running statistics and does not update them.

    Raises:
        ConfigError: one value per channel in training, over all devices; the output would be the
            bias alone, whatever the input.
    """

    train: bool
    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    frozen: tuple[str, ...] = ()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = (x.shape[-1],)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        scale = self.param("scale", nn.initializers.ones, channels, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, channels, jnp.float32)
        # init runs outside of the mapped axis.
        axis_name = None if self.is_initializing() else self.axis_name
        mean, var = running_mean.value.astype(x.dtype), running_var.value.astype(x.dtype)
        if self.train and not is_frozen(self.path, self.frozen):
            mean = _mean_over(x, axis_name)
            var = _mean_over(jnp.square(x - _as_last(mean, x)), axis_name)
            n = x.size // x.shape[-1] * (jax.lax.axis_size(axis_name) if axis_name else 1)
            if not self.is_initializing():
                if n == 1:
                    raise ConfigError(_one_value("/".join(within_network(self.path)), x.shape))
                self._follow(running_mean, mean)
                self._follow(running_var, var * (n / (n - 1)))
        factor = jax.lax.rsqrt(var + self.epsilon) * scale.astype(x.dtype)
        return (x - _as_last(mean, x)) * _as_last(factor, x) + _as_last(bias.astype(x.dtype), x)

    def _follow(self, running: nn.Variable, value: jax.Array) -> None:
        old = running.value
        running.value = self.momentum * old + (1 - self.momentum) * value.astype(old.dtype)


def _one_value(where: str, shape: tuple[int, ...]) -> str:
    return (
        f"batch norm {where} normalizes one value per channel in training (its input is "
        f"{list(shape)}), which leaves 0 of it, so that nothing below it is trained; expected two "
        "or more values: take 2 or more images per step and micro-batch (batch_size, "
        "unlabeled_batch_size, accumulate_steps), or set model.norm='group', or freeze it with "
        f"model.frozen=('{where}',)"
    )


def _mean_over(x: jax.Array, axis_name: str | None) -> jax.Array:
    mean = jnp.mean(x, axis=tuple(range(x.ndim - 1)))
    return jax.lax.pmean(mean, axis_name) if axis_name else mean


def _as_last(channel: jax.Array, x: jax.Array) -> jax.Array:
    return channel.reshape((1,) * (x.ndim - 1) + channel.shape)


@dataclass(frozen=True)
class Numerics:
    """Numeric settings of a network: dtype of activations, and normalization.

    `norm` 'batch' takes statistics over the batch on all devices of `axis_name`. 'group' takes
    them over 32 groups of channels of one image, or the largest smaller number that divides the
    channels; it has no running statistics and works with any batch size (Wu and He, arXiv
    1803.08494). `momentum`, `epsilon` and `frozen` belong to batch norm. `lora` adapts dense layers
    (see `with_lora`). `extent` tells the true sizes of images that are padded to a frame; in
    training it is None.
    """

    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None
    norm: str = "batch"
    momentum: float = 0.9
    epsilon: float = 1e-5
    frozen: tuple[str, ...] = ()
    lora: Lora | None = None
    extent: Extent | None = None

    def of_pools(self) -> "Numerics":
        """The settings for maps that are pooled from whole images: they fill any frame."""
        return replace(self, extent=None)

    def normalize(self, x: jax.Array, train: bool, name: str) -> jax.Array:
        """Normalizes x [B,H,W,C] by the norm layer `name`, in float32 or better."""
        x = widen(x)
        if self.norm == "batch":
            options = (self.momentum, self.epsilon, self.axis_name, self.frozen)
            return BatchNorm(train, *options, name=name)(x)
        groups = max(n for n in range(1, 33) if x.shape[-1] % n == 0)
        layer = nn.GroupNorm(groups, epsilon=1e-5, use_fast_variance=False, name=name)
        return group_norm(layer, x, self.extent)


def convolution(extent: Extent | None) -> Callable[..., jax.Array]:
    """The function by which `flax.linen.Conv` convolves: every convolution of a model takes it.

    With an `extent`, each image of the frame is convolved as if it were alone.
    """
    if extent is None:
        return conv_general_dilated

    def within_extent(x, kernel, strides, padding, **options):
        if kernel.shape[:2] == tuple(strides) == (1, 1):
            return conv_general_dilated(x, kernel, strides, padding, **options)
        if padding == "SAME" and max(strides) > 1:
            dilation = options.get("rhs_dilation") or (1, 1)
            window = [(k - 1) * d + 1 for k, d in zip(kernel.shape[:2], dilation, strict=True)]
            x, padding = same_padded(x, window, strides, extent), "VALID"
        else:
            x = cut(x, extent)
        return conv_general_dilated(x, kernel, strides, padding, **options)

    return within_extent


class ConvNorm(nn.Module):
    """Convolution without bias, norm, activation: [B,H,W,·] → [B,⌈H/s⌉,⌈W/s⌉,features].

    Padding is TensorFlow's SAME; with `symmetric` it is PyTorch's (kernel // 2)·dilation on every
    side. The two differ at strides above 1. `depthwise` filters every channel separately;
    `features` is then the number of input channels.
    """

    features: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    depthwise: bool = False
    symmetric: bool = False
    act: Callable[[jax.Array], jax.Array] = nn.relu
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.Conv(
            self.features,
            (self.kernel, self.kernel),
            strides=self.stride,
            padding=self.kernel // 2 * self.dilation if self.symmetric else "SAME",
            kernel_dilation=self.dilation,
            feature_group_count=self.features if self.depthwise else 1,
            use_bias=False,
            kernel_init=kernel_init,
            dtype=self.numerics.dtype,
            conv_general_dilated=convolution(self.numerics.extent),
            name="conv",
        )(x)
        x = self.numerics.normalize(x, train, "norm")
        return self.act(x.astype(self.numerics.dtype))


def conv(
    features: int,
    kernel: int,
    numerics: Numerics,
    name: str,
    *,
    stride: int = 1,
    padding: int | str | None = None,
    groups: int = 1,
    bias: bool = True,
    dilation: int = 1,
) -> nn.Conv:
    """A convolution without norm, in the fastest form for the platform; padded by kernel // 2."""
    return nn.Conv(
        features,
        (kernel, kernel),
        strides=stride,
        padding=kernel // 2 if padding is None else padding,
        kernel_dilation=dilation,
        feature_group_count=groups,
        use_bias=bias,
        kernel_init=kernel_init,
        dtype=numerics.dtype,
        conv_general_dilated=convolution(numerics.extent),
        name=name,
    )


def classifier(num_classes: int, numerics: Numerics, name: str) -> nn.Conv:
    """The 1x1 convolution with bias that computes the logits."""
    return conv(num_classes, 1, numerics, name)


def resize_logits(x: jax.Array, size: tuple[int, int], extent: Extent | None = None) -> jax.Array:
    """Resizes logits [B,h,w,C] of any dtype to [B,H,W,C] float32; float64 stays float64."""
    return resize_bilinear(widen(x), size, extent)
