"""Linear and MLP heads: what the features of an encoder hold by themselves.

`linear` is the head of DINOv2's and DINOv3's linear segmentation (facebookresearch/dinov2's BNHead,
arXiv 2304.07193; /dinov3's LinearHead): batch norm and a 1x1 convolution, at the resolution of the
features; logits are resized bilinearly. Their dropout is left out. With `blocks` 4 it is DINOv2's
concatenation of the last four blocks. `mlp` has one hidden layer with GELU between the two, which
is our own.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models.attention import dense
from ipixmatch_jax.models.backbones import make_encoder
from ipixmatch_jax.models.create import MODELS, positive
from ipixmatch_jax.models.encoder_decoder import EncoderDecoder
from ipixmatch_jax.models.half_pixel import resize_half_pixel
from ipixmatch_jax.models.layers import Numerics, classifier, widen


class Head(nn.Module):
    """The last `blocks` maps, all of one size, → logits [B,H,W,C] float32.

    `hidden` is the width of the hidden layer, 0 for none.
    """

    num_classes: int
    blocks: int
    hidden: int
    numerics: Numerics

    frame_multiple = 1

    @nn.compact
    def __call__(
        self, features: tuple[jax.Array, ...], size: tuple[int, int], train: bool
    ) -> jax.Array:
        self.sow("intermediates", "encoder", features[-1])
        x = jnp.concatenate(features[-self.blocks :], axis=-1)
        x = self.numerics.normalize(x, train, "input_norm").astype(self.numerics.dtype)
        if self.hidden:
            x = nn.gelu(dense(self.hidden, self.numerics, "hidden")(x), approximate=False)
        self.sow("intermediates", "decoder", x)
        logits = classifier(self.num_classes, self.numerics, "classifier")(x)
        return resize_half_pixel(widen(logits), size, self.numerics.extent)


@MODELS.register("linear")
def linear(
    *,
    num_classes: int,
    backbone: str = "dinov2_small",
    blocks: int = 1,
    norm: str = "batch",
    in_channels: int = 3,
    remat: bool = False,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
    **backbone_options: Any,
) -> EncoderDecoder:
    """Builds a norm and a linear classifier of every pixel.

    Args:
        blocks: number of last blocks of a vision transformer whose features are concatenated.
    """
    common = {"in_channels": in_channels, "remat": remat}
    numerics = Numerics(dtype, axis_name, norm)
    return _built("linear", num_classes, backbone, blocks, 0, numerics, common, backbone_options)


@MODELS.register("mlp")
def mlp(
    *,
    num_classes: int,
    backbone: str = "dinov2_small",
    blocks: int = 1,
    decoder_channels: int = 256,
    norm: str = "batch",
    in_channels: int = 3,
    remat: bool = False,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
    **backbone_options: Any,
) -> EncoderDecoder:
    """Builds a norm, a hidden layer of `decoder_channels` and a linear classifier of every pixel.

    Args:
        blocks: number of last blocks of a vision transformer whose features are concatenated.
    """
    positive("mlp", decoder_channels=decoder_channels)
    common = {"in_channels": in_channels, "remat": remat}
    numerics = Numerics(dtype, axis_name, norm)
    sizes = (backbone, blocks, decoder_channels)
    return _built("mlp", num_classes, *sizes, numerics, common, backbone_options)


def _built(model, num_classes, backbone, blocks, hidden, numerics, common, options):
    positive(model, blocks=blocks)
    encoder = make_encoder(model, backbone, options, taps=blocks, numerics=numerics, **common)
    most = getattr(getattr(encoder, "shape", None), "depth", 1)
    if blocks > most:
        raise ConfigError(
            f"model {model!r}: blocks is {blocks}; backbone {backbone!r} has {most} that can be "
            "concatenated"
        )
    return EncoderDecoder(encoder, Head(num_classes, blocks, hidden, numerics))
