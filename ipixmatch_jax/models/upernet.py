"""UPerNet: pyramid pooling and a feature pyramid (Xiao et al., arXiv 1807.10221).

The head equals that of Hugging Face transformers and mmsegmentation: pools of 1, 2, 3 and 6
windows, bilinear resizing between half-pixel centers, no dropout, and no auxiliary head.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ipixmatch_jax.models.backbones import make_encoder
from ipixmatch_jax.models.conv_of_maps import ConvNormOfMaps
from ipixmatch_jax.models.create import MODELS, positive
from ipixmatch_jax.models.encoder_decoder import EncoderDecoder
from ipixmatch_jax.models.extent import center_weights
from ipixmatch_jax.models.half_pixel import adaptive_average, resize_half_pixel, spread_pools
from ipixmatch_jax.models.layers import ConvNorm, Numerics, classifier, widen

_NAME = "upernet"
_POOLS = (1, 2, 3, 6)


class Head(nn.Module):
    """Feature maps, fine to coarse or all of one size → logits [B,H,W,C] float32."""

    num_classes: int
    channels: int
    numerics: Numerics

    frame_multiple = 1

    @nn.compact
    def __call__(
        self, features: tuple[jax.Array, ...], size: tuple[int, int], train: bool
    ) -> jax.Array:
        self.sow("intermediates", "encoder", features[-1])
        extent = self.numerics.extent
        *fine, x = features
        levels = [self._conv(f, 1, f"lateral_{i}", train) for i, f in enumerate(fine)]
        levels.append(self._pyramid(x, train))
        for i in range(len(fine), 0, -1):
            finer = levels[i - 1]
            levels[i - 1] = finer + resize_half_pixel(levels[i], finer.shape[1:3], extent)
        levels[:-1] = [
            self._conv(level, 3, f"smooth_{i}", train) for i, level in enumerate(levels[:-1])
        ]
        fuse = ConvNormOfMaps(self.channels, 3, self.numerics, center_weights, name="fuse")
        x = fuse(levels, levels[0].shape[1:3], train)
        self.sow("intermediates", "decoder", x)
        logits = classifier(self.num_classes, self.numerics, "classifier")(x)
        return resize_half_pixel(widen(logits), size, extent)

    def _pyramid(self, x: jax.Array, train: bool) -> jax.Array:
        parts, extent = [x], self.numerics.extent
        for i, side in enumerate(_POOLS):
            pooled = adaptive_average(x, side, extent)
            pool = ConvNorm(self.channels, numerics=self.numerics.of_pools(), name=f"pool_{i}")
            parts.append(spread_pools(pool(pooled, train), x.shape[1:3], extent))
        return self._conv(jnp.concatenate(parts, axis=-1), 3, "bottleneck", train)

    def _conv(self, x: jax.Array, kernel: int, name: str, train: bool) -> jax.Array:
        return ConvNorm(self.channels, kernel, numerics=self.numerics, name=name)(x, train)


@MODELS.register(_NAME)
def upernet(
    *,
    num_classes: int,
    backbone: str = "convnext_tiny",
    decoder_channels: int = 512,
    norm: str = "batch",
    in_channels: int = 3,
    remat: bool = False,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
    **backbone_options: Any,
) -> EncoderDecoder:
    """Builds UPerNet on the maps of all stages, or on four blocks of a vision transformer."""
    positive(_NAME, decoder_channels=decoder_channels)
    numerics = Numerics(dtype, axis_name, norm)
    common = {"in_channels": in_channels, "remat": remat, "numerics": numerics}
    encoder = make_encoder(_NAME, backbone, backbone_options, **common)
    return EncoderDecoder(encoder, Head(num_classes, decoder_channels, numerics))
