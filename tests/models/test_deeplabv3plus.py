"""The head against PyTorch; output strides and atrous rates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.models import create_model, init_variables
from ipixmatch_jax.models.deeplabv3plus import Head
from ipixmatch_jax.models.layers import Numerics
from ipixmatch_jax.models.torch_bridge import to_torch

CLASSES, CHANNELS, LOW, RATES = 3, 6, 4, (2, 3, 20)


@pytest.fixture
def float64():
    # Linen's batch norm promotes float64 statistics by itself.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        yield


def torch_head(state, low, high, size, separable):
    """The head as arXiv 1802.02611 draws it, in evaluation; maps are [B,C,h,w]."""
    import torch
    from torch.nn import functional as F

    w = {name.removeprefix("head."): torch.tensor(value) for name, value in state.items()}

    def conv_norm(x, name, kernel=1, rate=1):
        weight = w[f"{name}.conv.weight"]
        groups = x.shape[1] // weight.shape[1]
        x = F.conv2d(x, weight, padding=(kernel // 2) * rate, dilation=rate, groups=groups)
        stats = [
            w[f"{name}.norm.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        ]
        return F.relu(F.batch_norm(x, *stats, eps=1e-5))

    def conv3x3(x, name, rate=1):
        if not separable:
            return conv_norm(x, f"{name}.dense", 3, rate)
        return conv_norm(conv_norm(x, f"{name}.depthwise", 3, rate), f"{name}.pointwise")

    def resize(x, to):
        return F.interpolate(x, to, mode="bilinear", align_corners=True)

    pooled = conv_norm(F.adaptive_avg_pool2d(high, 1), "aspp_pool").expand(-1, -1, *high.shape[2:])
    branches = [conv3x3(high, f"aspp_{i}", rate) for i, rate in enumerate(RATES)]
    x = torch.cat([conv_norm(high, "aspp_point"), *branches, pooled], 1)
    x = resize(conv_norm(x, "aspp_project"), low.shape[2:])
    x = torch.cat([conv_norm(low, "low"), x], 1)
    x = conv3x3(conv3x3(x, "fuse_0"), "fuse_1")
    return resize(F.conv2d(x, w["classifier.weight"], w["classifier.bias"]), size)


@pytest.mark.parametrize("separable", [False, True])
def test_head_equals_pytorch(separable, float64):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    low, high, size = rng.normal(size=(2, 9, 7, 5)), rng.normal(size=(2, 5, 4, 17)), (33, 26)
    head = Head(CLASSES, CHANNELS, LOW, RATES, separable, Numerics(jnp.float64))
    shapes = jax.eval_shape(
        lambda k: head.init(k, (jnp.asarray(low), jnp.asarray(high)), size, False),
        jax.random.key(0),
    )
    variables = jax.tree.map(lambda a: rng.uniform(0.2, 1.0, a.shape) - 0.3, shapes)
    variables["batch_stats"] = jax.tree.map(np.abs, variables["batch_stats"])
    found = jax.jit(lambda v, f: head.apply(v, f, size, False))(variables, (low, high))
    state = to_torch({kind: {"head": tree} for kind, tree in variables.items()})
    there = [torch.tensor(x).permute(0, 3, 1, 2) for x in (low, high)]
    expected = torch_head(state, *there, size, separable).permute(0, 2, 3, 1).numpy()
    assert found.shape == (2, 33, 26, CLASSES)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize(
    "stride, size, low, high",
    [(16, (97, 65), (25, 17), (7, 5)), (8, (97, 65), (25, 17), (13, 9))],
)
def test_feature_sizes_follow_the_output_stride(stride, size, low, high):
    model = create_model("deeplabv3plus", num_classes=2, output_stride=stride, decoder_channels=8)
    assert model.head.atrous_rates == ((6, 12, 18) if stride == 16 else (12, 24, 36))
    images = jnp.zeros((1, *size, 3))
    variables = init_variables(model, jax.random.key(0), images)
    features = jax.eval_shape(lambda v: model.apply(v, images, method="encode"), variables)
    assert [f.shape for f in features] == [(1, *low, 24), (1, *high, 320)]


def test_atrous_rates_can_be_chosen():
    model = create_model("deeplabv3plus", num_classes=2, output_stride=8, atrous_rates=[3, 5])
    assert model.head.atrous_rates == (3, 5)
