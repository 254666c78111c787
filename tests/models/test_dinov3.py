"""DINOv3 vision transformers against transformers, and linear heads on them against PyTorch."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import CheckpointError, ConfigError
from ipixmatch_jax.models import create_model, feature_names, init_variables
from ipixmatch_jax.models.dinov3 import DINOV3, Dinov3, Dinov3Shape, rotary_angles, rotate, rotation
from ipixmatch_jax.models.encoder_decoder import EncoderDecoder
from ipixmatch_jax.models.layers import Numerics
from ipixmatch_jax.models.linear import Head
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

TINY = Dinov3Shape(16, 3, 2, (0, 2), 24, registers=3)


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def options(shape):
    return dict(
        hidden_size=shape.width,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        intermediate_size=shape.hidden,
        use_gated_mlp=shape.gated,
        num_register_tokens=shape.registers,
        patch_size=shape.patch,
        hidden_act="silu" if shape.gated else "gelu",
    )


def network(kind="DINOv3ViTModel", shape=TINY, seed=0, deviation=0.2, **more):
    transformers = pytest.importorskip("transformers")
    from tests.references.torch_dpt import randomised

    config = transformers.DINOv3ViTConfig(**options(shape), attn_implementation="eager", **more)
    return randomised(getattr(transformers, kind)(config), seed, deviation).eval()


@pytest.mark.parametrize("size, gated", [((48, 80), False), ((16, 112), True)], ids=str)
def test_equals_transformers_in_features_and_gradients(size, gated, float64):
    shape = dataclasses.replace(TINY, gated=gated)
    theirs = network("DINOv3ViTBackbone", shape, out_features=["stage1", "stage3"])

    def maps_of(x):
        return theirs(x).feature_maps

    encoder = Dinov3(shape, numerics=Numerics(jnp.float64))
    # The softmax and the angles of transformers are in float32.
    compare_encoder(encoder, theirs, maps_of, size, tolerance=1e-6)


def test_the_model_equals_transformers_in_float32():
    torch = pytest.importorskip("torch")
    theirs = network().float()
    encoder = Dinov3(dataclasses.replace(TINY, taps=(2,)))
    variables = from_torch(numbers(theirs), abstract(encoder))
    x = np.random.default_rng(2).normal(size=(2, 32, 64, 3)).astype(np.float32)
    with torch.no_grad():
        there = theirs(torch.tensor(x).permute(0, 3, 1, 2)).last_hidden_state[:, 4:].numpy()
    (here,) = jax.jit(lambda p, x: encoder.apply({"params": p}, x, False))(
        variables["params"]["encoder"], x
    )
    np.testing.assert_allclose(here.reshape(there.shape), there, atol=1e-4 * np.abs(there).max())


def test_a_linear_head_on_the_last_block_equals_pytorch():
    torch = pytest.importorskip("torch")
    from tests.references.torch_dpt import randomised
    from tests.references.torch_linear import Linear

    encoder = network("DINOv3ViTBackbone", out_features=["stage3"])
    theirs = randomised(Linear(encoder, TINY.width, 5), 3).float().eval()
    shape = dataclasses.replace(TINY, taps=(2,))
    model = EncoderDecoder(Dinov3(shape), Head(5, 1, 0, Numerics()))
    state = {name: value.numpy() for name, value in theirs.names().items()}
    variables = from_torch(state, abstract(model, name=""))
    x = np.random.default_rng(4).normal(size=(2, 32, 48, 3)).astype(np.float32)
    with torch.no_grad():
        there = theirs(torch.tensor(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    here = jax.jit(model.apply)(variables, x)
    np.testing.assert_allclose(here, there, rtol=0, atol=1e-4 * np.abs(there).max())


@pytest.mark.slow
@pytest.mark.parametrize("backbone", DINOV3.names())
def test_full_sizes_in_float32_equal_transformers(backbone):
    shape = DINOV3[backbone]
    taps = [f"stage{i + 1}" for i in shape.taps]
    # About the deviation of first values. With 0.2, attention in 24 wide blocks is so sharp that
    # PyTorch in float32 is 4e-3 off PyTorch in float64.
    theirs = network("DINOv3ViTBackbone", shape, deviation=0.03, out_features=taps)
    compare_in_float32(Dinov3(shape), theirs, lambda net, x: net(x).feature_maps, (32, 48))


def test_angles_are_those_of_the_patch_centers():
    angles = rotary_angles((2, 4), 8)
    assert angles.shape == (8, 8)
    # Row 0 of 2 has its center at -1/2, column 3 of 4 at 3/4; periods are 1 and √100.
    np.testing.assert_allclose(angles[3, :4], 2 * np.pi * np.array([-0.5, -0.05, 0.75, 0.075]))
    np.testing.assert_array_equal(angles[:, 4:], angles[:, :4])


def test_rotation_keeps_lengths_and_leaves_the_tokens_before_the_patches(float64):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 7, 2, 8)))
    turned = rotate(x, rotation((2, 2), 8, x.dtype))
    np.testing.assert_array_equal(turned[:, :3], x[:, :3])
    pairs = (a.reshape(1, 7, 2, 2, 4) for a in (x, turned))
    before, after = (jnp.sum(pair**2, axis=3) for pair in pairs)
    np.testing.assert_allclose(after, before, atol=1e-12)
    assert np.abs(turned[:, 3:] - x[:, 3:]).max() > 0.1


def facebook(state, gated):
    """The names of facebookresearch/dinov3 for those of transformers' model."""
    renamed = {
        "cls_token": state["embeddings.cls_token"],
        "storage_tokens": state["embeddings.register_tokens"],
        "mask_token": state["embeddings.mask_token"][0],
        "rope_embed.periods": np.ones(2, np.float32),
        "local_cls_norm.weight": np.ones(16, np.float32),
    }
    for leaf in ("weight", "bias"):
        renamed[f"patch_embed.proj.{leaf}"] = state[f"embeddings.patch_embeddings.{leaf}"]
        renamed[f"norm.{leaf}"] = state[f"norm.{leaf}"]
    parts = [("norm1", "norm1"), ("norm2", "norm2"), ("attn.proj", "attention.o_proj")]
    if gated:
        parts += [
            ("mlp.w1", "mlp.gate_proj"),
            ("mlp.w2", "mlp.up_proj"),
            ("mlp.w3", "mlp.down_proj"),
        ]
    else:
        parts += [("mlp.fc1", "mlp.up_proj"), ("mlp.fc2", "mlp.down_proj")]
    for i in range(TINY.depth):
        block, theirs = f"blocks.{i}.", f"model.layer.{i}."
        for here, there in parts:
            for leaf in ("weight", "bias"):
                renamed[f"{block}{here}.{leaf}"] = state[f"{theirs}{there}.{leaf}"]
        for n in (1, 2):
            renamed[f"{block}ls{n}.gamma"] = state[f"{theirs}layer_scale{n}.lambda1"]
        q, k, v = (state[f"{theirs}attention.{x}_proj.weight"] for x in "qkv")
        renamed[f"{block}attn.qkv.weight"] = np.concatenate([q, k, v])
        q, v = (state[f"{theirs}attention.{x}_proj.bias"] for x in "qv")
        masked = np.full_like(q, 7)  # the mask removes it
        renamed[f"{block}attn.qkv.bias"] = np.concatenate([q, masked, v])
        renamed[f"{block}attn.qkv.bias_mask"] = np.repeat([1, 0, 1], len(q))
    return renamed


