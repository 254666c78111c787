"""Convolutions of resized maps equal the usual order: resize, concatenate, convolve."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.models import conv_of_maps
from ipixmatch_jax.models.conv_of_maps import ConvNormOfMaps, convolve_and_resize
from ipixmatch_jax.models.extent import Extent, center_weights, corner_weights
from ipixmatch_jax.models.half_pixel import resize_half_pixel
from ipixmatch_jax.models.layers import ConvNorm, Numerics, resize_bilinear

RESIZE = {
    "corners": (corner_weights, resize_bilinear),
    "centers": (center_weights, resize_half_pixel),
}
SIZES = [((3, 4), (12, 16)), ((5, 7), (11, 13)), ((1, 1), (4, 6)), ((6, 5), (3, 4))]


def usual_order(x, kernel, size, resize):
    return jax.lax.conv_general_dilated(
        resize(x, size), kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def arrays(before, side, channels=3, features=2, batch=2):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, *before, channels))
    return x, rng.normal(size=(side, side, channels, features))


@pytest.mark.parametrize("side", [1, 3, 5])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", RESIZE)
def test_equals_a_convolution_of_the_resized_map(name, sizes, side):
    weights, resize = RESIZE[name]
    before, after = sizes
    with jax.enable_x64(True):
        x, kernel = arrays(before, side)
        ways = (
            functools.partial(convolve_and_resize, size=after, weights=weights),
            functools.partial(usual_order, size=after, resize=resize),
        )
        slope = np.cos(np.arange(2 * after[0] * after[1] * 2)).reshape(2, *after, 2)

        @jax.jit
        def values_and_gradients(x, kernel):
            found = []
            for way in ways:
                y, back = jax.vjp(way, x, kernel)
                found.append((y, *back(jnp.asarray(slope))))
            return found

        for ours, expected in zip(*values_and_gradients(x, kernel), strict=True):
            assert ours.dtype == jnp.float64
            np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", RESIZE)
def test_each_image_of_a_frame_is_seen_alone(name):
    weights, resize = RESIZE[name]
    true = [(16, 12), (9, 16), (5, 6)]
    rows, columns = (jnp.asarray(side, jnp.int32) for side in zip(*true, strict=True))
    extent = Extent((16, 16), rows, columns)
    x, kernel = arrays((4, 4), 3, batch=len(true))
    x = np.where(np.asarray(extent.inside((4, 4)))[..., None], x, np.nan)
    operands = jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)
    way = functools.partial(convolve_and_resize, size=(8, 8), extent=extent, weights=weights)
    together = np.asarray(jax.jit(way)(*operands))
    small, large = (
        list(zip(*map(np.asarray, extent.at(size)), strict=True)) for size in ((4, 4), (8, 8))
    )
    for i in range(len(true)):
        (h, w), (height, width) = small[i], large[i]
        alone = functools.partial(usual_order, size=(height, width), resize=resize)
        alone = jax.jit(alone)(operands[0][i : i + 1, :h, :w], operands[1])
        np.testing.assert_allclose(together[i, :height, :width], alone[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("worth", [0.0, 0.75, np.inf], ids=["never", "by_products", "always"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_equals_conv_norm_of_the_concatenation(monkeypatch, worth, dtype):
    monkeypatch.setattr(conv_of_maps, "_WORTH", worth)
    numerics = Numerics(dtype=jnp.dtype(dtype))
    rng, size = np.random.default_rng(0), (8, 12)
    maps = [
        jnp.asarray(rng.normal(size=(2, *shape)), dtype)
        for shape in ((8, 12, 4), (2, 3, 24), (5, 5, 1))
    ]
    plain, ours = ConvNorm(6, 3, numerics=numerics), ConvNormOfMaps(6, 3, numerics)

    def joined(maps):
        return jnp.concatenate([resize_bilinear(x, size) for x in maps], axis=-1)

    @jax.jit
    def drawn(key):
        return (
            plain.init(key, joined(maps), train=False),
            ours.init(key, maps, size, train=False),
        )

    variables, own = drawn(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, variables, own)

    @jax.jit
    def results(variables, maps):
        return [
            net.apply(variables, *inputs, train=train, mutable=["batch_stats"])
            for train in (False, True)
            for net, inputs in ((ours, (maps, size)), (plain, (joined(maps),)))
        ]

    found = results(variables, maps)
    for y, expected in (found[:2], found[2:]):
        # bfloat16 has 8 bits, and the usual order rounds the resized map too.
        tolerance = 1e-5 if dtype == "float32" else 4e-2
        for a, b in zip(jax.tree.leaves(y), jax.tree.leaves(expected), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(
                a.astype(jnp.float32), b.astype(jnp.float32), rtol=tolerance, atol=tolerance
            )


def test_products_are_counted_as_the_compiler_counts_them():
    x, kernel = arrays((6, 9), 3, channels=32, features=16, batch=1)
    x, kernel, size = jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32), (24, 36)

    def flops(way):
        cost = jax.jit(way).lower(x, kernel).compile().cost_analysis()
        return cost["flops"]

    ratio = flops(lambda x, k: convolve_and_resize(x, k, size)) / flops(
        lambda x, k: usual_order(x, k, size, resize_bilinear)
    )
    counted = conv_of_maps._products(x, kernel, size)
    assert counted < 0.3
    # The compiler also counts sums, weights and the padding that is not multiplied.
    assert ratio == pytest.approx(counted, rel=0.25)
