"""ResNet encoders and DeepLabV3+ on them against PyTorch, whole checkpoints included."""

import copy
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.models import create_model, init_variables
from ipixmatch_jax.models.layers import Numerics
from ipixmatch_jax.models.resnet import BasicBlock, Bottleneck, ResNet
from ipixmatch_jax.models.torch_bridge import from_torch, to_torch

CLASSES = 5


def abstract(model, size=(33, 33), channels=3, dtype=None):
    """Shapes of the variables, in float64 if so asked."""
    images = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
    shapes = jax.eval_shape(lambda k, x: model.init(k, x, train=False), jax.random.key(0), images)
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, dtype or a.dtype), shapes)


def arrays(network):
    return {name: value.detach().numpy() for name, value in network.state_dict().items()}


def channels_last(tensor):
    return tensor.detach().permute(0, 2, 3, 1).numpy()


def images(*shape):
    return np.random.default_rng(0).normal(size=(*shape, 3))


@functools.cache
def reference(kind, blocks, stem, stride, grid=None, width=64):
    """The whole PyTorch model in float64; ASPP rates so small that they touch a small map."""
    torch_deeplab = pytest.importorskip("tests.references.torch_deeplab")
    backbone = torch_deeplab.ResNet(kind, blocks, stem, stride, grid, width)
    network = torch_deeplab.TorchDeepLab(backbone, CLASSES, (1, 2, 3), 16, 8)
    return torch_deeplab.randomised(network, seed=1)


def model_of(backbone, dtype="float32", **options):
    head = dict(atrous_rates=(1, 2, 3), decoder_channels=16, low_level_channels=8)
    return create_model(
        "deeplabv3plus", num_classes=CLASSES, backbone=backbone, dtype=dtype, **head, **options
    )


@pytest.mark.parametrize(
    "classes, backbone, count",
    [(21, "resnet50", 40_475_957), (21, "resnet101", 59_468_085), (19, "resnet101", 59_467_571)],
)
def test_published_numbers_of_parameters(classes, backbone, count):
    options = dict(backbone=backbone, stem="deep", output_stride=16)
    model = create_model("deeplabv3plus", num_classes=classes, **options)
    assert sum(leaf.size for leaf in jax.tree.leaves(abstract(model)["params"])) == count


@pytest.mark.slow
def test_resnet50_logits_in_float32_equal_pytorch():
    torch = pytest.importorskip("torch")
    network = reference("bottleneck", (3, 4, 6, 3), "deep", 16).eval()
    model = model_of("resnet50", stem="deep", output_stride=16)
    # As DistributedDataParallel names them.
    state = {f"module.{name}": value for name, value in arrays(network).items()}
    variables = from_torch(state, abstract(model))
    x = images(2, 33, 65)
    with torch.no_grad():
        expected = channels_last(network(torch.tensor(x).permute(0, 3, 1, 2)))
    with jax.default_matmul_precision("highest"):
        found = jax.jit(model.apply)(variables, jnp.asarray(x, jnp.float32))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def check_training(network, model, x):
    """Logits, gradients and running statistics after one pass, in float64 on both sides."""
    import torch

    network = copy.deepcopy(network)
    variables = from_torch(arrays(network), abstract(model, dtype=np.float64))
    logits = network.train()(torch.tensor(x).permute(0, 3, 1, 2))
    logits.square().mean().backward()
    after = arrays(network) | {name: p.grad.numpy() for name, p in network.named_parameters()}

    def loss(params, x):
        full = {**variables, "params": params}
        found, new = model.apply(full, x, train=True, mutable=["batch_stats"])
        return jnp.mean(found**2), (found, new["batch_stats"])

    step = jax.jit(jax.grad(loss, has_aux=True))
    grads, (found, stats) = step(variables["params"], jnp.asarray(x))
    there = channels_last(logits)
    np.testing.assert_allclose(found, there, rtol=0, atol=1e-9 * np.abs(there).max())
    expected = from_torch(after, {"params": grads, "batch_stats": stats})
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected["params"]))
    close = functools.partial(np.testing.assert_allclose, rtol=0)
    jax.tree.map(
        lambda a, b: close(a, b, atol=1e-6 * np.abs(b).max() + 1e-9 * largest),
        grads,
        expected["params"],
    )
    jax.tree.map(
        lambda a, b: close(a, b, atol=1e-9 * np.abs(b).max()), stats, expected["batch_stats"]
    )


@pytest.mark.slow
def test_resnet50_trains_as_pytorch():
    pytest.importorskip("torch")
    network = reference("bottleneck", (3, 4, 6, 3), "deep", 16)
    with jax.enable_x64(True):
        model = model_of("resnet50", "float64", stem="deep", output_stride=16)
        check_training(network, model, images(3, 33, 33))


DILATED = [
    pytest.param("basic", "plain", None, marks=pytest.mark.slow),
    ("bottleneck", "deep", (2, 4)),
]


@pytest.mark.parametrize("kind, stem, grid", DILATED, ids=str)
def test_dilated_stages_train_as_pytorch(kind, stem, grid):
    pytest.importorskip("torch")
    network = reference(kind, (1, 1, 2, 2), stem, 8, grid, width=8)
    block = BasicBlock if kind == "basic" else Bottleneck
    with jax.enable_x64(True):
        model = model_of("resnet18", "float64", stem=stem, output_stride=8, multi_grid=grid)
        # Recomputing in the backward pass changes neither names nor gradients.
        sizes = dict(block=block, blocks=(1, 1, 2, 2), width=8)
        encoder = model.encoder.clone(**sizes, remat=grid is not None)
        check_training(network, model.clone(encoder=encoder), images(2, 33, 41))


