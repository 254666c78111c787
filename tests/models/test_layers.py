"""Resizing and normalizing against PyTorch; resizing against its formula; activations."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models.layers import BatchNorm, Numerics, relu6, resize_bilinear, resize_logits

SIZES = [
    ((5, 7), (9, 13)),
    ((9, 9), (33, 17)),
    ((1, 1), (4, 6)),
    ((1, 5), (3, 10)),
    ((6, 8), (1, 3)),
    ((12, 10), (5, 4)),
    ((4, 4), (4, 4)),
]


def image(size, channels=3, dtype=np.float64):
    return np.random.default_rng(1).normal(size=(2, *size, channels)).astype(dtype)


def interpolated(x, size):
    """Aligned corners by definition: output i of n samples the input at i·(m − 1)/(n − 1)."""
    for axis, n in ((1, size[0]), (2, size[1])):
        m = x.shape[axis]
        at = np.arange(n) * ((m - 1) / (n - 1) if n > 1 else 0.0)
        low = np.minimum(np.floor(at).astype(int), m - 1)
        high = np.minimum(low + 1, m - 1)
        weight = np.expand_dims(at - low, tuple(set(range(4)) - {axis}))
        x = np.take(x, low, axis) * (1 - weight) + np.take(x, high, axis) * weight
    return x


@pytest.mark.parametrize("small, large", SIZES, ids=str)
def test_resize_is_linear_interpolation_with_aligned_corners(small, large):
    x = image(small, dtype=np.float32)
    found = resize_bilinear(jnp.asarray(x), large)
    np.testing.assert_allclose(found, interpolated(x.astype(np.float64), large), atol=2e-6)


@pytest.mark.parametrize("small, large", SIZES, ids=str)
def test_resize_equals_pytorch_in_values_and_gradient(small, large):
    torch = pytest.importorskip("torch")
    x, dy = image(small), image(large)
    there = torch.tensor(x).permute(0, 3, 1, 2).requires_grad_()
    y = torch.nn.functional.interpolate(there, large, mode="bilinear", align_corners=True)
    y.backward(torch.tensor(dy).permute(0, 3, 1, 2))
    with jax.enable_x64(True):
        found, pull = jax.vjp(lambda a: resize_bilinear(a, large), jnp.asarray(x))
        (dx,) = pull(jnp.asarray(dy))
    np.testing.assert_allclose(found, y.detach().permute(0, 2, 3, 1).numpy(), atol=1e-13)
    np.testing.assert_allclose(dx, there.grad.permute(0, 2, 3, 1).numpy(), atol=1e-12)


def test_resize_keeps_bfloat16_and_constant_maps():
    x = jnp.full((1, 7, 5, 2), 3.0, jnp.bfloat16)
    y = resize_bilinear(x, (31, 12))
    assert y.dtype == jnp.bfloat16
    assert bool((y == 3.0).all())
    assert resize_logits(x, (8, 8)).dtype == jnp.float32


def test_relu6_and_its_gradient_at_the_corners():
    x = jnp.asarray([-1.0, 0.0, 2.0, 6.0, 7.0])
    np.testing.assert_array_equal(relu6(x), [0, 0, 2, 6, 6])
    np.testing.assert_array_equal(jax.grad(lambda a: relu6(a).sum())(x), [0, 0, 1, 0, 0])


def norm_variables(channels, seed=2):
    rng = np.random.default_rng(seed)
    names = {"params": ("scale", "bias"), "batch_stats": ("mean", "var")}
    return {
        kind: {name: rng.uniform(0.5, 1.5, channels) for name in both}
        for kind, both in names.items()
    }


@pytest.mark.parametrize("shape", [(2, 5, 4, 3), (2, 1, 1, 3)], ids=str)
def test_batch_norm_equals_pytorch_in_values_gradients_and_statistics(shape):
    torch = pytest.importorskip("torch")
    variables, x = norm_variables(3), np.random.default_rng(0).normal(4.0, 2.0, shape)
    dy = np.random.default_rng(1).normal(size=shape)
    layer = torch.nn.BatchNorm2d(3, eps=1e-3, momentum=0.2).double()
    names = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    values = {**variables["params"], **variables["batch_stats"]}
    layer.load_state_dict({names[k]: torch.tensor(v) for k, v in values.items()}, strict=False)
    there = torch.tensor(x).permute(0, 3, 1, 2).requires_grad_()
    still = layer.eval()(there).detach().permute(0, 2, 3, 1).numpy()
    expected = layer.train()(there)
    expected.backward(torch.tensor(dy).permute(0, 3, 1, 2))

    def apply(params, x, train):
        full = {**variables, "params": params}
        return BatchNorm(train, 0.8, 1e-3).apply(full, x, mutable=["batch_stats"])

    with jax.enable_x64(True):
        y, pull, new = jax.vjp(
            lambda p, x: apply(p, x, True), variables["params"], jnp.asarray(x), has_aux=True
        )
        grads, dx = pull(jnp.asarray(dy))
        evaluated, untouched = apply(variables["params"], jnp.asarray(x), False)

    def close(a, b):
        return np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)

    close(evaluated, still)
    close(y, expected.detach().permute(0, 2, 3, 1).numpy())
    close(dx, there.grad.permute(0, 2, 3, 1).numpy())
    for name, found in (grads | new["batch_stats"]).items():
        parameter = getattr(layer, names[name])
        close(found, parameter.grad if name in grads else parameter)
    jax.tree.map(np.testing.assert_array_equal, untouched["batch_stats"], variables["batch_stats"])


ONE_VALUE = jnp.ones((1, 1, 1, 3))


class Head(nn.Module):
    """A batch norm `norm` in a module of its own."""

    frozen: tuple[str, ...] = ()

    @nn.compact
    def __call__(self, x, train):
        return BatchNorm(train, axis_name="data", frozen=self.frozen, name="norm")(x)


def applied(x, train=True, frozen=(), devices=1):
    """Traces a batch norm on some devices, after an `init` in training, which may not raise."""

    def per_device(x):
        variables = Head(frozen).init(jax.random.key(0), x, True)
        return Head(frozen).apply(variables, x, train, mutable=["batch_stats"])[0]

    return jax.make_jaxpr(per_device, axis_env=[("data", devices)])(x)


def test_batch_norm_of_one_value_per_channel_is_an_error_in_training():
    with pytest.raises(ConfigError, match=r"batch norm norm .* model.frozen=\('norm',\)"):
        applied(ONE_VALUE)


@pytest.mark.parametrize(
    "options", [{"devices": 2}, {"train": False}, {"frozen": ("norm",)}], ids=str
)
def test_batch_norm_of_one_value_on_more_devices_or_by_running_statistics(options):
    applied(ONE_VALUE, **options)


def test_batch_norm_over_devices_is_that_of_the_whole_batch():
    variables = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), norm_variables(3))
    x = jnp.asarray(np.random.default_rng(0).normal(100.0, 0.1, (8, 2, 3, 3)), jnp.float32)

    def apply(x, axis_name):
        return BatchNorm(True, axis_name=axis_name).apply(variables, x, mutable=["batch_stats"])

    y, new = jax.pmap(lambda x: apply(x, "data"), "data")(x[:, None])
    whole, expected = apply(x, None)
    np.testing.assert_allclose(y[:, 0], whole, atol=2e-3)
    for name, value in expected["batch_stats"].items():
        exact = np.asarray(x, np.float64)
        exact = exact.mean((0, 1, 2)) if name == "mean" else exact.var((0, 1, 2), ddof=1)
        wanted = 0.9 * np.asarray(variables["batch_stats"][name]) + 0.1 * exact
        for found in (*new["batch_stats"][name], value):
            np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("channels, groups", [(64, 32), (48, 24), (7, 7)])
def test_group_norm_equals_pytorch(channels, groups):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(3.0, 2.0, (2, 3, 4, channels))
    layer = torch.nn.GroupNorm(groups, channels).double()
    expected = layer(torch.tensor(x).permute(0, 3, 1, 2)).detach().permute(0, 2, 3, 1).numpy()

    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Numerics(norm="group").normalize(x, True, "norm")

    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        found, variables = Layer().init_with_output(jax.random.key(0), jnp.asarray(x))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert set(variables) == {"params"} and set(variables["params"]["norm"]) == {"scale", "bias"}
