"""EfficientNet-Lite encoders with a chosen output stride.

The lite variants have no squeeze-and-excitation and use ReLU6 (Tan and Le, arXiv 1905.11946;
tensorflow/tpu models/official/efficientnet/lite). Their batch norm has momentum 0.99 and
epsilon 1e-3, and their images are normalized by 127 and 128 on the scale 0..255.

Padding is SAME for the actual image size, as in TensorFlow. The PyTorch weights were trained with
the padding of one fixed size: 224x224 for lite0, 240 for lite1, 260 for lite2. SAME equals lite0's
padding at every size that is a multiple of 32. With a side of 16k + 1, the corners of the sampled
grid are the corners of the image, as resizing with aligned corners assumes; with even sides the
grid lies up to 15 pixels to the lower right.
"""

import dataclasses
import itertools
import math
from typing import NamedTuple

import flax.linen as nn
import jax

from ipixmatch_jax.models.backbones import ENCODERS
from ipixmatch_jax.models.input_channels import RgbStatistics, check_channels
from ipixmatch_jax.models.layers import ConvNorm, Numerics, identity, relu6


class Stage(NamedTuple):
    blocks: int
    kernel: int
    stride: int
    expand: int
    features: int


LITE0_STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


# Width and depth of a variant, relative to lite0.
SCALES = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
}


def scaled_stages(stages: tuple[Stage, ...], width: float, depth: float) -> tuple[Stage, ...]:
    """Scales stages: `width` times the features, in multiples of 8, and `depth` times the blocks.

    The first and the last stage keep their number of blocks, as in the lite variants.
    """
    scaled = []
    for index, stage in enumerate(stages):
        inner = 0 < index < len(stages) - 1
        blocks = math.ceil(depth * stage.blocks) if inner else stage.blocks
        scaled.append(stage._replace(blocks=blocks, features=_in_eights(width * stage.features)))
    return tuple(scaled)


def _in_eights(features: float) -> int:
    """The multiple of 8 nearest to `features`; the next one if that is over 10 % too small."""
    rounded = max(8, int(features + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * features else rounded + 8


class InvertedResidual(nn.Module):
    """Expands by 1x1, filters by depthwise k x k, projects by 1x1; `skip` adds the input."""

    features: int
    kernel: int
    stride: int
    dilation: int
    expand: int
    skip: bool
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y, width = x, x.shape[-1] * self.expand
        if self.expand != 1:
            y = ConvNorm(width, act=relu6, numerics=self.numerics, name="expand")(y, train)
        y = ConvNorm(
            width,
            self.kernel,
            self.stride,
            self.dilation,
            depthwise=True,
            act=relu6,
            numerics=self.numerics,
            name="depthwise",
        )(y, train)
        y = ConvNorm(self.features, act=identity, numerics=self.numerics, name="project")(y, train)
        return x + y if self.skip else y


class EfficientNetLite(RgbStatistics, nn.Module):
    """Images [B,H,W,in_channels] → features at stride 4 and at `output_stride`.

    With `every_stage` it returns the last features at each stride from 4 on instead. After
    `output_stride` is reached, each stride becomes a dilation of the convolutions after it (arXiv
    1706.05587), so that weights fit at any output stride. `remat` recomputes the inner activations
    of each block in the backward pass.
    """

    stages: tuple[Stage, ...] = LITE0_STAGES
    output_stride: int = 16
    in_channels: int = 3
    remat: bool = False
    numerics: Numerics = Numerics(momentum=0.99, epsilon=1e-3)
    every_stage: bool = False

    rgb_mean = (127 / 255,) * 3
    rgb_std = (128 / 255,) * 3

    @property
    def frame_multiple(self) -> int:
        return self.output_stride

    @property
    def layers(self) -> tuple[tuple[str, ...], ...]:
        counts = [stage.blocks for stage in self.stages]
        ends = itertools.accumulate(counts)
        blocks = (range(end - count, end) for count, end in zip(counts, ends, strict=True))
        return ("stem",), *(tuple(f"block_{i:02d}" for i in stage) for stage in blocks)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        check_channels(x, self.in_channels)
        block = nn.remat(InvertedResidual, static_argnums=(2,)) if self.remat else InvertedResidual
        x = ConvNorm(32, 3, 2, act=relu6, numerics=self.numerics, name="stem")(x, train)
        reached, dilation, index, maps = 2, 1, 0, {}
        for stage in self.stages:
            stride, next_dilation = stage.stride, dilation
            if reached * stride > self.output_stride:
                stride, next_dilation = 1, dilation * stage.stride
            reached *= stride
            for repeat in range(stage.blocks):
                first = repeat == 0
                # By the stride that the weights were trained with, not the one in use here.
                skip = x.shape[-1] == stage.features and not (first and stage.stride > 1)
                x = block(
                    stage.features,
                    stage.kernel,
                    stride if first else 1,
                    dilation if first else next_dilation,
                    stage.expand,
                    skip,
                    self.numerics,
                    name=f"block_{index:02d}",
                )(x, train)
                index += 1
            dilation = next_dilation
            maps[reached] = x
        maps.pop(2, None)
        return tuple(maps.values()) if self.every_stage else (maps[4], x)


def _register(name: str, width: float, depth: float) -> None:
    @ENCODERS.register(name)
    def build(
        *,
        output_stride: int,
        every_stage: bool,
        in_channels: int,
        remat: bool,
        numerics: Numerics,
    ) -> EfficientNetLite:
        stages = scaled_stages(LITE0_STAGES, width, depth)
        numerics = dataclasses.replace(numerics, momentum=0.99, epsilon=1e-3)
        return EfficientNetLite(stages, output_stride, in_channels, remat, numerics, every_stage)


for _name, _scale in SCALES.items():
    _register(_name, *_scale)
