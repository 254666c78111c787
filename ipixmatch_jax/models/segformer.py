"""SegFormer: a Mix Transformer and a head of pointwise layers (Xie et al., arXiv 2105.15203)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ipixmatch_jax.models.attention import dense
from ipixmatch_jax.models.backbones import make_encoder
from ipixmatch_jax.models.conv_of_maps import ConvNormOfMaps
from ipixmatch_jax.models.create import MODELS, positive
from ipixmatch_jax.models.encoder_decoder import EncoderDecoder
from ipixmatch_jax.models.extent import center_weights
from ipixmatch_jax.models.half_pixel import resize_half_pixel
from ipixmatch_jax.models.layers import Numerics, classifier, widen
from ipixmatch_jax.models.mit import MIT

_NAME = "segformer"


class Head(nn.Module):
    """Maps of all stages → logits [B,H,W,C] float32."""

    num_classes: int
    channels: int
    numerics: Numerics

    frame_multiple = 1

    @nn.compact
    def __call__(
        self, features: tuple[jax.Array, ...], size: tuple[int, int], train: bool
    ) -> jax.Array:
        self.sow("intermediates", "encoder", features[-1])
        levels = [
            dense(self.channels, self.numerics, f"project_{i}")(x) for i, x in enumerate(features)
        ]
        fuse = ConvNormOfMaps(self.channels, 1, self.numerics, center_weights, name="fuse")
        x = fuse(levels[::-1], features[0].shape[1:3], train)
        self.sow("intermediates", "decoder", x)
        x = widen(classifier(self.num_classes, self.numerics, "classifier")(x))
        return resize_half_pixel(x, size, self.numerics.extent)


@MODELS.register(_NAME)
def segformer(
    *,
    num_classes: int,
    backbone: str = "mit_b0",
    decoder_channels: int | None = None,
    norm: str = "batch",
    in_channels: int = 3,
    remat: bool = False,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
    **backbone_options: Any,
) -> EncoderDecoder:
    """Builds SegFormer; `norm` is the norm of the head.

    `decoder_channels` None means those that were published for the Mix Transformer, and 256 for
    other backbones.
    """
    if decoder_channels is None:
        decoder_channels = MIT[backbone].decoder if backbone in MIT else 256
    positive(_NAME, decoder_channels=decoder_channels)
    numerics = Numerics(dtype, axis_name, norm)
    common = {"in_channels": in_channels, "remat": remat, "numerics": numerics}
    encoder = make_encoder(_NAME, backbone, backbone_options, **common)
    return EncoderDecoder(encoder, Head(num_classes, decoder_channels, numerics))
