"""ConvNeXt encoders with a chosen output stride (Liu et al., arXiv 2201.03545).

Version 1, with LayerScale and without global response normalization; DINOv3's ConvNeXts (Siméoni et
al., arXiv 2508.10104) are the same network with other weights. Results equal those of Hugging Face
transformers: exact GELU, layer norm epsilon 1e-6, no stochastic depth.

No convolution between stages is padded: a stage of stride s drops the rows and columns that its
windows do not fill, so that n pixels become ⌊n / s⌋. Sides that are multiples of 32 lose nothing.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from ipixmatch_jax.models.attention import LayerNorm, dense
from ipixmatch_jax.models.backbones import ENCODERS
from ipixmatch_jax.models.input_channels import RgbStatistics, check_channels, check_smallest
from ipixmatch_jax.models.layers import Numerics, conv
from ipixmatch_jax.registry import Registry

_EPSILON = 1e-6
_LAYER_SCALE = 1e-6


@dataclass(frozen=True)
class ConvNextShape:
    """Channels and number of blocks of each stage."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]


CONVNEXT: Registry[ConvNextShape] = Registry("ConvNeXt backbone")
CONVNEXT.register("convnext_tiny")(ConvNextShape((96, 192, 384, 768), (3, 3, 9, 3)))
CONVNEXT.register("convnext_small")(ConvNextShape((96, 192, 384, 768), (3, 3, 27, 3)))
CONVNEXT.register("convnext_base")(ConvNextShape((128, 256, 512, 1024), (3, 3, 27, 3)))
CONVNEXT.register("convnext_large")(ConvNextShape((192, 384, 768, 1536), (3, 3, 27, 3)))


class Block(nn.Module):
    """x [B,h,w,C] plus a depthwise 7x7 convolution and two dense layers of it, scaled."""

    dilation: int
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width, dilation = x.shape[-1], self.dilation
        depthwise = {"padding": 3 * dilation, "groups": width, "dilation": dilation}
        y = conv(width, 7, self.numerics, "depthwise", **depthwise)(x)
        y = LayerNorm(_EPSILON, name="norm")(y)
        y = nn.gelu(dense(4 * width, self.numerics, "expand")(y), approximate=False)
        y = dense(width, self.numerics, "project")(y)
        initial = nn.initializers.constant(_LAYER_SCALE)
        scale = self.param("layer_scale", initial, (width,), jnp.float32)
        return x + y * scale.astype(y.dtype).reshape(1, 1, 1, -1)


class Stage(nn.Module):
    """Halves the map, except in the first stage, and applies the blocks.

    With `stride` 1 the 2x2 convolution that halves the map is dilated by `entry_dilation` instead,
    and the blocks by `dilation`, as in timm.
    """

    width: int
    depth: int
    stride: int | None
    entry_dilation: int
    dilation: int
    remat: bool
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.stride is not None:
            x = LayerNorm(_EPSILON, name="down_norm")(x)
            form = (
                {"stride": 2, "padding": 0}
                if self.stride == 2
                else {"dilation": self.entry_dilation, "padding": "SAME"}
            )
            x = conv(self.width, 2, self.numerics, "down", **form)(x)
        block = nn.remat(Block) if self.remat else Block
        for index in range(self.depth):
            x = block(self.dilation, self.numerics, name=f"block_{index:02d}")(x)
        return x


class ConvNext(RgbStatistics, nn.Module):
    """Images [B,H,W,in_channels] → features at stride 4 and at `output_stride`.

    With `every_stage` it returns the features of all stages instead, each with a layer norm, as the
    backbones of segmentation networks have them; otherwise only the last features have one, the
    norm that follows the network. After `output_stride` is reached, strides become dilations, so
    that weights fit at any output stride. `remat` recomputes the inner activations of each block in
    the backward pass.

    H and W must be at least `smallest_side`, the stride of the last map; ConfigError otherwise.
    """

    shape: ConvNextShape
    output_stride: int = 32
    every_stage: bool = False
    in_channels: int = 3
    remat: bool = False
    numerics: Numerics = Numerics()

    full_windows = True

    @property
    def smallest_side(self) -> int:
        return min(4 * 2 ** (len(self.shape.widths) - 1), self.output_stride)

    @property
    def frame_multiple(self) -> int:
        return self.smallest_side

    @property
    def layers(self) -> tuple[tuple[str, ...], ...]:
        return ("stem", "stem_norm"), *((f"stage_{i}",) for i in range(len(self.shape.widths)))

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        check_channels(x, self.in_channels)
        last = len(self.shape.widths) - 1
        check_smallest(x.shape[1:3], self.smallest_side)
        x = conv(self.shape.widths[0], 4, self.numerics, "stem", stride=4, padding=0)(x)
        x = LayerNorm(_EPSILON, name="stem_norm")(x)
        maps, reached, dilation = [], 4, 1
        for i, (width, depth) in enumerate(zip(self.shape.widths, self.shape.depths, strict=True)):
            stride, entry = 2 if i else None, dilation
            if i and reached * 2 > self.output_stride:
                stride, dilation = 1, 2 * dilation
            reached *= stride or 1
            stage = Stage(
                width, depth, stride, entry, dilation, self.remat, self.numerics, name=f"stage_{i}"
            )
            x = stage(x)
            normed = self.every_stage or i == last
            maps.append(LayerNorm(_EPSILON, name=f"norm_{i}")(x) if normed else x)
        return tuple(maps) if self.every_stage else (maps[0], maps[-1])


def _register(name: str) -> None:
    @ENCODERS.register(name)
    def build(
        *,
        output_stride: int,
        every_stage: bool,
        in_channels: int,
        remat: bool,
        numerics: Numerics,
    ) -> ConvNext:
        shape = CONVNEXT[name]
        return ConvNext(shape, output_stride, every_stage, in_channels, remat, numerics)


for _name in CONVNEXT.names():
    _register(_name)