def timm(state):
    """The names of timm's `vit_*_patch16_dinov3_qkvb` for those of facebookresearch/dinov3."""
    renamed = {}
    for name, value in state.items():
        if name.endswith("attn.qkv.bias"):
            q, _, v = np.split(value, 3)
            renamed[name.replace("qkv.bias", "q_bias")] = q
            renamed[name.replace("qkv.bias", "v_bias")] = v
        elif not name.startswith(("mask_token", "rope_embed", "local_cls_norm")):
            for theirs, here in (
                *(("storage_tokens", "reg_token"), ("ls1.gamma", "gamma_1")),
                *(("ls2.gamma", "gamma_2"), ("mlp.w1", "mlp.fc1_g")),
                *(("mlp.w2", "mlp.fc1_x"), ("mlp.w3", "mlp.fc2")),
            ):
                name = name.replace(theirs, here)
            renamed[name] = value
    return {name: value for name, value in renamed.items() if "bias_mask" not in name}


@pytest.mark.parametrize("gated", [False, True])
def test_every_source_of_weights_gives_the_same(tmp_path, gated):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.numpy")
    shape = dataclasses.replace(TINY, gated=gated)
    theirs = network(shape=shape).float()
    start = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), abstract(Dinov3(shape)))
    expected = from_torch(numbers(theirs), start)
    theirs.save_pretrained(tmp_path)
    file = safetensors.load_file(tmp_path / "model.safetensors")
    original = facebook(numbers(theirs), gated)
    prefixed = {f"module.{name}": value for name, value in original.items()}
    for other in (file, original, prefixed):
        jax.tree.map(np.testing.assert_array_equal, from_torch(other, start), expected)
    assert set(to_torch(expected, "transformers_dinov3_files")) == set(file)
    # timm has no mask token, and without `qkvb` in a model's name no bias of q and v.
    state = numbers(theirs)
    state["embeddings.mask_token"] *= 0
    named = timm(original)
    jax.tree.map(np.testing.assert_array_equal, from_torch(named, start), from_torch(state, start))
    state |= {k: 0 * v for k, v in state.items() if k.endswith(("q_proj.bias", "v_proj.bias"))}
    named = {k: v for k, v in named.items() if not k.endswith(("q_bias", "v_bias"))}
    jax.tree.map(np.testing.assert_array_equal, from_torch(named, start), from_torch(state, start))
    tensors = {name: torch.tensor(value) for name, value in to_torch(expected).items()}
    network(shape=shape, seed=1).float().load_state_dict(tensors, strict=True)