def test_dilation_gives_the_same_features_on_a_finer_grid():
    # At sides 32k + 1 a stride of 2 samples every other row from the first, up to the last.
    x = jnp.asarray(images(2, 97, 65), jnp.float32)
    highs, variables = {}, None
    for stride in (8, 16, 32):
        encoder = ResNet(BasicBlock, (1, 1, 2, 2), width=8, output_stride=stride)
        if variables is None:
            variables = init_variables(encoder, jax.random.key(0), x)
        low, highs[stride] = jax.jit(lambda v, x, e=encoder: e.apply(v, x, False))(variables, x)
        assert low.shape == (2, 25, 17, 8)
        assert highs[stride].shape == (2, 96 // stride + 1, 64 // stride + 1, 64)
    for fine, coarse in ((8, 16), (16, 32)):
        scale = float(jnp.abs(highs[coarse]).max())
        np.testing.assert_allclose(
            highs[fine][:, ::2, ::2], highs[coarse], rtol=0, atol=1e-5 * scale
        )


def test_encoder_equals_transformers():
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    randomised = pytest.importorskip("tests.references.torch_deeplab").randomised
    config = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[32, 64, 128, 256],
        depths=[1, 2, 1, 1],
        layer_type="bottleneck",
    )
    network = randomised(transformers.ResNetForImageClassification(config), seed=3).eval()
    x = images(2, 65, 47)
    with torch.no_grad():
        expected = network.resnet(torch.tensor(x).permute(0, 3, 1, 2), output_hidden_states=True)
    _, low_there, *_, high_there = map(channels_last, expected.hidden_states)
    with jax.enable_x64(True):
        encoder = ResNet(
            Bottleneck, (1, 2, 1, 1), width=8, output_stride=32, numerics=Numerics(jnp.float64)
        )
        shapes = jax.eval_shape(lambda k: encoder.init(k, jnp.asarray(x), False), jax.random.key(0))
        shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, np.float64), shapes)
        boxed = {kind: {"encoder": tree} for kind, tree in shapes.items()}
        filled = from_torch(arrays(network), boxed)
        bare = from_torch(arrays(network.resnet), boxed)
        jax.tree.map(np.testing.assert_array_equal, filled, bare)
        variables = {kind: tree["encoder"] for kind, tree in filled.items()}
        low, high = jax.jit(lambda v, x: encoder.apply(v, x, False))(variables, jnp.asarray(x))
    for found, there in ((low, low_there), (high, high_there)):
        np.testing.assert_allclose(found, there, rtol=0, atol=1e-10 * np.abs(there).max())


@pytest.mark.parametrize("stem", ["plain", "deep"])
def test_whole_checkpoints_go_both_ways(stem):
    torch = pytest.importorskip("torch")
    network = reference("basic", (2, 2, 2, 2), stem, 16)
    variables = from_torch(arrays(network), abstract(model_of("resnet18", stem=stem)))
    state = to_torch(variables)
    copied = copy.deepcopy(network).float()
    copied.load_state_dict({k: torch.tensor(v) for k, v in state.items()}, strict=True)
    for name, value in arrays(network).items():
        np.testing.assert_array_equal(
            arrays(copied)[name], value.astype(arrays(copied)[name].dtype)
        )
    jax.tree.map(
        np.testing.assert_array_equal,
        from_torch(state, abstract(model_of("resnet18", stem=stem))),
        variables,
    )


@pytest.mark.parametrize("stem", ["plain", "deep"])
def test_imagenet_weights_fill_the_encoder_alone(stem):
    backbone = reference("basic", (2, 2, 2, 2), stem, 16).backbone
    state = arrays(backbone) | {"fc.weight": np.zeros((9, 512)), "fc.bias": np.zeros(9)}
    shapes = abstract(model_of("resnet18", stem=stem, output_stride=8))
    filled = from_torch(state, shapes)
    assert filled["params"]["head"] == shapes["params"]["head"]
    encoder = filled["params"]["encoder"]
    first = "stem" if stem == "plain" else "stem_0"
    np.testing.assert_array_equal(
        encoder[first]["conv"]["kernel"][:, :, 2, 5],
        state["conv1.weight" if stem == "plain" else "conv1.0.weight"][5, 2].astype("f"),
    )
    np.testing.assert_array_equal(
        filled["batch_stats"]["encoder"]["layer3_0"]["shortcut"]["norm"]["var"],
        state["layer3.0.downsample.1.running_var"].astype("f"),
    )
    # The other stem's names are not there.
    other = {"plain": "deep", "deep": "plain"}[stem]
    with pytest.raises(CheckpointError, match="missing keys: .*conv1"):
        from_torch(state, abstract(model_of("resnet18", stem=other)))


def test_narrow_deep_stem_has_the_widths_of_timm():
    params = abstract(model_of("resnet18", stem="deep_narrow"))["params"]["encoder"]
    shapes = [params[f"stem_{i}"]["conv"]["kernel"].shape for i in range(3)]
    assert shapes == [(3, 3, 3, 32), (3, 3, 32, 32), (3, 3, 32, 64)]
