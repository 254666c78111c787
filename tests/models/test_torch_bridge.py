"""Variables to state dicts and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.models import create_model, init_variables
from ipixmatch_jax.models.torch_bridge import from_torch, to_torch

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
    with pytest.raises(CheckpointError, match="layer1.0.conv1.weight are of no known layout"):
        from_torch({"layer1.0.conv1.weight": np.zeros((1, 1, 1, 1))}, deeplab)
    with pytest.raises(CheckpointError, match="no known layout"):
        from_torch({}, deeplab)
