"""A small U-Net, with an encoder of its own or a backbone (Ronneberger et al., arXiv 1505.04597).

It differs from the paper: convolutions are padded, batch norm follows them, strided convolutions
replace max-pooling, and bilinear upsampling with aligned corners to the size of the skip makes any
image size work.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models.backbones import make_encoder
from ipixmatch_jax.models.create import MODELS, positive
from ipixmatch_jax.models.encoder_decoder import EncoderDecoder
from ipixmatch_jax.models.input_channels import RgbStatistics, check_channels
from ipixmatch_jax.models.layers import (
    ConvNorm,
    Numerics,
    classifier,
    resize_bilinear,
    resize_logits,
)

_NAME = "unet"


class DoubleConv(nn.Module):
    """Two times 3x3 convolution, batch norm and ReLU; the first convolution is strided."""

    features: int
    numerics: Numerics
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        first = ConvNorm(self.features, 3, self.stride, numerics=self.numerics, name="first")
        x = first(x, train)
        return ConvNorm(self.features, 3, numerics=self.numerics, name="second")(x, train)


class Encoder(RgbStatistics, nn.Module):
    """Images [B,H,W,·] → depth + 1 maps, map i at stride s·2^i with width·2^i channels."""

    width: int
    depth: int
    stem_stride: int
    in_channels: int
    remat: bool
    numerics: Numerics

    rgb_mean = (0.5,) * 3
    rgb_std = (0.25,) * 3

    @property
    def frame_multiple(self) -> int:
        return self.stem_stride * 2**self.depth

    @property
    def layers(self) -> tuple[tuple[str, ...], ...]:
        return tuple((f"level_{level}",) for level in range(self.depth + 1))

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        check_channels(x, self.in_channels)
        block = nn.remat(DoubleConv, static_argnums=(2,)) if self.remat else DoubleConv
        features = []
        for level in range(self.depth + 1):
            stride = 2 if level else self.stem_stride
            x = block(self.width * 2**level, self.numerics, stride, name=f"level_{level}")(x, train)
            features.append(x)
        return tuple(features)


class Head(nn.Module):
    """Feature maps, each half the size of the one before → logits [B,H,W,C] float32."""

    num_classes: int
    width: int
    numerics: Numerics

    frame_multiple = 1

    @nn.compact
    def __call__(
        self, features: tuple[jax.Array, ...], size: tuple[int, int], train: bool
    ) -> jax.Array:
        *skips, x = features
        extent = self.numerics.extent
        self.sow("intermediates", "encoder", x)
        for level in reversed(range(len(skips))):
            skip = skips[level]
            x = resize_bilinear(x, skip.shape[1:3], extent)
            x = jnp.concatenate([skip, x], axis=-1)
            x = DoubleConv(self.width * 2**level, self.numerics, name=f"level_{level}")(x, train)
        self.sow("intermediates", "decoder", x)
        x = classifier(self.num_classes, self.numerics, "classifier")(x)
        return resize_logits(x, size, extent)


@MODELS.register(_NAME)
def unet(
    *,
    num_classes: int,
    width: int = 24,
    depth: int = 3,
    stem_stride: int = 1,
    norm: str = "batch",
    in_channels: int = 3,
    remat: bool = False,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
    backbone: str | None = None,
    **backbone_options: Any,
) -> EncoderDecoder:
    """Builds a U-Net of `depth` halvings; `width` channels at the finest level double at each.

    With `stem_stride` 2 the finest level has half the image's size, which is a quarter of the work.
    With a `backbone` its four maps take the place of the levels: the finest has stride 4, and the
    decoder has `width` channels there.
    """
    positive(_NAME, width=width, depth=depth, stem_stride=stem_stride)
    numerics = Numerics(dtype, axis_name, norm)
    if backbone is None:
        encoder = Encoder(width, depth, stem_stride, in_channels, remat, numerics)
    else:
        _check_own(depth=(depth, 3), stem_stride=(stem_stride, 1))
        common = {"in_channels": in_channels, "remat": remat, "numerics": numerics}
        encoder = make_encoder(_NAME, backbone, backbone_options, **common)
    return EncoderDecoder(encoder, Head(num_classes, width, numerics))


def _check_own(**options: tuple[int, int]) -> None:
    for option, (value, default) in options.items():
        if value != default:
            raise ConfigError(
                f"model {_NAME!r}: {option} is {value}, which belongs to its own encoder; leave it "
                "out if you set model.backbone"
            )
