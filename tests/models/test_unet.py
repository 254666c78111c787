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


def torch_unet(state, x, depth, stem_stride):
    import torch
    from torch.nn import functional as F

    w = {name: torch.tensor(value) for name, value in state.items()}

    def conv_norm(x, name, stride=1):
        pads = []
        for n in x.shape[:1:-1]:
            total = max((-(-n // stride) - 1) * stride + 3 - n, 0)
            pads += [total // 2, total - total // 2]
        x = F.conv2d(F.pad(x, pads), w[f"{name}.conv.weight"], stride=stride)
        stats = [
            w[f"{name}.norm.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        ]
        return F.relu(F.batch_norm(x, *stats, eps=1e-5))

    def twice(x, name, stride=1):
        return conv_norm(conv_norm(x, f"{name}.first", stride), f"{name}.second")

    def resize(x, to):
        return F.interpolate(x, to, mode="bilinear", align_corners=True)

    size, maps = x.shape[2:], []
    for level in range(depth + 1):
        x = twice(x, f"encoder.level_{level}", 2 if level else stem_stride)
        maps.append(x)
    for level in reversed(range(depth)):
        x = torch.cat([maps[level], resize(x, maps[level].shape[2:])], 1)
        x = twice(x, f"head.level_{level}")
    return resize(F.conv2d(x, w["head.classifier.weight"], w["head.classifier.bias"]), size)


@pytest.mark.parametrize("stem_stride", [1, 2])
def test_equals_pytorch_at_odd_sizes(stem_stride, float64):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    model = create_model(
        "unet", num_classes=3, width=4, depth=2, stem_stride=stem_stride, dtype="float64"
    )
    x = rng.normal(size=(2, 13, 22, 3))
    shapes = jax.eval_shape(lambda k: model.init(k, jnp.asarray(x)), jax.random.key(0))
    variables = jax.tree.map(lambda a: rng.uniform(0.2, 1.0, a.shape) - 0.4, shapes)
    variables["batch_stats"] = jax.tree.map(np.abs, variables["batch_stats"])
    found = jax.jit(model.apply)(variables, x)
    there = torch_unet(to_torch(variables), torch.tensor(x).permute(0, 3, 1, 2), 2, stem_stride)
    expected = there.permute(0, 2, 3, 1).numpy()
    assert found.shape == (2, 13, 22, 3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
