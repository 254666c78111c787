"""Variables to state dicts and back."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import CheckpointError, ConfigError
from ipixmatch_jax.models import create_model, init_variables
from ipixmatch_jax.models.input_channels import adapt_first_conv
from ipixmatch_jax.models.torch_bridge import LAYOUTS, from_torch, to_torch

SIZE = (1, 32, 32, 3)


@pytest.fixture(scope="module")
def deeplab():
    model = create_model("deeplabv3plus", num_classes=3, decoder_channels=8, separable=True)
    return init_variables(model, jax.random.key(0), jnp.zeros(SIZE))


@pytest.fixture(scope="module")
def unet():
    model = create_model("unet", num_classes=3, width=4, depth=1)
    return init_variables(model, jax.random.key(0), jnp.zeros(SIZE))


def shapes(variables):
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), variables)


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("name", ["deeplab", "unet"])
def test_round_trip_through_abstract_variables_is_exact(name, request):
    variables = request.getfixturevalue(name)
    state = to_torch(variables)
    assert len(state) == len(jax.tree.leaves(variables))
    back = from_torch(state, shapes(variables))
    assert_equal(back, variables)
    again = to_torch(back)
    assert list(again) == list(state)
    assert all(np.array_equal(again[key], state[key]) for key in state)


def test_names_and_layouts_are_those_of_pytorch(deeplab):
    state = to_torch(deeplab)
    encoder, head = deeplab["params"]["encoder"], deeplab["params"]["head"]
    assert state["_blocks.10._expand_conv.weight"].shape == (672, 112, 1, 1)
    assert state["_blocks.10._depthwise_conv.weight"].shape == (672, 1, 5, 5)
    np.testing.assert_array_equal(
        state["_blocks.10._depthwise_conv.weight"][7, 0],
        encoder["block_10"]["depthwise"]["conv"]["kernel"][:, :, 0, 7],
    )
    np.testing.assert_array_equal(
        state["_conv_stem.weight"][5, 2], encoder["stem"]["conv"]["kernel"][:, :, 2, 5]
    )
    assert "_blocks.0._bn0.weight" not in state
    assert state["_blocks.3._bn2.running_var"].shape == (40,)
    np.testing.assert_array_equal(state["head.classifier.bias"], head["classifier"]["bias"])
    assert state["head.classifier.weight"].shape == (3, 8, 1, 1)


def imagenet_like(variables):
    """Only the encoder, and what an ImageNet classifier has besides."""
    state = {k: v + 1 for k, v in to_torch(variables).items() if not k.startswith("head.")}
    state |= {
        "_bn0.num_batches_tracked": np.array(3),
        "_blocks.2._bn0.num_batches_tracked": np.array(3),
        "_conv_head.weight": np.zeros((1280, 320, 1, 1)),
        "_bn1.running_var": np.zeros(1280),
        "_bn1.num_batches_tracked": np.array(3),
        "_fc.weight": np.zeros((1000, 1280)),
        "_fc.bias": np.zeros(1000),
    }
    return state


def test_a_classifier_fills_the_encoder_and_leaves_the_head(deeplab):
    filled = from_torch(imagenet_like(deeplab), deeplab)
    for kind in ("params", "batch_stats"):
        assert_equal(filled[kind]["head"], deeplab[kind]["head"])
        raised = jax.tree.map(lambda a: a + 1, deeplab[kind]["encoder"])
        assert_equal(filled[kind]["encoder"], raised)
    abstract = from_torch(imagenet_like(deeplab), shapes(deeplab))
    assert_equal(abstract["params"]["encoder"], filled["params"]["encoder"])
    assert isinstance(abstract["params"]["head"]["classifier"]["bias"], jax.ShapeDtypeStruct)


def test_values_take_the_dtype_of_the_model(deeplab):
    state = {k: v.astype(np.float64) for k, v in imagenet_like(deeplab).items()}
    leaves = jax.tree.leaves(from_torch(state, deeplab))
    assert {leaf.dtype for leaf in leaves} == {np.dtype(np.float32)}


def test_every_misfit_is_listed(deeplab):
    state = imagenet_like(deeplab)
    del state["_conv_stem.weight"], state["_blocks.4._bn1.bias"]
    state["_blocks.16._bn1.bias"] = np.zeros(3)
    state["_blocks.5._project_conv.weight"] = np.zeros((2, 3, 1, 1))
    state["_bn0.bias"] = np.array(["a"] * 32)
    with pytest.raises(CheckpointError) as error:
        from_torch(state, deeplab)
    missing, unexpected, misshapen = str(error.value).split(" keys: ")[1:]
    assert "_conv_stem.weight" in missing and "_blocks.4._bn1.bias" in missing
    assert unexpected.startswith("_blocks.16._bn1.bias;")
    assert "_blocks.5._project_conv.weight (2, 3, 1, 1) for (80, 240, 1, 1)" in misshapen
    assert "_bn0.bias" in misshapen


def test_weights_of_another_model_or_of_none(deeplab, unet):
    with pytest.raises(CheckpointError, match="missing keys: encoder.level_0"):
        from_torch(imagenet_like(deeplab), unet)
    with pytest.raises(CheckpointError, match="trunk.0.conv1.weight have no known layout"):
        from_torch({"trunk.0.conv1.weight": np.zeros((1, 1, 1, 1))}, deeplab)
    with pytest.raises(CheckpointError, match="no known layout"):
        from_torch({}, deeplab)


def abstract(name, size=28, channels=3, **options):
    model = create_model(name, num_classes=4, **options)
    images = jnp.zeros((1, size, size, channels))
    return jax.eval_shape(lambda k: model.init(k, images, train=False), jax.random.key(0))


def drawn(variables):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda a: rng.normal(size=a.shape).astype(a.dtype), variables)


CONVNEXTS = [
    "timm_convnext",
    "transformers_convnext",
    "transformers_convnext_classifier",
    "transformers_dinov3_convnext",
    "transformers_dinov3_convnext_files",
    "transformers_upernet_convnext",
]
# Which layouts name a model, the one that to_torch takes by itself first.
FITTING = {
    ("dpt", "dinov2_small"): [
        "unimatch_v2",
        "dinov2",
        "transformers_dinov2",
        "transformers_dinov2_files",
    ],
    ("segformer", "mit_b0"): [
        "transformers_segformer",
        "transformers_segformer_files",
        "mit",
        "transformers_mit",
        "transformers_mit_files",
    ],
    ("deeplabv3plus", "efficientnet_lite0"): ["efficientnet_lite"],
    ("upernet", "resnet18"): [
        "transformers_upernet_resnet",
        "resnet",
        "transformers_resnet",
        "transformers_resnet_classifier",
        "unimatch_v1",
    ],
    ("deeplabv3plus", "convnext_tiny"): ["convnext", *CONVNEXTS],
    ("upernet", "convnext_tiny"): ["transformers_upernet_convnext", "convnext", *CONVNEXTS],
    ("dpt", "dinov3_small"): ["transformers_dinov3", "transformers_dinov3_files"],
}


@pytest.mark.parametrize("name, backbone", FITTING)
def test_each_layout_is_detected_by_its_own_sign_and_restores_the_model(
    name, backbone, small_backbones
):
    options = {"backbone": backbone}
    if name == "upernet":
        options["decoder_channels"] = 8
    variables = drawn(abstract(name, 48 if "dinov3" in backbone else 56, **options))
    default, *_ = names = FITTING[name, backbone]
    assert list(to_torch(variables)) == list(to_torch(variables, default))
    for layout in [*names, "ipixmatch_jax"]:
        state = to_torch(variables, layout)
        assert len(set(state)) >= len(jax.tree.leaves(variables))
        assert_equal(from_torch(state, variables), variables)
        telling = {
            other
            for other in LAYOUTS.names()
            if any(re.fullmatch(LAYOUTS[other].sign, key) for key in state)
        }
        # Our own sign is the fallback: names of others may begin with `encoder.` too.
        assert telling - {"ipixmatch_jax"} == {layout} - {"ipixmatch_jax"}
    for other in set(LAYOUTS.names()) - {*names, "ipixmatch_jax"}:
        with pytest.raises(CheckpointError, match=f"{other}' has no names for this encoder"):
            to_torch(variables, other)
    with pytest.raises(ConfigError, match="unknown weight layout"):
        to_torch(variables, "jax")


def test_a_swiglu_is_split_where_the_source_has_it_in_two():
    rng = np.random.default_rng(0)
    block = {
        "mlp": {
            "w12": {"kernel": rng.normal(size=(3, 8)), "bias": np.arange(8.0)},
            "w3": {"kernel": rng.normal(size=(4, 3)), "bias": np.zeros(3)},
        }
    }
    variables = {"params": {"encoder": {"block_03": block}}}
    state = to_torch(variables, "transformers_dinov2")
    prefix = "encoder.layer.3.mlp."
    np.testing.assert_array_equal(state[f"{prefix}gate_proj.bias"], np.arange(4.0))
    np.testing.assert_array_equal(
        state[f"{prefix}up_proj.weight"], block["mlp"]["w12"]["kernel"][:, 4:].T
    )
    assert state[f"{prefix}down_proj.weight"].shape == (3, 4)
    fused = to_torch(variables, "dinov2")
    np.testing.assert_array_equal(fused["blocks.3.mlp.w12.weight"], block["mlp"]["w12"]["kernel"].T)


def test_prefixes_of_wrappers_are_dropped(deeplab):
    for prefix in ("model.", "_orig_mod.", "module._orig_mod.", "module."):
        state = {f"{prefix}{key}": value for key, value in to_torch(deeplab).items()}
        assert_equal(from_torch(state, deeplab), deeplab)
    some = dict(list(state.items())[:-1]) | {"epoch": np.zeros(())}
    with pytest.raises(CheckpointError, match="no known layout"):
        from_torch(some, deeplab)


def test_weights_that_are_no_numbers_are_refused(deeplab):
    state = to_torch(deeplab)
    key = next(key for key in state if key.endswith("weight"))
    state[key] = np.full_like(state[key], np.nan)
    with pytest.raises(CheckpointError, match=f"not finite: {key}; .* has diverged"):
        from_torch(state, deeplab)


def test_misfits_of_parts_are_listed_one_by_one():
    variables = abstract("segformer", 56)
    state = to_torch(drawn(variables))
    block = "segformer.stages.0.blocks.0.attention"
    del state[f"{block}.k_proj.bias"], state["segformer.stages.1.layer_norm.weight"]
    state[f"{block}.v_proj.weight"] = np.zeros((32, 31))
    state["decode_head.classifier.weight"] = np.zeros((19, 256, 1, 1))
    with pytest.raises(CheckpointError) as error:
        from_torch(state, variables)
    missing, misshapen = str(error.value).split(" keys: ")[1:]
    assert f"{block}.k_proj.bias" in missing
    assert "segformer.stages.1.layer_norm.weight" in missing
    assert f"{block}.v_proj.weight (32, 31) for (32, 32)" in misshapen
    assert "decode_head.classifier.weight (19, 256, 1, 1) for (4, 256, 1, 1)" in misshapen
    assert "q_proj" not in str(error.value)


@pytest.mark.parametrize("channels", [1, 5])
def test_a_first_convolution_of_rgb_is_adapted(channels, small_backbones):
    rgb = drawn(abstract("dpt"))
    filled = from_torch(to_torch(rgb), abstract("dpt", channels=channels, in_channels=channels))
    kernels = [tree["params"]["encoder"].pop("patch_embed")["kernel"] for tree in (rgb, filled)]
    np.testing.assert_array_equal(kernels[1], adapt_first_conv(kernels[0], channels))
    assert kernels[1].shape == (14, 14, channels, 16)
    filled["params"]["encoder"].pop("patch_embed", None)
    assert_equal(filled, rgb)
