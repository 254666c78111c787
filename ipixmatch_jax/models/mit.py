"""Mix Transformer encoders of SegFormer (Xie et al., arXiv 2105.15203), `mit_b0` to `mit_b5`.

Numerically equal to Hugging Face transformers: every layer norm has epsilon 1e-5.
(NVlabs/SegFormer uses 1e-6 in the norms of blocks and stages.) No dropout and no stochastic depth.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from ipixmatch_jax.models.attention import LayerNorm, attend, dense, merge_heads, split_heads
from ipixmatch_jax.models.backbones import ENCODERS
from ipixmatch_jax.models.extent import inside
from ipixmatch_jax.models.input_channels import RgbStatistics, check_channels, check_smallest
from ipixmatch_jax.models.layers import Numerics, conv
from ipixmatch_jax.models.lora import TARGETS
from ipixmatch_jax.registry import Registry

_EPSILON = 1e-5


@dataclass(frozen=True)
class MitShape:
    """Sizes of a Mix Transformer, stage by stage, and the width of its head, `decoder`.

    `reductions` are the strides of the maps from which keys and values are computed.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    decoder: int
    heads: tuple[int, ...] = (1, 2, 5, 8)
    reductions: tuple[int, ...] = (8, 4, 2, 1)


_NARROW, _WIDE = (32, 64, 160, 256), (64, 128, 320, 512)
MIT: Registry[MitShape] = Registry("SegFormer backbone")
MIT.register("mit_b0")(MitShape(_NARROW, (2, 2, 2, 2), 256))
MIT.register("mit_b1")(MitShape(_WIDE, (2, 2, 2, 2), 256))
MIT.register("mit_b2")(MitShape(_WIDE, (3, 4, 6, 3), 768))
MIT.register("mit_b3")(MitShape(_WIDE, (3, 4, 18, 3), 768))
MIT.register("mit_b4")(MitShape(_WIDE, (3, 8, 27, 3), 768))
MIT.register("mit_b5")(MitShape(_WIDE, (3, 6, 40, 3), 768))


def _tokens(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1, x.shape[-1])


class Attention(nn.Module):
    """Self-attention on a map [B,h,w,C]; keys and values come from it at 1/`reduction` size."""

    heads: int
    reduction: int
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width, numerics, source = x.shape[-1], self.numerics, x
        extent, seen = numerics.extent, None
        query = split_heads(dense(width, numerics, "q")(_tokens(x)), self.heads)
        if self.reduction > 1:
            r = self.reduction
            source = conv(width, r, self.numerics, "reduce", stride=r, padding=0)(x)
            source = LayerNorm(_EPSILON, name="reduce_norm")(source)
        if extent is not None:
            # A window of the reduction that is not full is left out, also of an image alone.
            rows, columns = (side // self.reduction for side in extent.at(x.shape[1:3]))
            seen = inside(source.shape[1:3], (rows, columns)).reshape(x.shape[0], -1)
        both = jnp.split(dense(2 * width, numerics, "kv")(_tokens(source)), 2, axis=-1)
        key, value = (split_heads(part, self.heads) for part in both)
        y = dense(width, numerics, "proj")(merge_heads(attend(query, key, value, seen)))
        return y.reshape(x.shape)


class MixFfn(nn.Module):
    """Two dense layers; between them GELU and a depthwise 3x3 convolution, which adds positions."""

    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = 4 * x.shape[-1]
        y = dense(hidden, self.numerics, "fc1")(x)
        y = conv(hidden, 3, self.numerics, "conv", groups=hidden)(y)
        y = nn.gelu(y, approximate=False)
        return dense(x.shape[-1], self.numerics, "fc2")(y)


class Block(nn.Module):
    heads: int
    reduction: int
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = LayerNorm(_EPSILON, name="norm1")(x)
        x = x + Attention(self.heads, self.reduction, self.numerics, name="attn")(y)
        return x + MixFfn(self.numerics, name="mlp")(LayerNorm(_EPSILON, name="norm2")(x))


class Stage(nn.Module):
    """A convolution with overlapping windows, which makes the tokens, and transformer blocks."""

    index: int
    shape: MitShape
    remat: bool
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        i, shape = self.index, self.shape
        kernel, stride = (7, 4) if i == 0 else (3, 2)
        x = conv(shape.widths[i], kernel, self.numerics, "patch", stride=stride)(x)
        x = LayerNorm(_EPSILON, name="patch_norm")(x)
        block = nn.remat(Block) if self.remat else Block
        for j in range(shape.depths[i]):
            name = f"block_{j:02d}"
            x = block(shape.heads[i], shape.reductions[i], self.numerics, name=name)(x)
        return LayerNorm(_EPSILON, name="norm")(x)


class MixTransformer(RgbStatistics, nn.Module):
    """Images [B,H,W,in_channels] → maps at strides 4, 8, 16 and 32, in the compute dtype.

    H and W must be at least `smallest_side`, 29 for the published shapes; ConfigError otherwise.
    `remat` recomputes the inner activations of each block in the backward pass.
    """

    shape: MitShape
    in_channels: int = 3
    remat: bool = False
    numerics: Numerics = Numerics()

    lora_targets = TARGETS

    @property
    def frame_multiple(self) -> int:
        return 4 * 2 ** (len(self.shape.widths) - 1)

    @property
    def smallest_side(self) -> int:
        # A stage of stride s has ⌈side / s⌉ rows; its keys need at least `reduction` of them.
        return max(
            (reduction - 1) * 4 * 2**i + 1 for i, reduction in enumerate(self.shape.reductions)
        )

    @property
    def layers(self) -> tuple[tuple[str, ...], ...]:
        return tuple((f"stage_{i}",) for i in range(len(self.shape.widths)))

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        check_channels(x, self.in_channels)
        check_smallest(x.shape[1:3], self.smallest_side)
        maps = []
        for i in range(len(self.shape.widths)):
            x = Stage(i, self.shape, self.remat, self.numerics, name=f"stage_{i}")(x)
            maps.append(x)
        return tuple(maps)


def _register(name: str) -> None:
    @ENCODERS.register(name)
    def build(
        *, every_stage: bool, in_channels: int, remat: bool, numerics: Numerics
    ) -> MixTransformer:
        del every_stage  # it has no other maps
        return MixTransformer(MIT[name], in_channels, remat, numerics)


for _name in MIT.names():
    _register(_name)
