"""DPT on vision transformers, the dense prediction transformer (Ranftl et al., arXiv 2103.13413).

On DINOv2 it is the network of UniMatch V2 (Yang et al., arXiv 2410.10777). It has no batch norm,
and therefore no batch statistics.
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ipixmatch_jax.models.backbones import make_encoder
from ipixmatch_jax.models.create import MODELS
from ipixmatch_jax.models.encoder_decoder import EncoderDecoder
from ipixmatch_jax.models.layers import (
    Numerics,
    classifier,
    conv,
    kernel_init,
    resize_bilinear,
    resize_logits,
)

_NAME = "dpt"


@dataclass(frozen=True)
class DptShape:
    """Widths of DPT's maps: `features` of the fused ones, `levels` of the reassembled ones."""

    features: int
    levels: tuple[int, int, int, int]


_SMALL, _BASE = DptShape(64, (48, 96, 192, 384)), DptShape(128, (96, 192, 384, 768))
_LARGE = DptShape(256, (256, 512, 1024, 1024))
# Those of UniMatch V2; DINOv3's have the widths of DINOv2's.
DPT_SHAPES = {
    "dinov2_small": _SMALL,
    "dinov2_base": _BASE,
    "dinov2_large": _LARGE,
    "dinov2_giant": DptShape(384, (1536, 1536, 1536, 1536)),
    "dinov3_small": _SMALL,
    "dinov3_small_plus": _SMALL,
    "dinov3_base": _BASE,
    "dinov3_large": _LARGE,
}


class Enlarge(nn.Module):
    """Transposed convolution with stride k and kernel k × k: [B,h,w,D] → [B,k·h,k·w,D].

    Kernel windows do not overlap, so it is one matrix product. The kernel [k,k,out,in] is that of
    linen's ConvTranspose with `transpose_kernel=True`, and PyTorch's [in,out,k,k] transposed.
    """

    side: int
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, height, width, features = x.shape
        kernel = self.param(
            "kernel", kernel_init, (self.side, self.side, features, features), jnp.float32
        )
        bias = self.param("bias", nn.initializers.zeros, (features,), jnp.float32)
        x, kernel, bias = (a.astype(self.numerics.dtype) for a in (x, kernel, bias))
        y = jnp.einsum("bhwc,ijdc->bhiwjd", x, kernel)
        return y.reshape(batch, self.side * height, self.side * width, features) + bias.reshape(
            1, 1, 1, -1
        )


class Residual(nn.Module):
    """Adds to x the result of two 3x3 convolutions, each after a ReLU."""

    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = x
        for name in ("conv1", "conv2"):
            y = conv(x.shape[-1], 3, self.numerics, name)(nn.relu(y))
        return x + y


class Fusion(nn.Module):
    """Fuses a coarse map with the skip of its level into one map of the given size."""

    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, skip: jax.Array | None, size: tuple[int, int]) -> jax.Array:
        extent = self.numerics.extent
        enter = Residual(self.numerics, name="skip")
        if skip is not None:
            x = x + enter(skip)
        elif self.is_initializing():
            # PyTorch's model has these weights at the coarsest level too, without using them;
            # its checkpoints hold them.
            enter(x)
        # PyTorch's model resizes first. Weights of a resize sum to 1, so that a 1x1 convolution
        # with its bias may come before, where the map has a quarter of the pixels.
        x = conv(x.shape[-1], 1, self.numerics, "out")(Residual(self.numerics, name="residual")(x))
        return resize_bilinear(x, size, extent)


class Head(nn.Module):
    """Four maps [B,h,w,D] → logits [B,H,W,C] float32."""

    num_classes: int
    shape: DptShape
    numerics: Numerics

    @property
    def frame_multiple(self) -> int:
        # The coarsest level has half as many rows as the encoder's maps.
        return 2

    @nn.compact
    def __call__(
        self, features: tuple[jax.Array, ...], size: tuple[int, int], train: bool
    ) -> jax.Array:
        self.sow("intermediates", "encoder", features[-1])
        numerics, width = self.numerics, self.shape.features
        levels = [
            conv(channels, 1, numerics, f"project_{i}")(x)
            for i, (channels, x) in enumerate(zip(self.shape.levels, features, strict=True))
        ]
        levels[0] = Enlarge(4, numerics, name="resize_0")(levels[0])
        levels[1] = Enlarge(2, numerics, name="resize_1")(levels[1])
        levels[3] = conv(self.shape.levels[3], 3, numerics, "resize_3", stride=2)(levels[3])
        levels = [
            conv(width, 3, numerics, f"reduce_{i}", bias=False)(x) for i, x in enumerate(levels)
        ]
        finest = levels[0].shape[1:3]
        sizes = [(2 * finest[0], 2 * finest[1]), *(x.shape[1:3] for x in levels[:3])]
        x = Fusion(numerics, name="fuse_3")(levels[3], None, sizes[3])
        for i in (2, 1, 0):
            x = Fusion(numerics, name=f"fuse_{i}")(x, levels[i], sizes[i])
        x = nn.relu(conv(width, 3, numerics, "output")(x))
        self.sow("intermediates", "decoder", x)
        x = classifier(self.num_classes, numerics, "classifier")(x)
        return resize_logits(x, size, numerics.extent)


@MODELS.register(_NAME)
def dpt(
    *,
    num_classes: int,
    backbone: str = "dinov2_small",
    in_channels: int = 3,
    remat: bool = False,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
    **backbone_options: Any,
) -> EncoderDecoder:
    """Builds DPT.

    `axis_name` has no effect, because DPT has no batch norm; every model takes it.
    """
    numerics = Numerics(dtype)
    common = {"in_channels": in_channels, "remat": remat, "numerics": numerics}
    encoder = make_encoder(_NAME, backbone, backbone_options, **common)
    return EncoderDecoder(encoder, Head(num_classes, DPT_SHAPES[backbone], numerics))
