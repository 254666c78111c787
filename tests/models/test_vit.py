"""DINOv2 encoders against transformers, and their position embeddings against PyTorch."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models import attention
from ipixmatch_jax.models.bicubic import bicubic_matrix
from ipixmatch_jax.models.init_on_host import init_variables
from ipixmatch_jax.models.layers import Numerics
from ipixmatch_jax.models.torch_bridge import from_torch, to_torch
from ipixmatch_jax.models.vit import DINOV2, Dinov2, VitShape, dinov2

TINY = VitShape(16, 2, 2, (0, 1), grid=5)


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def abstract(encoder, dtype=np.float64, size=(70, 70)):
    """Variables of the encoder, nested like those of a model."""
    images = jnp.zeros((1, *size, encoder.in_channels), encoder.numerics.dtype)
    params = jax.eval_shape(lambda k: encoder.init(k, images, False), jax.random.key(0))["params"]
    params = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, dtype), params)
    return {"params": {"encoder": params}}


def numbers(named):
    return {name: value.detach().numpy() for name, value in named.items()}


def transformers_model(shape, registers, seed=0):
    transformers = pytest.importorskip("transformers")
    from tests.references.torch_dpt import randomised

    options = dict(
        hidden_size=shape.width,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        image_size=shape.grid * shape.patch,
        patch_size=shape.patch,
        use_swiglu_ffn=shape.swiglu,
        out_features=[f"stage{i + 1}" for i in shape.taps],
        attn_implementation="eager",
    )
    if registers:
        config = transformers.Dinov2WithRegistersConfig(num_register_tokens=registers, **options)
        return randomised(transformers.Dinov2WithRegistersBackbone(config), seed)
    return randomised(transformers.Dinov2Backbone(transformers.Dinov2Config(**options)), seed)


def test_the_exact_softmax_is_that_of_jax(float64):
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=(2, n, 3, 8))) for n in (5, 7, 7))
    narrow = (a.astype(jnp.float32) for a in (q, k, v))
    np.testing.assert_allclose(attention.attend(q, k, v), attention.attend(*narrow), atol=1e-6)


@pytest.mark.parametrize(
    "size, registers, swiglu",
    [((70, 70), 0, False), ((70, 98), 0, True), ((28, 112), 4, False)],
    ids=str,
)
def test_equals_transformers_in_features_and_gradients(size, registers, swiglu, float64):
    torch = pytest.importorskip("torch")
    shape = dataclasses.replace(TINY, swiglu=swiglu)
    network = transformers_model(shape, registers)
    encoder = Dinov2(
        shape,
        registers,
        position_offset=0.0,
        antialias=bool(registers),
        numerics=Numerics(jnp.float64),
    )
    variables = from_torch(numbers(network.state_dict()), abstract(encoder))
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, *size, 3))
    there = network(torch.tensor(x).permute(0, 3, 1, 2)).feature_maps
    weights = [rng.normal(size=(2, size[0] // 14, size[1] // 14, 16)) for _ in there]
    sum(
        (a * torch.tensor(w).permute(0, 3, 1, 2)).sum() for a, w in zip(there, weights, strict=True)
    ).backward()

    def loss(params, x):
        maps = encoder.apply({"params": params}, x, False)
        return sum(jnp.sum(a * w) for a, w in zip(maps, weights, strict=True)), maps

    gradient = jax.jit(jax.grad(loss, has_aux=True))
    grads, here = gradient(variables["params"]["encoder"], jnp.asarray(x))
    # transformers resizes position embeddings in float32.
    tolerance = 1e-12 if size == (70, 70) else 1e-6
    for a, b in zip(here, there, strict=True):
        b = b.detach().permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())
    state = {
        name: (p.grad if p.grad is not None else torch.zeros_like(p)).numpy()
        for name, p in network.named_parameters()
    }
    expected = from_torch(state, variables)["params"]["encoder"]
    atol = tolerance * max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    assert set(grads) == set(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=atol), grads, expected)


@pytest.mark.slow
def test_dinov2_small_in_float32_equals_transformers():
    torch = pytest.importorskip("torch")
    network = transformers_model(DINOV2["dinov2_small"], 0).float().eval()
    encoder = Dinov2(DINOV2["dinov2_small"], position_offset=0.0)
    variables = from_torch(numbers(network.state_dict()), abstract(encoder, np.float32, (28, 28)))
    x = np.random.default_rng(2).normal(size=(1, 56, 42, 3)).astype(np.float32)
    with torch.no_grad():
        there = network(torch.tensor(x).permute(0, 3, 1, 2)).feature_maps
    with jax.default_matmul_precision("highest"):
        here = jax.jit(lambda p, x: encoder.apply({"params": p}, x, False))(
            variables["params"]["encoder"], x
        )
    for a, b in zip(here, there, strict=True):
        b = b.permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(b).max())


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [1, 5, 23, 57])
def test_bicubic_matrix_equals_pytorch(size, antialias):
    torch = pytest.importorskip("torch")
    x = torch.eye(37, dtype=torch.float64)[None, None]

    def resize(**how):
        return torch.nn.functional.interpolate(x, mode="bicubic", antialias=antialias, **how)[0, 0]

    by_size = bicubic_matrix(37, size, 37 / size, antialias)
    np.testing.assert_allclose(by_size, resize(size=(size, 37)), atol=1e-12)
    factor = (size + 0.1) / 37
    by_factor = bicubic_matrix(37, size, 1 / factor, antialias)
    np.testing.assert_allclose(by_factor, resize(scale_factor=(factor, 1.0)), atol=1e-12)
    assert np.abs(by_factor - by_size).max() > 1e-4


def test_positions_are_those_of_the_hub():
    plain, with_registers = (
        dinov2("dinov2_small", registers=n, in_channels=3, remat=False, numerics=Numerics())
        for n in (0, 4)
    )
    assert (plain.position_offset, plain.antialias) == (0.1, False)
    assert (with_registers.position_offset, with_registers.antialias) == (0.0, True)


def test_sides_that_patches_do_not_divide():
    encoder = Dinov2(TINY)
    with pytest.raises(ConfigError, match=re.escape("65x71 pixels")) as error:
        abstract(encoder, size=(65, 71))
    assert "14x14" in str(error.value) and "nearest size that does is 70x70" in str(error.value)
    with pytest.raises(ConfigError, match="4 channels"):
        jax.eval_shape(lambda: encoder.init(jax.random.key(0), jnp.zeros((1, 70, 70, 4)), False))


def test_remat_and_bfloat16_change_little():
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 28, 42, 3)), jnp.float32)
    plain = Dinov2(TINY, registers=4)
    params = init_variables(plain, jax.random.key(0), images)["params"]

    def run(encoder):
        def loss(params):
            maps = encoder.apply({"params": params}, images, True)
            return sum(jnp.sum(a.astype(jnp.float32) ** 2) for a in maps), maps

        return jax.jit(jax.grad(loss, has_aux=True))(params)

    grads, maps = run(plain)
    again, same = run(plain.clone(remat=True))

    def close(a, b):
        return np.testing.assert_allclose(a, b, atol=1e-4)

    jax.tree.map(close, (grads, maps), (again, same))
    bfloat16 = plain.clone(numerics=Numerics(jnp.bfloat16))
    narrow = jax.jit(lambda p: bfloat16.apply({"params": p}, images, True))(params)
    for a, b in zip(narrow, maps, strict=True):
        assert a.dtype == jnp.bfloat16
        assert 0 < np.abs(np.asarray(a, np.float32) - b).max() < 0.1 * np.abs(b).max()


def test_remat_keeps_the_tokens_of_a_block_and_not_its_weights():
    images = jax.ShapeDtypeStruct((1, 140, 140, 3), jnp.float32)

    def saved(encoder):
        params = abstract(encoder, np.float32)["params"]["encoder"]

        def loss(p, x):
            return sum(map(jnp.sum, encoder.apply({"params": p}, x, True)))

        _, backward = jax.eval_shape(lambda p, x: jax.vjp(loss, p, x), params, images)
        return sum(leaf.size for leaf in jax.tree.leaves(backward))

    shape = dataclasses.replace(TINY, depth=8)
    assert saved(Dinov2(shape, remat=True)) < saved(Dinov2(shape)) / 3


def test_the_fused_kernel_is_asked_for_on_gpus(monkeypatch):
    asked = []

    def attention_of_jax(query, key, value, *, implementation, mask=None):
        assert mask is None
        asked.append((implementation, query.dtype.name))
        return query

    monkeypatch.setattr(jax.nn, "dot_product_attention", attention_of_jax)
    wide, narrow = (jnp.zeros((1, 4, 2, 64), dtype) for dtype in (jnp.float32, jnp.bfloat16))
    odd = jnp.zeros((1, 4, 2, 60), jnp.bfloat16)
    for has in (False, True):
        monkeypatch.setattr(attention, "_has_fused_kernel", lambda has=has: has)
        for x in (wide, narrow, odd):
            attention.attend(x, x, x)
    xla, cudnn = ("xla", "float32"), ("cudnn", "bfloat16")
    assert asked == [xla, xla, xla, xla, cudnn, xla]


@pytest.mark.parametrize(
    "capability, fused", [(None, False), ("7.5", False), ("9.0", True), ("gfx90a", False)]
)
def test_which_devices_have_the_fused_kernel(monkeypatch, capability, fused):
    device = type("Device", (), {} if capability is None else {"compute_capability": capability})
    monkeypatch.setattr(jax, "local_devices", lambda: [device()])
    attention._has_fused_kernel.cache_clear()
    assert attention._has_fused_kernel() is fused
    attention._has_fused_kernel.cache_clear()


def test_first_values_are_distributed_as_those_of_init():
    encoder = Dinov2(VitShape(64, 1, 2, (0,), grid=5), registers=4)
    images = jnp.zeros((1, 14, 14, 3))
    drawn = init_variables(encoder, jax.random.key(3), images)
    made = jax.jit(lambda k: encoder.init(k, images, False))(jax.random.key(0, impl="unsafe_rbg"))
    assert jax.tree.structure(drawn) == jax.tree.structure(jax.device_get(made))
    for a, b in zip(jax.tree.leaves(drawn), jax.tree.leaves(made), strict=True):
        if np.ptp(a) == 0:
            np.testing.assert_array_equal(a, b)
        else:
            # Sampling error of a standard deviation: 1/√(2n); five of each.
            assert abs(a.std() / np.asarray(b).std() - 1) < 10 / np.sqrt(2 * a.size)


@pytest.mark.parametrize("registers, swiglu", [(0, False), (0, True), (4, False)])
def test_weights_in_the_names_of_timm(registers, swiglu):
    encoder = Dinov2(dataclasses.replace(TINY, swiglu=swiglu), registers)
    start = abstract(encoder, np.float32)
    rng = np.random.default_rng(3)
    values = jax.tree.map(lambda a: rng.normal(size=a.shape).astype(np.float32), start)
    original = to_torch(values, "dinov2")
    original["mask_token"] *= 0  # timm leaves it out
    cls_position = original["pos_embed"][:, :1]
    if registers:
        cls_position *= 0  # timm adds it to the class token instead
    expected = from_torch(original, start)
    named = {
        name.replace("mlp.w12", "mlp.fc1").replace("mlp.w3", "mlp.fc2"): value
        for name, value in original.items()
        if name != "mask_token"
    }
    if registers:
        named["reg_token"] = named.pop("register_tokens")
        named["pos_embed"] = named["pos_embed"][:, 1:]
    jax.tree.map(np.testing.assert_array_equal, from_torch(named, start), expected)
