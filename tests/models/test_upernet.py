"""UPerNet against transformers, on ConvNeXt and on ResNets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.models import create_model
from ipixmatch_jax.models.convnext import ConvNext, ConvNextShape
from ipixmatch_jax.models.encoder_decoder import EncoderDecoder
from ipixmatch_jax.models.half_pixel import adaptive_average, resize_half_pixel
from ipixmatch_jax.models.layers import Numerics
from ipixmatch_jax.models.resnet import Bottleneck, ResNet
from ipixmatch_jax.models.torch_bridge import from_torch, to_torch
from ipixmatch_jax.models.upernet import Head
from tests.references.encoder_parity import (
    abstract,
    channels_last,
    gradients,
    numbers,
    parameters,
    torch_parameters,
)

CLASSES, CHANNELS = 5, 6
TINY = ConvNextShape((4, 6, 8, 10), (1, 1, 1, 1))
STAGES = ["stage1", "stage2", "stage3", "stage4"]


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def tiny(backbone="convnext", dtype=jnp.float32):
    numerics = Numerics(dtype)
    if backbone == "convnext":
        encoder = ConvNext(TINY, every_stage=True, numerics=numerics)
    else:
        blocks = (1, 1, 1, 1)
        encoder = ResNet(Bottleneck, blocks, width=8, output_stride=32, every_stage=True,
                         numerics=numerics)  # fmt: skip
    return EncoderDecoder(encoder, Head(CLASSES, CHANNELS, numerics))


def network(backbone="convnext", seed=0, auxiliary=False):
    transformers = pytest.importorskip("transformers")
    from tests.references.torch_dpt import randomised

    if backbone == "convnext":
        below = transformers.ConvNextConfig(
            hidden_sizes=list(TINY.widths), depths=list(TINY.depths), out_features=STAGES
        )
    else:
        below = transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[32, 64, 128, 256], depths=[1, 1, 1, 1],
            layer_type="bottleneck", out_features=STAGES,
        )  # fmt: skip
    config = transformers.UperNetConfig(
        backbone_config=below, hidden_size=CHANNELS, num_labels=CLASSES,
        use_auxiliary_head=auxiliary,
    )  # fmt: skip
    return randomised(transformers.UperNetForSemanticSegmentation(config), seed)


@pytest.mark.parametrize("size", [(64, 96), (37, 75)], ids=str)
def test_training_equals_transformers(size, float64):
    torch = pytest.importorskip("torch")
    theirs, model = network().train(), tiny(dtype=jnp.float64)
    variables = from_torch(numbers(theirs), abstract(model, np.float64, name=""))
    rng = np.random.default_rng(1)
    x, weights = rng.normal(size=(3, *size, 3)), rng.normal(size=(3, *size, CLASSES))
    there = theirs(torch.tensor(x).permute(0, 3, 1, 2)).logits
    (there * torch.tensor(weights).permute(0, 3, 1, 2)).sum().backward()

    def loss(params, x):
        full = {**variables, "params": params}
        logits, new = model.apply(full, x, train=True, mutable=["batch_stats"])
        return jnp.sum(logits * weights), (logits, new)

    grads, (here, new) = jax.jit(jax.grad(loss, has_aux=True))(variables["params"], jnp.asarray(x))
    there = channels_last(there)
    np.testing.assert_allclose(here, there, rtol=0, atol=1e-9 * np.abs(there).max())
    expected = from_torch(gradients(theirs), variables)
    atol = 1e-9 * max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected["params"]))
    close = np.testing.assert_allclose
    jax.tree.map(lambda a, b: close(a, b, rtol=0, atol=atol), grads, expected["params"])
    jax.tree.map(lambda a, b: close(a, b, rtol=1e-9), new["batch_stats"], expected["batch_stats"])


@pytest.mark.parametrize("backbone", ["convnext", "resnet"])
def test_evaluation_in_float32_equals_transformers(backbone):
    torch = pytest.importorskip("torch")
    theirs, model = network(backbone).float().eval(), tiny(backbone)
    variables = from_torch(numbers(theirs), abstract(model, name=""))
    x = np.random.default_rng(2).normal(size=(2, 65, 97, 3)).astype(np.float32)
    with torch.no_grad():
        there = channels_last(theirs(torch.tensor(x).permute(0, 3, 1, 2)).logits)
    with jax.default_matmul_precision("highest"):
        here = jax.jit(model.apply)(variables, x)
    np.testing.assert_allclose(here, there, rtol=0, atol=1e-4 * np.abs(there).max())


@pytest.mark.parametrize("backbone", ["convnext", "resnet"])
def test_export_loads_strictly_and_an_auxiliary_head_is_left_out(backbone):
    torch = pytest.importorskip("torch")
    start = abstract(tiny(backbone), name="")
    state = numbers(network(backbone, auxiliary=True).float())
    assert any(name.startswith("auxiliary_head") for name in state)
    exported = to_torch(from_torch(state, start))
    tensors = {name: torch.tensor(value) for name, value in exported.items()}
    missing = network(backbone, seed=1).float().load_state_dict(tensors, strict=False)
    assert not missing.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    for name, value in exported.items():
        np.testing.assert_array_equal(value, state[name])


@pytest.mark.parametrize("side", [1, 2, 3, 6])
def test_pools_and_resizing_equal_pytorch(side):
    functional = pytest.importorskip("torch").nn.functional
    import torch

    x = np.random.default_rng(0).normal(size=(1, 4, 7, 2)).astype(np.float32)
    there = torch.tensor(x).permute(0, 3, 1, 2)
    pooled = functional.adaptive_avg_pool2d(there, side)
    here = adaptive_average(jnp.asarray(x), side)
    np.testing.assert_allclose(here, channels_last(pooled), atol=1e-6)
    # Also to a smaller map, where no antialiasing takes place.
    resized = functional.interpolate(pooled, (2, 9), mode="bilinear")
    np.testing.assert_allclose(resize_half_pixel(here, (2, 9)), channels_last(resized), atol=1e-6)


def test_parameters_are_as_many_as_in_transformers():
    transformers = pytest.importorskip("transformers")
    config = transformers.UperNetConfig(
        backbone_config=transformers.ConvNextConfig(
            hidden_sizes=[96, 192, 384, 768], out_features=STAGES
        ),
        num_labels=150, use_auxiliary_head=False,
    )  # fmt: skip
    there = torch_parameters(lambda: transformers.UperNetForSemanticSegmentation(config))
    model = create_model("upernet", num_classes=150, backbone="convnext_tiny")
    assert parameters(abstract(model, name="")["params"]) == there


def test_a_vision_transformer_gives_four_blocks():
    model = create_model("upernet", num_classes=3, backbone="dinov3_small", decoder_channels=8)
    head = abstract(model, name="")["params"]["head"]
    assert head["lateral_2"]["conv"]["kernel"].shape == (1, 1, 384, 8)
