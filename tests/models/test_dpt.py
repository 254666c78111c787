"""DPT on DINOv2 against UniMatch V2's network in PyTorch."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models import create_model, feature_names
from ipixmatch_jax.models.dpt import DptShape, Head
from ipixmatch_jax.models.encoder_decoder import EncoderDecoder
from ipixmatch_jax.models.layers import Numerics
from ipixmatch_jax.models.torch_bridge import from_torch, to_torch
from ipixmatch_jax.models.vit import Dinov2, VitShape

VIT, DPT = VitShape(8, 4, 2, (0, 1, 2, 3), grid=5), DptShape(6, (4, 6, 8, 10))
CLASSES = 5


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def tiny(dtype=jnp.float32):
    numerics = Numerics(dtype)
    return EncoderDecoder(Dinov2(VIT, numerics=numerics), Head(CLASSES, DPT, numerics))


def abstract(model, dtype=np.float32, size=(70, 70), channels=3):
    images = jnp.zeros((1, *size, channels))
    variables = jax.eval_shape(lambda k: model.init(k, images, train=False), jax.random.key(0))
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, dtype), variables)


def both(dtype=np.float64):
    pytest.importorskip("torch")
    from tests.references.torch_dpt import Network, randomised

    network = randomised(Network(CLASSES, VIT, DPT), seed=0)
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    return network, from_torch(state, abstract(tiny(), dtype))


def test_equals_pytorch_in_logits_and_gradients(float64):
    torch, size = pytest.importorskip("torch"), (28, 98)
    network, variables = both()
    rng = np.random.default_rng(1)
    x, weights = rng.normal(size=(2, *size, 3)), rng.normal(size=(2, *size, CLASSES))
    there = network(torch.tensor(x).permute(0, 3, 1, 2))
    (there * torch.tensor(weights).permute(0, 3, 1, 2)).sum().backward()

    def loss(params, x):
        logits = tiny(jnp.float64).apply({"params": params}, x, train=True)
        return jnp.sum(logits * weights), logits

    grads, here = jax.jit(jax.grad(loss, has_aux=True))(variables["params"], jnp.asarray(x))
    there = there.detach().permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(here, there, rtol=0, atol=1e-12 * np.abs(there).max())
    state = {
        name: (torch.zeros_like(p) if p.grad is None else p.grad).numpy()
        for name, p in network.named_parameters()
    }
    unused = {name for name, p in network.named_parameters() if p.grad is None}
    assert {re.sub(r"\.conv\d\.\w+$", "", name) for name in unused} == {
        "backbone.mask_token",
        "head.scratch.refinenet4.resConfUnit1",
    }
    expected = from_torch(state, variables)["params"]
    atol = 1e-12 * max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=atol), grads, expected)


@pytest.mark.parametrize("size", [(70, 70), (42, 84)], ids=str)
def test_in_float32_equals_pytorch(size):
    torch = pytest.importorskip("torch")
    network, variables = both(np.float32)
    x = np.random.default_rng(2).normal(size=(1, *size, 3)).astype(np.float32)
    with torch.no_grad():
        there = network.float()(torch.tensor(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    with jax.default_matmul_precision("highest"):
        here = jax.jit(tiny().apply)(variables, x)
    np.testing.assert_allclose(here, there, rtol=0, atol=1e-4 * np.abs(there).max())


def test_export_loads_strictly_and_a_prefixed_checkpoint_gives_it_back():
    torch = pytest.importorskip("torch")
    network, variables = both(np.float64)
    exported = to_torch(variables)
    tensors = {name: torch.tensor(value) for name, value in exported.items()}
    network.load_state_dict(tensors, strict=True)
    assert set(exported) == set(network.state_dict())
    again = from_torch({f"module.{k}": v for k, v in exported.items()}, variables)
    jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_a_backbone_by_itself_leaves_the_head():
    pytest.importorskip("torch")
    network, variables = both(np.float64)
    hub = {name: value.numpy() + 1 for name, value in network.backbone.state_dict().items()}
    for state in (hub, {f"backbone.{name}": value for name, value in hub.items()}):
        filled = from_torch(state, variables)["params"]
        kept = jax.tree.map(lambda a, b: a is b, filled["head"], variables["params"]["head"])
        assert all(jax.tree.leaves(kept))
        jax.tree.map(
            lambda a, b: np.testing.assert_array_equal(a, b + 1),
            filled["encoder"],
            variables["params"]["encoder"],
        )


@pytest.mark.parametrize(
    "backbone, registers, parameters",
    [
        # As the logs of UniMatch V2 say.
        ("dinov2_small", 0, 24_795_637),
        ("dinov2_base", 0, 97_528_789),
        ("dinov2_large", 0, 335_579_157),
        # DINOv2's own: ViT-g has 1,136,480,768.
        ("dinov2_giant", 0, None),
        ("dinov2_small", 4, 24_795_637 + 4 * 384),
    ],
)
def test_parameters(backbone, registers, parameters):
    model = create_model("dpt", num_classes=21, backbone=backbone, registers=registers)
    variables = abstract(model)
    assert set(variables) == {"params"} and set(variables["params"]) == {"encoder", "head"}

    def count(tree):
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    if parameters is None:
        assert count(variables["params"]["encoder"]) == 1_136_480_768
    else:
        assert count(variables) == parameters


def test_decode_follows_encode_and_sees_dropped_channels():
    model, rng = tiny(), np.random.default_rng(0)
    variables = jax.tree.map(
        lambda a: jnp.asarray(rng.normal(size=a.shape) * 0.3, a.dtype), abstract(model)
    )
    images = jnp.asarray(rng.normal(size=(2, 28, 42, 3)), jnp.float32)

    @jax.jit
    def run(variables, images):
        features = model.apply(variables, images, method="encode")
        dropped = tuple(f * jnp.zeros((1, 1, 1, 8)) for f in features)

        def decode(f, size):
            return model.apply(variables, f, size, method="decode")

        return features, decode(features, (28, 42)), decode(dropped, (9, 11))

    features, decoded, flat = run(variables, images)
    assert [f.shape for f in features] == [(2, 2, 3, 8)] * 4
    np.testing.assert_allclose(decoded, jax.jit(model.apply)(variables, images), atol=1e-5)
    assert decoded.dtype == jnp.float32 and decoded.shape == (2, 28, 42, CLASSES)
    assert flat.shape == (2, 9, 11, CLASSES)
    np.testing.assert_allclose(flat[0], flat[1], atol=1e-6)
    assert np.abs(decoded[0] - decoded[1]).max() > 1e-3


def test_what_callers_rely_on():
    model = create_model("dpt", num_classes=3, dtype="bfloat16", remat=True, axis_name="data")
    np.testing.assert_allclose(model.input_mean, (0.485, 0.456, 0.406))
    np.testing.assert_allclose(model.input_std, (0.229, 0.224, 0.225))
    assert model.size_multiple == 14
    assert feature_names(model) == ("decoder", "encoder")

    def apply(v, x):
        return model.apply(v, x, train=True)

    images = jax.ShapeDtypeStruct((2, 42, 28, 3), jnp.float32)
    logits = jax.eval_shape(apply, abstract(model), images)
    assert logits.shape == (2, 42, 28, 3) and logits.dtype == jnp.float32


def test_other_numbers_of_channels():
    model = create_model("dpt", num_classes=3, in_channels=5)
    assert len(model.input_mean) == 5
    kernel = abstract(model, channels=5)["params"]["encoder"]["patch_embed"]["kernel"]
    assert kernel.shape == (14, 14, 5, 384)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"backbone": "resnet50"}, "blocks of a vision transformer; choose one of dinov2_base, di"),
        ({"registers": 2}, "registers is 2; choose one of 0, 4"),
        ({"output_stride": 16}, "no option 'output_stride'"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        create_model("dpt", num_classes=3, **options)


def test_sides_that_patches_do_not_divide():
    with pytest.raises(ConfigError, match="321x321.*nearest size that does is 322x322"):
        abstract(create_model("dpt", num_classes=3), size=(321, 321))
