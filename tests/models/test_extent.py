"""Images in a frame get the logits that they get alone, whatever lies beside them."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.models import Twins, create_model
from ipixmatch_jax.models.convnext import ConvNext, ConvNextShape
from ipixmatch_jax.models.deeplabv3plus import Head as DeepLabHead
from ipixmatch_jax.models.dinov3 import Dinov3, Dinov3Shape
from ipixmatch_jax.models.dpt import DptShape
from ipixmatch_jax.models.dpt import Head as DptHead
from ipixmatch_jax.models.efficientnet_lite import EfficientNetLite, Stage
from ipixmatch_jax.models.encoder_decoder import EncoderDecoder
from ipixmatch_jax.models.extent import Extent
from ipixmatch_jax.models.layers import Numerics
from ipixmatch_jax.models.linear import Head as LinearHead
from ipixmatch_jax.models.mit import MitShape, MixTransformer
from ipixmatch_jax.models.resnet import BasicBlock, Bottleneck, ResNet
from ipixmatch_jax.models.segformer import Head as SegformerHead
from ipixmatch_jax.models.upernet import Head as UperHead
from ipixmatch_jax.models.vit import Dinov2, VitShape


def random_variables(model, side=64):
    """Variables without special values: no bias is zero, no running statistic is that of init."""
    rng = np.random.default_rng(0)
    image = jnp.zeros((1, side, side, 3))
    shapes = jax.eval_shape(lambda key: model.init(key, image), jax.random.key(0))

    def draw(path, leaf):
        if path[-1].key == "var":
            return rng.uniform(0.5, 2, leaf.shape).astype(np.float32)
        scale = np.sqrt(2 / np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 0.3
        values = scale * rng.standard_normal(leaf.shape)
        return (values + (path[-1].key in ("scale", "gamma"))).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def extent_of(frame, sizes):
    rows, columns = (jnp.asarray(side, jnp.int32) for side in zip(*sizes, strict=True))
    return Extent(frame, rows, columns)


def check(model, frame, sizes, side=64, tolerance=1e-5):
    """Compares the logits in a frame of NaN with those of each image alone."""
    variables = random_variables(model, side)
    rng = np.random.default_rng(1)
    images = [rng.standard_normal((1, *size, 3)).astype(np.float32) for size in sizes]
    batch = np.full((len(sizes), *frame, 3), np.nan, np.float32)
    for row, image in zip(batch, images, strict=True):
        row[: image.shape[1], : image.shape[2]] = image[0]

    @jax.jit
    def framed(variables, batch, rows, columns):
        return model.within(Extent(frame, rows, columns)).apply(variables, batch)

    extent = extent_of(frame, sizes)
    found = np.asarray(framed(variables, batch, extent.rows, extent.columns))
    alone = jax.jit(model.apply)
    for image, logits in zip(images, found, strict=True):
        expected = np.asarray(alone(variables, image))[0]
        actual = logits[: image.shape[1], : image.shape[2]]
        assert np.ptp(expected) > 0.1
        atol = tolerance * np.abs(expected).max()
        np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)
        np.testing.assert_array_equal(actual.argmax(-1), expected.argmax(-1))
    assert framed._cache_size() == 1


# Each size is one more network to compile. Odd, as wide or as high as the frame, tall, smaller than
# a stride, and other remainders of 16.
SIZES = ((33, 80), (64, 9), (3, 2), (22, 61))


def deeplab(encoder, norm="batch", rates=(2, 3), separable=False):
    numerics = Numerics(norm=norm)
    encoder = encoder(in_channels=3, numerics=numerics)
    return EncoderDecoder(encoder, DeepLabHead(4, 8, 4, rates, separable, numerics))


# One block of each kernel, stride and dilation.
LITE = (Stage(1, 3, 1, 1, 8), Stage(1, 3, 2, 2, 8), Stage(1, 5, 2, 2, 8), Stage(1, 3, 2, 2, 8),
        Stage(2, 5, 2, 2, 8))  # fmt: skip


@pytest.mark.parametrize("model", [
    deeplab(partial(EfficientNetLite, LITE)),
    deeplab(partial(EfficientNetLite, LITE, 8), separable=True),
    deeplab(partial(ResNet, BasicBlock, (1, 1, 1, 1), width=4), norm="group"),
    deeplab(partial(ResNet, Bottleneck, (1, 1, 1, 2), "deep", 4, 8, multi_grid=(1, 2))),
], ids=["lite", "lite-os8", "resnet-group", "resnet-os8"])  # fmt: skip
def test_deeplabv3plus(model):
    # As tests compile, sums of a group over a map round more than for users, where 1e-5 holds.
    group = model.encoder.numerics.norm == "group"
    check(model, (64, 80), SIZES, tolerance=3e-5 if group else 1e-5)


@pytest.mark.parametrize(("options", "frame"), [
    ({}, (64, 80)),
    ({"depth": 2, "stem_stride": 3, "norm": "group"}, (72, 84)),
    ({"depth": 1, "stem_stride": 2, "remat": True}, (64, 80)),
])  # fmt: skip
def test_unet(options, frame):
    check(create_model("unet", num_classes=4, width=4, **options), frame, SIZES)


def test_segformer():
    shape = MitShape((8, 8, 8, 8), (1, 1, 1, 1), 8, (1, 1, 1, 1))
    encoder = MixTransformer(shape)
    sizes = ((33, 96), (64, 29), (45, 61))
    check(EncoderDecoder(encoder, SegformerHead(4, 8, Numerics())), (64, 96), sizes)


CONVNEXT = ConvNextShape((8, 8, 8, 8), (1, 1, 1, 2))


# The norm is that of the head, which `test_deeplabv3plus` checks with both. Stride 16 dilates one
# stage, 8 two and 32 none.
@pytest.mark.parametrize(
    ("stride", "norm"),
    [(8, "batch"), pytest.param(16, "group", marks=pytest.mark.slow), (32, "batch")],
)
def test_convnext_drops_what_fills_no_window_of_an_image(stride, norm):
    encoder = partial(ConvNext, CONVNEXT, stride)
    sizes = ((33, 96), (64, 35), (32, 32), (61, 95))
    check(deeplab(encoder, norm), (64, 96), sizes)


# Fewer rows than pools, as many, more, and none that all pools divide.
def test_upernet():
    encoder = ConvNext(CONVNEXT, every_stage=True)
    model = EncoderDecoder(encoder, UperHead(4, 8, Numerics()))
    check(model, (224, 256), ((33, 47), (224, 205), (191, 256), (96, 160)))


# Whether the MLP is gated matters to no neighbor; `test_upernet` has the head's batch norm.
@pytest.mark.parametrize(
    ("gated", "norm"), [pytest.param(False, "batch", marks=pytest.mark.slow), (True, "group")]
)
def test_upernet_on_dinov3(gated, norm):
    encoder = Dinov3(Dinov3Shape(16, 4, 2, (0, 1, 2, 3), 24, gated, registers=2))
    model = EncoderDecoder(encoder, UperHead(4, 8, Numerics(norm=norm)))
    check(model, (112, 128), ((48, 96), (112, 112), (16, 128)))


def test_linear():
    encoder = Dinov2(VitShape(16, 4, 2, (0, 1), grid=3))
    sizes = ((42, 42), (56, 70), (14, 84))
    model = EncoderDecoder(encoder, LinearHead(4, 2, 8, Numerics()))
    check(model, (56, 84), sizes, side=56)


@pytest.mark.parametrize(("registers", "offset"), [(0, 0.1), (2, 0.0)])
def test_dpt(registers, offset):
    """Among the sizes is the grid that the position embedding was trained with, 3 x 3."""
    shape = VitShape(16, 4, 2, (0, 1, 2, 3), grid=3)
    encoder = Dinov2(shape, registers, offset, antialias=bool(registers))
    head = DptHead(4, DptShape(8, (4, 4, 4, 4)), Numerics())
    sizes = ((42, 42), (56, 70), (14, 84))
    check(EncoderDecoder(encoder, head), (56, 84), sizes, side=56)


def test_the_first_of_twins():
    twins = Twins(*(create_model("unet", num_classes=4, width=4, depth=1) for _ in range(2)))
    assert twins.frame_multiple == 2
    check(twins, (16, 20), ((9, 20), (16, 7)), side=16)


def test_a_head_that_ignores_the_extent_has_no_frames():
    encoder = MixTransformer(MitShape((8,) * 4, (1,) * 4, 8, (1,) * 4))
    assert EncoderDecoder(encoder, nn.Dense(4)).frame_multiple == 0
    model = EncoderDecoder(encoder, SegformerHead(4, 8, Numerics()))
    assert model.frame_multiple == 32
    with pytest.raises(ValueError, match="no multiple of 32"):
        model.within(extent_of((64, 90), [(9, 9)]))
