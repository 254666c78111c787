"""The CPU forms against XLA's native convolution, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.models.conv_backends import conv_general_dilated

DIMENSIONS = jax.lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))

# height, width, kernel, stride, dilation, padding
GEOMETRIES = [
    (7, 9, 3, 1, 1, "SAME"),
    (8, 9, 3, 2, 1, "SAME"),
    (9, 8, 5, 2, 1, "SAME"),
    (9, 8, 5, 1, 2, "SAME"),
    (9, 7, 3, 1, 6, "SAME"),
    (9, 9, 3, 1, 18, "SAME"),
    (10, 11, 3, 1, 5, ((5, 2), (3, 6))),
    (10, 11, 5, 3, 2, "VALID"),
    (10, 11, 3, 2, 3, ((1, 2), (3, 0))),
    (1, 1, 3, 1, 1, "SAME"),
    (6, 5, 1, 1, 1, "SAME"),
    (6, 5, 1, 2, 1, "SAME"),
]


def operands(kind, height, width, kernel, channels=17, dtype=np.float64):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, height, width, channels))
    shape = (1, channels) if kind == "depthwise" else (channels, 5)
    k = rng.normal(size=(kernel, kernel, *shape))
    return jnp.asarray(x, dtype), jnp.asarray(k, dtype), channels if kind == "depthwise" else 1


@pytest.mark.parametrize("kind", ["depthwise", "dense"])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_values_and_gradients_equal_the_native_convolution(kind, geometry):
    height, width, kernel, stride, dilation, padding = geometry
    with jax.enable_x64(True):
        x, k, groups = operands(kind, height, width, kernel)
        arguments = dict(
            window_strides=(stride, stride),
            padding=padding,
            rhs_dilation=(dilation, dilation),
            dimension_numbers=DIMENSIONS,
            feature_group_count=groups,
        )

        def pulled_back(convolution):
            y, pull = jax.vjp(lambda x, k: convolution(x, k, **arguments), x, k)
            dy = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
            return y, *pull(dy)

        ours = jax.jit(lambda: pulled_back(conv_general_dilated))()
        native = jax.jit(lambda: pulled_back(jax.lax.conv_general_dilated))()
        for a, b in zip(ours, native, strict=True):
            assert a.dtype == b.dtype == np.float64
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "kind, size, dilation", [("depthwise", 5, 1), ("dense", 1, 1), ("dense", 3, 7)]
)
def test_bfloat16_sums_in_float32(kind, size, dilation):
    x, k, groups = operands(kind, 9, 9, size, 32, jnp.bfloat16)

    def loss(x, k):
        options = dict(feature_group_count=groups, rhs_dilation=(dilation, dilation))
        y = conv_general_dilated(x, k, (1, 1), "SAME", **options)
        assert y.dtype == x.dtype
        return jnp.sum(y.astype(jnp.float32)), y

    (dx, dk), y = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(x, k)
    wide = [a.astype(jnp.float32) for a in (x, k)]
    (wide_dx, wide_dk), wide_y = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(*wide)
    # One rounding to bfloat16 (2⁻⁹) of what float32 gives, not one for every term.
    for narrow, exact in ((y, wide_y), (dx, wide_dx), (dk, wide_dk)):
        assert narrow.dtype == jnp.bfloat16
        np.testing.assert_allclose(narrow.astype(np.float32), exact, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("kind, dilation", [("depthwise", 1), ("dense", 7)])
def test_each_platform_gets_its_own_form(kind, dilation):
    x, k, groups = operands(kind, 8, 8, 3, dtype=np.float32)
    options = dict(feature_group_count=groups, rhs_dilation=(dilation, dilation))

    def gradients(x, k):
        y, pull = jax.vjp(lambda x, k: conv_general_dilated(x, k, (1, 1), "SAME", **options), x, k)
        return pull(y)

    texts = {
        platform: jax.export.export(jax.jit(gradients), platforms=[platform])(x, k).mlir_module()
        for platform in ("cpu", "tpu", "cuda")
    }
    assert "stablehlo.convolution" not in texts["cpu"]
    for platform in ("tpu", "cuda"):
        # Forward, towards the input and towards the kernel, and no loop over kernel positions.
        assert texts[platform].count("stablehlo.convolution") == 3
        assert "stablehlo.while" not in texts[platform]


@pytest.mark.parametrize("spread", ["pmap", "shard_map", "vmap"])
def test_works_under_transformations(spread):
    x, k, groups = operands("depthwise", 6, 6, 3, 4, np.float32)
    x = jnp.concatenate([x] * 4) * jnp.arange(8, dtype=np.float32)[:, None, None, None]

    @jax.jit
    def kernel_gradient(x, k):
        y, pull = jax.vjp(
            lambda k: conv_general_dilated(x, k, (2, 2), "SAME", feature_group_count=groups), k
        )
        return pull(y)[0]

    expected = np.stack([kernel_gradient(one[None], k) for one in x])
    if spread == "vmap":
        found = jax.vmap(kernel_gradient, (0, None))(x[:, None], k)
    elif spread == "pmap":
        found = jax.pmap(kernel_gradient, in_axes=(0, None))(x[:, None], k)
    else:
        mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        specs = jax.P("data"), jax.P()
        found = jax.jit(
            jax.shard_map(
                lambda x, k: kernel_gradient(x, k)[None],
                mesh=mesh,
                in_specs=specs,
                out_specs=jax.P("data"),
                check_vma=False,
            )
        )(x, k)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
