"""The U-Net against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.models import create_model
from ipixmatch_jax.models.torch_bridge import to_torch


@pytest.fixture
def float64():
    # Linen's batch norm promotes float64 statistics by itself.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.parametrize("stem_stride", [1, 2])
def test_equals_pytorch_at_odd_sizes(stem_stride, float64):
    torch = pytest.importorskip("torch")
    from tests.references.torch_unet import TorchUNet

    rng = np.random.default_rng(0)
    model = create_model(
        "unet", num_classes=3, width=4, depth=2, stem_stride=stem_stride, dtype="float64"
    )
    x = rng.normal(size=(2, 13, 22, 3))
    shapes = jax.eval_shape(lambda k: model.init(k, jnp.asarray(x)), jax.random.key(0))
    variables = jax.tree.map(lambda a: rng.uniform(0.2, 1.0, a.shape) - 0.4, shapes)
    variables["batch_stats"] = jax.tree.map(np.abs, variables["batch_stats"])
    found = jax.jit(model.apply)(variables, x)
    network = TorchUNet(3, 4, 2, stem_stride).double().eval()
    state = {name: torch.tensor(value) for name, value in to_torch(variables).items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    with torch.no_grad():
        there = network(torch.tensor(x).permute(0, 3, 1, 2))
    expected = there.permute(0, 2, 3, 1).numpy()
    assert found.shape == (2, 13, 22, 3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
