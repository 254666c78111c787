"""DeepLabV3+: atrous spatial pyramid pooling and a decoder with a stride-4 skip.

Chen et al., arXiv 1802.02611. The head is that of the semi-supervised literature: no dropout,
bilinear resizing with aligned corners, skip first in the concatenation.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models.backbones import make_encoder
from ipixmatch_jax.models.conv_of_maps import ConvNormOfMaps
from ipixmatch_jax.models.create import MODELS, choice, positive
from ipixmatch_jax.models.encoder_decoder import EncoderDecoder
from ipixmatch_jax.models.extent import mean_of_image
from ipixmatch_jax.models.layers import (
    ConvNorm,
    Numerics,
    classifier,
    resize_bilinear,
    resize_logits,
    widen,
)

_NAME = "deeplabv3plus"
_RATES = {32: (3, 6, 9), 16: (6, 12, 18), 8: (12, 24, 36)}


class Conv3x3(nn.Module):
    """A 3x3 ConvNorm; with `separable`, a depthwise 3x3 and a pointwise one.

    A `coarse` map is resized to the size of x and concatenated first.
    """

    features: int
    dilation: int
    separable: bool
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, coarse: jax.Array | None = None) -> jax.Array:
        size = x.shape[1:3]
        if not self.separable and coarse is not None:
            both = ConvNormOfMaps(self.features, 3, self.numerics, name="dense")
            return both([x, coarse], size, train)
        if not self.separable:
            return ConvNorm(
                self.features, 3, dilation=self.dilation, numerics=self.numerics, name="dense"
            )(x, train)
        if coarse is not None:
            coarse = resize_bilinear(coarse, size, self.numerics.extent)
            x = jnp.concatenate([x, coarse], axis=-1)
        x = ConvNorm(
            x.shape[-1],
            3,
            dilation=self.dilation,
            depthwise=True,
            numerics=self.numerics,
            name="depthwise",
        )(x, train)
        return ConvNorm(self.features, numerics=self.numerics, name="pointwise")(x, train)


class Head(nn.Module):
    """Features (low [B,h,w,·], high [B,h',w',·]) → logits [B,H,W,C] float32."""

    num_classes: int
    channels: int
    low_level_channels: int
    atrous_rates: tuple[int, ...]
    separable: bool
    numerics: Numerics

    frame_multiple = 1

    @nn.compact
    def __call__(
        self, features: tuple[jax.Array, jax.Array], size: tuple[int, int], train: bool
    ) -> jax.Array:
        low, high = features
        extent = self.numerics.extent
        self.sow("intermediates", "encoder", high)
        high = self._pyramid(high, train)
        low = ConvNorm(self.low_level_channels, numerics=self.numerics, name="low")(low, train)
        fuse_0, fuse_1 = (
            Conv3x3(self.channels, 1, self.separable, self.numerics, name=name)
            for name in ("fuse_0", "fuse_1")
        )
        x = fuse_1(fuse_0(low, train, coarse=high), train)
        self.sow("intermediates", "decoder", x)
        x = classifier(self.num_classes, self.numerics, "classifier")(x)
        return resize_logits(x, size, extent)

    def _pyramid(self, x: jax.Array, train: bool) -> jax.Array:
        branches = [ConvNorm(self.channels, numerics=self.numerics, name="aspp_point")(x, train)]
        for i, rate in enumerate(self.atrous_rates):
            branch = Conv3x3(self.channels, rate, self.separable, self.numerics, name=f"aspp_{i}")
            branches.append(branch(x, train))
        pooled = mean_of_image(widen(x), self.numerics.extent).astype(x.dtype)
        pool = ConvNorm(self.channels, numerics=self.numerics.of_pools(), name="aspp_pool")
        pooled = pool(pooled, train)
        branches.append(jnp.broadcast_to(pooled, branches[0].shape))
        x = jnp.concatenate(branches, axis=-1)
        return ConvNorm(self.channels, numerics=self.numerics, name="aspp_project")(x, train)


@MODELS.register(_NAME)
def deeplabv3plus(
    *,
    num_classes: int,
    backbone: str = "efficientnet_lite0",
    output_stride: int = 16,
    decoder_channels: int = 256,
    low_level_channels: int = 48,
    separable: bool = False,
    atrous_rates: Sequence[int] | None = None,
    norm: str = "batch",
    in_channels: int = 3,
    remat: bool = False,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
    **backbone_options: Any,
) -> EncoderDecoder:
    """Builds DeepLabV3+.

    `atrous_rates` None means (6, 12, 18) at output stride 16, and the same reach in pixels of the
    image at other strides: doubled at 8, halved at 32.
    """
    choice(_NAME, "output_stride", output_stride, _RATES)
    positive(_NAME, decoder_channels=decoder_channels, low_level_channels=low_level_channels)
    if atrous_rates is None:
        atrous_rates = _RATES[output_stride]
    if isinstance(atrous_rates, str) or not isinstance(atrous_rates, Sequence):
        raise ConfigError(
            f"model {_NAME!r}: atrous_rates is {atrous_rates!r}; give a list such as [6, 12, 18]"
        )
    positive(_NAME, **{f"atrous_rates[{i}]": rate for i, rate in enumerate(atrous_rates)})
    numerics = Numerics(dtype, axis_name, norm)
    encoder = make_encoder(
        _NAME,
        backbone,
        backbone_options,
        output_stride=output_stride,
        in_channels=in_channels,
        remat=remat,
        numerics=numerics,
    )
    head = Head(
        num_classes,
        decoder_channels,
        low_level_channels,
        tuple(atrous_rates),
        separable,
        numerics,
    )
    return EncoderDecoder(encoder, head)
