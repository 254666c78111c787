"""SegFormer: a Mix Transformer and a head of pointwise layers (Xie et al., arXiv 2105.15203)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ipixmatch_jax.models.attention import dense
from ipixmatch_jax.models.create import MODELS, choice
from ipixmatch_jax.models.encoder_decoder import EncoderDecoder
from ipixmatch_jax.models.layers import ConvNorm, Numerics, classifier, widen
from ipixmatch_jax.models.mit import MIT, MixTransformer

_NAME = "segformer"


def _resize(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Bilinear resize [B,h,w,C] → [B,*size,C] between half-pixel centers, in x's dtype.

    Equals `torch.nn.functional.interpolate(mode='bilinear', align_corners=False)`.
    """
    shape = (x.shape[0], *size, x.shape[-1])
    return jax.image.resize(widen(x), shape, "linear", antialias=False).astype(x.dtype)


class Head(nn.Module):
    """Maps of all stages → logits [B,H,W,C] float32; coarse maps are concatenated first."""

    num_classes: int
    channels: int
    numerics: Numerics

    @nn.compact
    def __call__(
        self, features: tuple[jax.Array, ...], size: tuple[int, int], train: bool
    ) -> jax.Array:
        self.sow("intermediates", "encoder", features[-1])
        levels = [
            _resize(
                dense(self.channels, self.numerics, f"project_{i}")(x),
                features[0].shape[1:3],
            )
            for i, x in enumerate(features)
        ]
        x = jnp.concatenate(levels[::-1], axis=-1)
        x = ConvNorm(self.channels, numerics=self.numerics, name="fuse")(x, train)
        self.sow("intermediates", "decoder", x)
        return _resize(widen(classifier(self.num_classes, self.numerics, "classifier")(x)), size)


@MODELS.register(_NAME)
def segformer(
    *,
    num_classes: int,
    backbone: str = "mit_b0",
    norm: str = "batch",
    in_channels: int = 3,
    remat: bool = False,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
) -> EncoderDecoder:
    """Builds SegFormer; `norm` is the norm of the head, the encoder has layer norms."""
    choice(_NAME, "backbone", backbone, MIT.names())
    numerics = Numerics(dtype, axis_name, norm)
    encoder = MixTransformer(MIT[backbone], in_channels, remat, numerics)
    return EncoderDecoder(encoder, Head(num_classes, MIT[backbone].decoder, numerics))
