"""LoRA: adapters are a low-rank change of a matrix, and merge into it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import CheckpointError, ConfigError
from ipixmatch_jax.models import (
    FROZEN_BY_LORA,
    Lora,
    create_model,
    init_variables,
    is_frozen,
    merge_lora,
    with_lora,
    without_lora,
)
from ipixmatch_jax.models.encoder_decoder import EncoderDecoder
from ipixmatch_jax.models.layers import Numerics
from ipixmatch_jax.models.lora import TARGETS
from ipixmatch_jax.models.mit import MitShape, MixTransformer
from ipixmatch_jax.models.torch_bridge import to_torch
from ipixmatch_jax.models.vit import Dinov2, VitShape

IMAGES = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
_MIT = MitShape((8, 8, 16, 16), (1, 1, 1, 1), 8, heads=(1, 2, 2, 2))


def encoder(kind, **numerics):
    numerics = Numerics(**numerics)
    if kind == "mit":
        return MixTransformer(_MIT, numerics=numerics)
    shape = VitShape(24, 2, 3, (0, 1), swiglu=kind == "swiglu", patch=8, grid=3)
    return Dinov2(shape, remat=kind == "swiglu", numerics=numerics)


def model(kind, **numerics):
    """Only its encoder is used; the head is anything."""
    return EncoderDecoder(encoder(kind, **numerics), encoder(kind, **numerics))


def drawn(adapted, seed=0, dtype=np.float32):
    """Variables of the encoder, whose adapters are far from zero."""
    images = jax.ShapeDtypeStruct(IMAGES.shape, jnp.float32)
    shapes = jax.eval_shape(
        lambda key, x: adapted.init(key, x, method="encode"), jax.random.key(0), images
    )
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: 0.3 * rng.normal(size=leaf.shape).astype(dtype), shapes)


def encode(module, variables, images=IMAGES):
    run = jax.jit(lambda v, x: module.apply(v, x, method="encode"))
    return run(variables, jnp.asarray(images, jnp.result_type(jax.tree.leaves(variables)[0])))


@pytest.mark.parametrize(
    "kind, targets",
    [
        ("vit", ("query", "value")),
        ("vit", ("key",)),
        ("swiglu", ("projection", "mlp")),
        ("mit", TARGETS),
        ("mit", ("value",)),
    ],
)
def test_merged_equals_unmerged(kind, targets):
    with jax.enable_x64():
        plain = model(kind, dtype=jnp.float64)
        adapted = with_lora(plain, Lora(2, 6.0, targets))
        variables = drawn(adapted, dtype=np.float64)
        merged = merge_lora(variables, 6.0)
        shapes = drawn(plain)
        assert jax.tree.structure(merged) == jax.tree.structure(shapes)
        found, base = encode(adapted, variables), encode(plain, without_lora(variables))
        for one, other in zip(found, encode(plain, merged), strict=True):
            assert one.dtype == jnp.float64
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
        assert max(np.abs(a - b).max() for a, b in zip(found, base, strict=True)) > 1e-3


def test_merged_equals_unmerged_in_float32():
    adapted = with_lora(model("vit"), Lora(4, 8.0, TARGETS))
    variables = jax.tree.map(lambda leaf: 0.3 * leaf, drawn(adapted))
    merged = encode(model("vit"), merge_lora(variables, 8.0))
    for found, expected in zip(encode(adapted, variables), merged, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_only_the_columns_of_a_target_change_and_by_the_stated_product():
    variables = drawn(with_lora(model("vit"), Lora(3, 12.0, ("value", "mlp"))))
    before = jax.tree.map(np.copy, variables)
    block, merged = (
        tree["params"]["encoder"]["block_01"] for tree in (variables, merge_lora(variables, 12.0))
    )
    layer, kernel = block["attn"]["qkv"], merged["attn"]["qkv"]["kernel"]
    a, b = (np.float64(layer[f"lora_{side}_value"]) for side in "ab")
    assert a.shape == (24, 3) and b.shape == (3, 24) and kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel[:, :48], layer["kernel"][:, :48])
    np.testing.assert_allclose(kernel[:, 48:], layer["kernel"][:, 48:] + 4 * a @ b, rtol=1e-5)
    projection = block["attn"]["proj"]["kernel"]
    np.testing.assert_array_equal(merged["attn"]["proj"]["kernel"], projection)
    layer = block["mlp"]["fc2"]
    product = np.float64(layer["lora_a_mlp"]) @ np.float64(layer["lora_b_mlp"])
    expected = layer["kernel"] + 4 * product
    np.testing.assert_allclose(merged["mlp"]["fc2"]["kernel"], expected, rtol=1e-5, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, variables, before)


@pytest.mark.parametrize("name", ["dpt", "segformer"])
def test_at_first_they_change_nothing_and_the_rest_is_drawn_as_without(name, small_backbones):
    plain = create_model(name, num_classes=2)
    adapted = with_lora(plain, Lora(2, 16.0, TARGETS))
    images = jax.ShapeDtypeStruct((1, 56, 56, 3), jnp.float32)
    first, bare = (init_variables(m, jax.random.key(3), images) for m in (adapted, plain))
    jax.tree.map(np.testing.assert_array_equal, without_lora(first), bare)
    jax.tree.map(np.testing.assert_array_equal, merge_lora(first, 16.0), bare)
    leaves = jax.tree_util.tree_leaves_with_path(first["params"])
    a, b = (
        [leaf for path, leaf in leaves if path[-1].key.startswith(f"lora_{side}_")] for side in "ab"
    )
    assert len(a) == len(b) > 8
    assert not any(leaf.any() for leaf in b) and all(0.01 < leaf.std() < 0.03 for leaf in a)


def test_they_are_all_that_learns_in_the_encoder():
    adapted = with_lora(model("vit"), Lora(2, 8.0, ("query", "mlp")))
    for path, _ in jax.tree_util.tree_leaves_with_path(drawn(adapted)["params"]):
        names = [entry.key for entry in path]
        assert is_frozen(names, FROZEN_BY_LORA) is not names[-1].startswith("lora_")
        assert not is_frozen(["head", *names[1:]], FROZEN_BY_LORA)


def test_they_compute_in_bfloat16():
    adapted = with_lora(model("vit", dtype=jnp.bfloat16), Lora(2, 8.0, TARGETS))
    variables = drawn(adapted)
    exact = encode(with_lora(model("vit"), Lora(2, 8.0, TARGETS)), variables)
    for found, expected in zip(encode(adapted, variables), exact, strict=True):
        assert found.dtype == jnp.bfloat16
        error = np.abs(np.asarray(found, np.float32) - expected)
        assert error.mean() < 0.05 * np.abs(expected).mean()


def test_an_encoder_without_targets_is_named():
    for name, options in (("unet", {}), ("deeplabv3plus", {"backbone": "resnet18"})):
        with pytest.raises(ConfigError, match=r"lora_rank is 8, but the encoder \w+ has no layers"):
            with_lora(create_model(name, num_classes=2, **options), Lora(8, 8.0, ("query",)))


@pytest.mark.parametrize("targets", [(), ("query", "norm")])
def test_targets_that_it_does_not_have_are_named(targets):
    with pytest.raises(ConfigError, match="has query, key, value, projection, mlp; give one"):
        with_lora(model("vit"), Lora(8, 8.0, targets))


def test_a_rank_that_is_not_low_is_refused():
    adapted = with_lora(model("vit"), Lora(24, 8.0, ("query",)))
    with pytest.raises(ConfigError, match="lora_rank is 24, but encoder/block_00/attn/qkv maps 24"):
        drawn(adapted)


def test_pytorch_gets_no_adapters():
    variables = drawn(with_lora(model("vit"), Lora(2, 8.0, ("query",))))
    with pytest.raises(CheckpointError, match="LoRA adapters.*merge_lora"):
        to_torch(variables)
    assert to_torch(merge_lora(variables, 8.0))