def test_weights_of_dinov2_are_refused(small_backbones):
    model = create_model("dpt", num_classes=3, backbone="dinov2_small")
    there = to_torch(init_variables(model, jax.random.key(0), jnp.zeros((1, 28, 28, 3))))
    start = abstract(create_model("dpt", num_classes=3, backbone="dinov3_small"), name="")
    with pytest.raises(CheckpointError, match="do not fit the model"):
        from_torch(there, start)


@pytest.mark.parametrize("backbone", smallest_first(DINOV3.names(), "dinov3_small"))
def test_parameters_are_as_many_as_in_transformers(backbone):
    transformers = pytest.importorskip("transformers")
    config = transformers.DINOv3ViTConfig(**options(DINOV3[backbone]))
    there = torch_parameters(lambda: transformers.DINOv3ViTModel(config))
    model = create_model("dpt", num_classes=21, backbone=backbone)
    assert parameters(abstract(model, name="")["params"]["encoder"]) == there


def test_what_callers_rely_on():
    model = create_model("dpt", num_classes=3, backbone="dinov3_small", dtype="bfloat16")
    np.testing.assert_allclose(model.input_mean, (0.485, 0.456, 0.406))
    assert model.size_multiple == 16
    assert feature_names(model) == ("decoder", "encoder")
    with pytest.raises(ConfigError, match=re.escape("518x512 pixels")) as error:
        abstract(model, size=(518, 512), name="")
    assert "16x16" in str(error.value) and "nearest size that does is 512x512" in str(error.value)


def test_remat_and_bfloat16_change_little():
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 32, 48, 3)), jnp.float32)
    plain = Dinov3(TINY)
    params = init_variables(plain, jax.random.key(0), images)["params"]

    def run(encoder):
        def loss(params):
            maps = encoder.apply({"params": params}, images, True)
            return sum(jnp.sum(a.astype(jnp.float32) ** 2) for a in maps), maps

        return jax.jit(jax.grad(loss, has_aux=True))(params)

    grads, maps = run(plain)
    again, same = run(Dinov3(TINY, remat=True))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), (grads, maps), (again, same)
    )
    _, narrow = run(Dinov3(TINY, numerics=Numerics(jnp.bfloat16)))
    for a, b in zip(narrow, maps, strict=True):
        assert a.dtype == jnp.bfloat16 and b.shape == (2, 2, 3, 16)
        np.testing.assert_allclose(a.astype(jnp.float32), b, atol=0.1 * np.abs(b).max())
