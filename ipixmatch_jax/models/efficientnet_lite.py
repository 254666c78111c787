"""EfficientNet-Lite encoders with a chosen output stride.

The lite variants have no squeeze-and-excitation and use ReLU6 (Tan and Le, arXiv 1905.11946;
tensorflow/tpu models/official/efficientnet/lite). Their batch norm has momentum 0.99 and
epsilon 1e-3, and their images are normalised by 127 and 128 on the scale 0..255.

Padding is SAME by the size at hand, as in TensorFlow. The PyTorch weights were made for pads
fixed at 224x224, which SAME reproduces at every size that 32 divides. A side of the form 16k + 1
samples a grid whose corners are the corners of the image, which is what resizing with aligned
corners assumes; at even sides the grid lies up to 15 pixels to the lower right.
"""

from typing import NamedTuple

import flax.linen as nn
import jax

from ipixmatch_jax.models.catalog import ENCODERS
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


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise k x k, project 1x1, and `skip` adds the input."""

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


class EfficientNetLite(nn.Module):
    """Images [B,H,W,3] → features at stride 4 and at `output_stride`.

    Past `output_stride` a stride becomes a dilation of the convolutions after it (arXiv
    1706.05587), so weights fit at any output stride. `remat` recomputes each block's inside in
    the backward pass.
    """

    stages: tuple[Stage, ...] = LITE0_STAGES
    output_stride: int = 16
    remat: bool = False
    numerics: Numerics = Numerics(momentum=0.99, epsilon=1e-3)

    input_mean = (127 / 255,) * 3
    input_std = (128 / 255,) * 3

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        block = nn.remat(InvertedResidual, static_argnums=(2,)) if self.remat else InvertedResidual
        x = ConvNorm(32, 3, 2, act=relu6, numerics=self.numerics, name="stem")(x, train)
        reached, dilation, index, low = 2, 1, 0, None
        for stage in self.stages:
            stride, next_dilation = stage.stride, dilation
            if reached * stride > self.output_stride:
                stride, next_dilation = 1, dilation * stage.stride
            reached *= stride
            for repeat in range(stage.blocks):
                first = repeat == 0
                # By the stride that the weights were made with, not the one in use here.
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
            if reached == 4:
                low = x
        return low, x


@ENCODERS.register("efficientnet_lite0")
def efficientnet_lite0(
    *, output_stride: int, remat: bool, dtype, axis_name: str | None
) -> EfficientNetLite:
    numerics = Numerics(dtype, axis_name, momentum=0.99, epsilon=1e-3)
    return EfficientNetLite(LITE0_STAGES, output_stride, remat, numerics)
