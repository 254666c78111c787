"""Max-pooling against PyTorch, on each platform's form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.models import max_pool
from ipixmatch_jax.models.max_pool import max_pool_3x3

SIZES = [(9, 9), (8, 7), (12, 10), (1, 1), (2, 3), (1, 6)]


def value_and_pullback(x, dy):
    y, pull = jax.vjp(max_pool_3x3, x)
    return y, *pull(dy)


@pytest.mark.parametrize("form", ["cpu", "default"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_values_and_gradient_equal_pytorch_with_ties(size, form, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(
        jax.lax, "platform_dependent", lambda *operands, **forms: forms[form](*operands)
    )
    rng = np.random.default_rng(0)
    x = rng.integers(-2, 3, (2, *size, 5)).astype(np.float64)
    there = torch.tensor(x).permute(0, 3, 1, 2).requires_grad_()
    expected = torch.nn.functional.max_pool2d(there, 3, 2, 1)
    dy = rng.normal(size=expected.permute(0, 2, 3, 1).shape)
    expected.backward(torch.tensor(dy).permute(0, 3, 1, 2))
    with jax.enable_x64(True):
        y, dx = jax.jit(value_and_pullback)(x, dy)
    np.testing.assert_array_equal(y, expected.detach().permute(0, 2, 3, 1).numpy())
    np.testing.assert_allclose(dx, there.grad.permute(0, 2, 3, 1).numpy(), rtol=0, atol=1e-13)


def test_bfloat16_stays_and_infinities_pass():
    x = jnp.full((1, 4, 4, 1), -jnp.inf, jnp.bfloat16).at[0, 1, 1, 0].set(2.0)
    y, dx = jax.jit(value_and_pullback)(x, jnp.ones((1, 2, 2, 1), jnp.bfloat16))
    assert y.dtype == dx.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y[0, :, :, 0].astype(jnp.float32), [[2, 2], [2, 2]])
    assert float(dx[0, 1, 1, 0]) == 4.0


def test_each_platform_gets_its_own_form():
    x = jax.ShapeDtypeStruct((2, 9, 9, 4), jnp.float32)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(max_pool.max_pool_3x3(x))))
    texts = {
        platform: jax.export.export(gradient, platforms=[platform])(x).mlir_module()
        for platform in ("cpu", "tpu", "cuda")
    }
    assert "stablehlo.select_and_scatter" not in texts["cpu"]
    assert all("stablehlo.select_and_scatter" in texts[name] for name in ("tpu", "cuda"))
