"""ConvNeXt encoders against transformers: ConvNeXt version 1 and DINOv3's."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models import create_model, init_variables
from ipixmatch_jax.models.convnext import CONVNEXT, ConvNext, ConvNextShape
from ipixmatch_jax.models.layers import Numerics
from ipixmatch_jax.models.torch_bridge import from_torch, to_torch
from tests.references.encoder_parity import (
    abstract,
    compare_encoder,
    compare_in_float32,
    numbers,
    parameters,
    smallest_first,
    torch_parameters,
)

TINY = ConvNextShape((4, 6, 8, 10), (1, 2, 1, 1))
STAGES = ["stage1", "stage2", "stage3", "stage4"]


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def tiny(dtype=jnp.float64, **options):
    return ConvNext(TINY, numerics=Numerics(dtype), **options)


def options(shape):
    return dict(hidden_sizes=list(shape.widths), depths=list(shape.depths))


def network(kind, shape=TINY, seed=0, **more):
    transformers = pytest.importorskip("transformers")
    from tests.references.torch_dpt import randomised

    family = kind.removesuffix("Model").removesuffix("Backbone")
    config = getattr(transformers, f"{family}Config")(**options(shape), **more)
    return randomised(getattr(transformers, kind)(config), seed)


def last_map(model, images):
    """The last map of a ConvNextModel, with the norm that follows the network at every pixel."""
    features = model(images).last_hidden_state
    return model.layernorm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("size", [(64, 96), (67, 45)], ids=str)
def test_every_stage_equals_transformers_in_features_and_gradients(size, float64):
    theirs = network("ConvNextBackbone", out_features=STAGES)
    encoder = tiny(every_stage=True)

    def maps_of(x):
        return theirs(x).feature_maps

    compare_encoder(encoder, theirs, maps_of, size, tolerance=1e-12, prefix="backbone.")


@pytest.mark.parametrize("kind", ["ConvNextModel", "DINOv3ConvNextModel"])
def test_the_ends_equal_transformers_in_features_and_gradients(kind, float64):
    size = (45, 67)
    theirs = network(kind, **({"layer_norm_eps": 1e-6} if kind == "ConvNextModel" else {}))

    def maps_of(x):
        out = theirs(x, output_hidden_states=True)
        first = next(h for h in out.hidden_states[1:] if h.shape[1] == TINY.widths[0])
        if kind == "ConvNextModel":
            return first, last_map(theirs, x)
        tokens = out.last_hidden_state[:, 1:]  # the first is the mean of the others
        return first, tokens.transpose(1, 2).reshape(2, -1, size[0] // 32, size[1] // 32)

    compare_encoder(tiny(), theirs, maps_of, size, tolerance=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", CONVNEXT.names())
def test_full_sizes_in_float32_equal_transformers(backbone):
    theirs = network("ConvNextModel", CONVNEXT[backbone], layer_norm_eps=1e-6)

    def maps_of(net, x):
        hidden = net(x, output_hidden_states=True).hidden_states
        return hidden[1], last_map(net, x)

    compare_in_float32(ConvNext(CONVNEXT[backbone]), theirs, maps_of, (67, 45))


def dilated(theirs, output_stride):
    """Strides beyond `output_stride` become dilations, in transformers' own modules."""
    from torch import nn

    reached, dilation = 4, 1
    for stage in theirs.encoder.stages[1:]:
        norm, conv = stage.downsampling_layer
        if reached * 2 > output_stride:
            pad = nn.ZeroPad2d((dilation // 2, dilation - dilation // 2) * 2)
            conv.stride, conv.dilation = (1, 1), (dilation, dilation)
            stage.downsampling_layer = nn.ModuleList([norm, pad, conv])
            dilation *= 2
        else:
            reached *= 2
        for layer in stage.layers:
            layer.dwconv.dilation = (dilation, dilation)
            layer.dwconv.padding = (3 * dilation, 3 * dilation)
    return theirs


@pytest.mark.parametrize("output_stride", [16, 8])
def test_strides_become_dilations_and_weights_still_fit(output_stride, float64):
    torch = pytest.importorskip("torch")
    theirs = network("ConvNextModel", layer_norm_eps=1e-6)
    encoder = tiny(output_stride=output_stride)
    variables = from_torch(numbers(theirs), abstract(encoder, np.float64))
    x = np.random.default_rng(0).normal(size=(1, 64, 80, 3))
    with torch.no_grad():
        there = last_map(dilated(theirs, output_stride), torch.tensor(x).permute(0, 3, 1, 2))
    params = {"params": variables["params"]["encoder"]}
    low, high = jax.jit(lambda v, x: encoder.apply(v, x, False))(params, jnp.asarray(x))
    assert low.shape[1:3] == (16, 20) and high.shape[1] == 64 // output_stride
    np.testing.assert_allclose(high, there.permute(0, 2, 3, 1), rtol=0, atol=1e-12)


def original(state):
    """The names of facebookresearch/ConvNeXt for those of transformers' ConvNextModel."""
    rules = (
        (r"embeddings\.patch_embeddings", "downsample_layers.0.0"),
        (r"embeddings\.layernorm", "downsample_layers.0.1"),
        (r"encoder\.stages\.(\d)\.downsampling_layer\.(\d)", r"downsample_layers.\1.\2"),
        (r"encoder\.stages\.(\d)\.layers\.(\d+)", r"stages.\1.\2"),
        (r"layernorm", "norm"),
        (r"layer_scale_parameter", "gamma"),
    )
    return _renamed(state, rules)


def timm(state):
    rules = (
        (r"downsample_layers\.0\.(\d)", r"stem.\1"),
        (r"downsample_layers\.(\d)\.(\d)", r"stages.\1.downsample.\2"),
        (r"stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
        (r"dwconv", "conv_dw"),
        (r"pwconv(\d)", r"mlp.fc\1"),
        (r"^norm", "head.norm"),
    )
    return _renamed(original(state), rules)


def _renamed(state, rules):
    renamed = {}
    for name, value in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


def classifier(state, weight, bias):
    return state | {weight: np.zeros((1000, 10)), bias: np.zeros(1000)}


def test_every_source_of_weights_gives_the_same(tmp_path):
    pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.numpy")
    theirs = network("ConvNextModel").float()
    dinov3 = network("DINOv3ConvNextModel").float()
    start = init_variables(model_of(), jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    state = numbers(theirs)
    expected = from_torch(state, start)
    prefixed = {f"convnext.{name}": value for name, value in state.items()}
    facebook = original(state)
    twice = {f"norms.3.{leaf}": facebook[f"norm.{leaf}"] for leaf in ("weight", "bias")}
    for other in (
        classifier(prefixed, "classifier.weight", "classifier.bias"),
        classifier(facebook, "head.weight", "head.bias"),
        facebook | twice,
        classifier(timm(state), "head.fc.weight", "head.fc.bias"),
    ):
        jax.tree.map(np.testing.assert_array_equal, from_torch(other, start), expected)
    dinov3.save_pretrained(tmp_path)
    file = safetensors.load_file(tmp_path / "model.safetensors")
    jax.tree.map(
        np.testing.assert_array_equal,
        from_torch(file, start),
        from_torch(numbers(dinov3), start),
    )


@pytest.mark.parametrize(
    "kind, layout",
    [
        ("ConvNextModel", "transformers_convnext"),
        ("DINOv3ConvNextModel", "transformers_dinov3_convnext"),
    ],
)
def test_export_loads_strictly(kind, layout):
    torch = pytest.importorskip("torch")
    theirs = network(kind).float()
    start = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), abstract(tiny(jnp.float32)))
    exported = to_torch(from_torch(numbers(theirs), start), layout)
    tensors = {name: torch.tensor(value) for name, value in exported.items()}
    network(kind, seed=1).float().load_state_dict(tensors, strict=True)
    for name, value in numbers(theirs).items():
        np.testing.assert_array_equal(exported[name], value)


def test_norms_that_a_source_lacks_keep_their_values():
    pytest.importorskip("torch")
    encoder = tiny(jnp.float32, every_stage=True)
    start = jax.tree.map(lambda a: np.full(a.shape, 3, a.dtype), abstract(encoder))
    filled = from_torch(numbers(network("ConvNextModel")), start)["params"]["encoder"]
    for i in range(4):
        assert (filled[f"norm_{i}"]["scale"] == 3).all() == (i < 3)


def model_of(**options):
    from ipixmatch_jax.models.deeplabv3plus import Head
    from ipixmatch_jax.models.encoder_decoder import EncoderDecoder

    return EncoderDecoder(tiny(jnp.float32, **options), Head(3, 8, 4, (1, 2), True, Numerics()))


@pytest.mark.parametrize("kind", ["ConvNext", "DINOv3ConvNext"])
@pytest.mark.parametrize("backbone", smallest_first(CONVNEXT.names(), "convnext_tiny"))
def test_parameters_are_as_many_as_in_transformers(backbone, kind):
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{kind}Config")(**options(CONVNEXT[backbone]))
    there = torch_parameters(lambda: getattr(transformers, f"{kind}Model")(config))
    model = create_model("deeplabv3plus", num_classes=21, backbone=backbone)
    assert parameters(abstract(model, name="")["params"]["encoder"]) == there


def test_published_number_of_parameters():
    # Table 1 of arXiv 2201.03545: 28.6 million with the classifier of 1000 classes.
    model = create_model("deeplabv3plus", num_classes=21, backbone="convnext_tiny")
    encoder = parameters(abstract(model, name="")["params"]["encoder"])
    assert encoder + 1000 * 768 + 1000 == 28_589_128


def test_sizes_that_are_too_small():
    with pytest.raises(ConfigError, match="31x40 pixels are too small .* at least 32x32"):
        abstract(tiny(jnp.float32), size=(31, 40))
    assert abstract(tiny(jnp.float32, output_stride=16), size=(16, 31))
    with pytest.raises(ConfigError, match="3 channels, the model expects 4"):
        abstract(tiny(jnp.float32, in_channels=4))


def test_remat_and_bfloat16_change_little():
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 33, 47, 3)), jnp.float32)
    plain, slim = model_of(), model_of(remat=True)
    variables = init_variables(plain, jax.random.key(0), images)

    def scale_of(variables):
        return variables["params"]["encoder"]["stage_0"]["block_00"]["layer_scale"]

    # All the rest is not compiled.
    scale = jax.jit(lambda k: scale_of(plain.init(k, images, train=False)))(jax.random.key(0))
    np.testing.assert_array_equal(scale, scale_of(variables))
    np.testing.assert_array_equal(scale, np.float32(1e-6))
    variables = jax.tree.map(lambda a: np.where(a == np.float32(1e-6), 1, a), variables)
    outputs = [jax.jit(m.apply)(variables, images) for m in (plain, slim)]
    np.testing.assert_array_equal(*outputs)
    params = {"params": variables["params"]["encoder"]}
    narrow, wide = (
        jax.jit(partial(tiny(dtype).apply, train=False))(params, images)
        for dtype in (jnp.bfloat16, jnp.float32)
    )
    for a, b in zip(narrow, wide, strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(a.astype(jnp.float32), b, atol=0.1 * np.abs(b).max())
