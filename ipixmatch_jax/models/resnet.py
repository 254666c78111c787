"""ResNet encoders with a chosen output stride, numerically equal to PyTorch's.

He et al., arXiv 1512.03385; the stride of a bottleneck is at its 3x3 convolution, as in torchvision
and timm. Padding is PyTorch's, the same number of pixels on every side: each stride of 2 maps n
pixels to ⌈n / 2⌉, starting at the first row and column.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models.backbones import ENCODERS
from ipixmatch_jax.models.create import choice, positive
from ipixmatch_jax.models.extent import cut
from ipixmatch_jax.models.input_channels import RgbStatistics, check_channels
from ipixmatch_jax.models.layers import ConvNorm, Numerics, identity
from ipixmatch_jax.models.max_pool import max_pool_3x3

# Widths of the three 3x3 convolutions that replace the 7x7 one of the 'plain' stem.
STEMS = {"plain": (), "deep": (64, 64, 128), "deep_narrow": (32, 32, 64)}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: [B,H,W,·] → [B,⌈H/s⌉,⌈W/s⌉,width].

    `dilation`: of the strided convolution, and of the convolutions after it.
    """

    width: int
    stride: int
    dilation: tuple[int, int]
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        first, then = self.dilation
        y = _conv(self.width, 3, self.stride, first, self.numerics, name="conv1")(x, train)
        y = _conv(self.width, 3, 1, then, self.numerics, act=identity, name="conv2")(y, train)
        return nn.relu(y + _shortcut(x, self.width, self.stride, self.numerics, train))


class Bottleneck(nn.Module):
    """1x1 to `width`, 3x3, 1x1 to 4·width, and a shortcut: [B,H,W,·] → [B,⌈H/s⌉,⌈W/s⌉,4·width]."""

    width: int
    stride: int
    dilation: tuple[int, int]
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        out, numerics = 4 * self.width, self.numerics
        y = _conv(self.width, 1, 1, 1, numerics, name="conv1")(x, train)
        y = _conv(self.width, 3, self.stride, self.dilation[0], numerics, name="conv2")(y, train)
        y = _conv(out, 1, 1, 1, numerics, act=identity, name="conv3")(y, train)
        return nn.relu(y + _shortcut(x, out, self.stride, numerics, train))


def _conv(features, kernel, stride, dilation, numerics, *, act=nn.relu, name) -> ConvNorm:
    return ConvNorm(
        features,
        kernel,
        stride,
        dilation,
        symmetric=True,
        act=act,
        numerics=numerics,
        name=name,
    )


def _shortcut(x, features, stride, numerics, train):
    if x.shape[-1] == features and stride == 1:
        return x
    # Sampled before the 1x1 convolution, which at stride 1 is a matrix product.
    x = x[:, ::stride, ::stride]
    return _conv(features, 1, 1, 1, numerics, act=identity, name="shortcut")(x, train)


class _Variant(NamedTuple):
    block: type[nn.Module]
    blocks: tuple[int, int, int, int]


VARIANTS = {
    "resnet18": _Variant(BasicBlock, (2, 2, 2, 2)),
    "resnet34": _Variant(BasicBlock, (3, 4, 6, 3)),
    "resnet50": _Variant(Bottleneck, (3, 4, 6, 3)),
    "resnet101": _Variant(Bottleneck, (3, 4, 23, 3)),
}


class ResNet(RgbStatistics, nn.Module):
    """Images [B,H,W,in_channels] → features at stride 4 and at `output_stride`.

    With `every_stage` it returns the features of all four stages instead. After `output_stride` is
    reached, the stride of a stage becomes a dilation of the convolutions after it, so that weights
    fit at any output stride; the strided convolution of the stage's first block keeps the dilation
    of the stage before. `multi_grid` multiplies the dilations of the last stage, with one factor
    for each block (arXiv 1706.05587). `remat` recomputes the inner activations of each block in the
    backward pass.
    """

    block: type[nn.Module]
    blocks: tuple[int, ...]
    stem: str = "plain"
    width: int = 64
    output_stride: int = 16
    every_stage: bool = False
    multi_grid: tuple[int, ...] | None = None
    in_channels: int = 3
    remat: bool = False
    numerics: Numerics = Numerics()

    @property
    def frame_multiple(self) -> int:
        return self.output_stride

    @property
    def layers(self) -> tuple[tuple[str, ...], ...]:
        deep = range(len(STEMS[self.stem]))
        stem = tuple(f"stem_{i}" for i in deep) or ("stem",)
        stages = enumerate(self.blocks, start=1)
        return stem, *(tuple(f"layer{i}_{j}" for j in range(n)) for i, n in stages)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        check_channels(x, self.in_channels)
        extent = self.numerics.extent
        x = cut(max_pool_3x3(cut(self._stem(x, train), extent, -math.inf)), extent)
        block = nn.remat(self.block, static_argnums=(2,)) if self.remat else self.block
        maps, reached, dilation = [], 4, 1
        for stage, count in enumerate(self.blocks):
            stride, next_dilation = 2 if stage else 1, dilation
            if reached * stride > self.output_stride:
                stride, next_dilation = 1, dilation * stride
            reached *= stride
            last = stage == len(self.blocks) - 1
            grid = self.multi_grid if last and self.multi_grid else (1,) * count
            for index, factor in enumerate(grid):
                first = index == 0
                x = block(
                    self.width * 2**stage,
                    stride if first else 1,
                    ((dilation if first else next_dilation) * factor, next_dilation * factor),
                    self.numerics,
                    name=f"layer{stage + 1}_{index}",
                )(x, train)
            dilation = next_dilation
            maps.append(x)
        return tuple(maps) if self.every_stage else (maps[0], maps[-1])

    def _stem(self, x: jax.Array, train: bool) -> jax.Array:
        if self.stem == "plain":
            return _conv(self.width, 7, 2, 1, self.numerics, name="stem")(x, train)
        for i, features in enumerate(STEMS[self.stem]):
            x = _conv(features, 3, 1 if i else 2, 1, self.numerics, name=f"stem_{i}")(x, train)
        return x


def _register(name: str, variant: _Variant) -> None:
    @ENCODERS.register(name)
    def build(
        *,
        output_stride: int,
        every_stage: bool,
        in_channels: int,
        remat: bool,
        numerics: Numerics,
        stem: str = "plain",
        multi_grid: Sequence[int] | None = None,
    ) -> ResNet:
        choice(name, "stem", stem, STEMS)
        if multi_grid is not None:
            multi_grid = _checked_grid(name, multi_grid, variant.blocks[-1])
        return ResNet(
            variant.block,
            variant.blocks,
            stem,
            output_stride=output_stride,
            every_stage=every_stage,
            multi_grid=multi_grid,
            in_channels=in_channels,
            remat=remat,
            numerics=numerics,
        )


def _checked_grid(name: str, multi_grid: Sequence[int], blocks: int) -> tuple[int, ...]:
    if not isinstance(multi_grid, list | tuple) or len(multi_grid) != blocks:
        raise ConfigError(
            f"backbone {name!r}: multi_grid is {multi_grid!r}; give {blocks} numbers, a factor of "
            f"the dilation for each block of the last stage, such as {[1, 2, 4][:blocks]}"
        )
    positive(name, **{f"multi_grid[{i}]": factor for i, factor in enumerate(multi_grid)})
    return tuple(multi_grid)


for _name, _variant in VARIANTS.items():
    _register(_name, _variant)
