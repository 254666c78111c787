"""Frozen parts of a model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models import (
    Twins,
    check_frozen,
    create_model,
    freeze,
    init_variables,
    is_frozen,
    stop_frozen,
)

IMAGES = np.random.default_rng(0).normal(size=(2, 12, 10, 3)).astype(np.float32)


def unet(**options):
    return create_model("unet", num_classes=3, width=4, depth=1, **options)


def drawn(model):
    """Variables whose running statistics are far from those of any batch."""
    variables = init_variables(model, jax.random.key(0), IMAGES)
    stats = jax.tree.map(lambda a: a + np.float32(0.7), variables["batch_stats"])
    return {"params": variables["params"], "batch_stats": stats}


def train(model, variables):
    return jax.jit(lambda v: model.apply(v, IMAGES, train=True, mutable=["batch_stats"]))(variables)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("encoder", "encoder/stem/conv/kernel", True),
        ("encoder", "encoder2/stem", False),
        ("encoder/", "encoder/stem", True),
        ("encoder/layer1", "encoder/layer1_0/conv1", True),
        ("encoder/layer1", "encoder/layer10/conv1", False),
        ("encoder/block_1", "encoder/block_10", False),
        ("encoder/block_0[0-5]", "encoder/block_05/norm1/scale", True),
        ("encoder/block_0[0-5]", "encoder/block_06/norm1/scale", False),
        ("encoder/layer1", "encoder/layer1_0", True),
        ("encoder", "second/encoder/stem", True),
        ("head", "second/encoder/head", False),
        ("stem", "encoder/stem", False),
    ],
)
def test_what_a_name_covers(name, path, expected):
    assert is_frozen(path.split("/"), (name,)) is expected
    assert not is_frozen(path.split("/"), ())


@pytest.mark.parametrize("remat", [False, True])
def test_a_frozen_encoder_is_in_evaluation_mode_while_the_head_trains(remat):
    plain, frozen = unet(), freeze(unet(remat=remat), ("encoder",))
    variables = drawn(plain)
    logits, updated = train(frozen, variables)

    def by_parts(v):
        features = plain.apply(v, IMAGES, False, method="encode")
        decode = plain.apply(v, features, (12, 10), True, method="decode", mutable=["batch_stats"])
        return decode[0], decode[1]["batch_stats"]["head"]

    expected, head = jax.jit(by_parts)(variables)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    assert_equal(updated["batch_stats"]["encoder"], variables["batch_stats"]["encoder"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
                 updated["batch_stats"]["head"], head)  # fmt: skip
    # Both differ from training without frozen parts.
    assert np.abs(train(plain, variables)[0] - logits).max() > 1e-2


def test_one_stage_of_two_networks():
    twins = Twins(*(freeze(unet(), ("encoder/level_0",)) for _ in range(2)))
    variables = drawn(twins)
    _, updated = train(twins, variables)
    before, after = variables["batch_stats"]["first"], updated["batch_stats"]["first"]
    assert_equal(after["encoder"]["level_0"], before["encoder"]["level_0"])
    changed = jax.tree.map(lambda a, b: bool((a != b).all()), after, before)
    assert all(jax.tree.leaves([changed["encoder"]["level_1"], changed["head"]]))


def test_no_gradient_reaches_what_is_frozen():
    params = {"encoder": {"a": jnp.ones(2), "b": jnp.ones(2)}, "head": {"c": jnp.ones(2)}}

    def loss(params):
        leaves = jax.tree.leaves(stop_frozen(params, ("encoder/a", "head")))
        return sum(jnp.sum(leaf**2) for leaf in leaves)

    grads = jax.grad(loss)(params)
    assert_equal(grads["encoder"], {"a": np.zeros(2), "b": np.full(2, 2.0)})
    assert_equal(grads["head"], {"c": np.zeros(2)})


def test_names_that_cannot_be():
    params = drawn(unet())["params"]
    with pytest.raises(ConfigError, match="'encodr'.* encoder/level_0, encoder/level_1, head/clas"):
        check_frozen(params, ("encoder", "encodr"))
    with pytest.raises(ConfigError, match="nothing to train"):
        check_frozen(params, ("encoder", "head"))
    check_frozen(params, ("encoder", "head/level"))
    assert freeze(unet(), ()) == unet()
