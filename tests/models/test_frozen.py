"""Frozen parts of a model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models import (
    Twins,
    check_frozen,
    completed,
    create_model,
    freeze,
    init_variables,
    is_frozen,
    learned,
    matching,
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
        ("!encoder", "encoder/stem", False),
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


def test_what_learns_is_a_part_of_the_tree_and_can_be_put_back():
    params = {"encoder": {"a": 1, "b": 2}, "head": {"c": 3}, "more": {"d": {"e": 4}}}
    part = learned(params, ("encoder/a", "head"))
    assert part == {"encoder": {"b": 2}, "more": {"d": {"e": 4}}}
    assert learned(params, ()) is params
    assert matching(params, part) == part
    tens = jax.tree.map(lambda leaf: 10 * leaf, part)
    whole = {"encoder": {"a": 1, "b": 20}, "head": {"c": 3}, "more": {"d": {"e": 40}}}
    assert completed(tens, params) == whole
    zeroed = completed(tens, params, lambda tree: jax.tree.map(lambda _: 0, tree))
    assert zeroed == {"encoder": {"a": 0, "b": 20}, "head": {"c": 0}, "more": {"d": {"e": 40}}}
    twins = {"first": params, "second": params}
    assert learned(twins, ("encoder/a", "head")) == {"first": part, "second": part}


@pytest.mark.parametrize(
    "path, expected",
    [
        ("encoder/block_0/norm/scale", True),
        ("encoder/block_0/norm/bias", False),
        ("encoder/block_1/norm/bias", True),
        ("head/bias", False),
    ],
)
def test_a_name_after_an_exclamation_mark_is_an_exception(path, expected):
    frozen = ("encoder", "!encoder/*/bias", "encoder/block_1")
    assert is_frozen(path.split("/"), frozen) is expected


def _vit_paths():
    model = create_model("dpt", num_classes=2, registers=4)
    images = jax.ShapeDtypeStruct((1, 28, 28, 3), jnp.float32)
    shapes = jax.eval_shape(lambda k, x: model.init(k, x, False), jax.random.key(0), images)
    leaves = jax.tree_util.tree_leaves_with_path(shapes["params"])
    return ["/".join(entry.key for entry in path) for path, _ in leaves]


def _trained_of_vit(frozen):
    return [path for path in _vit_paths() if not is_frozen(path.split("/"), frozen)]


def test_bitfit_trains_the_biases_of_the_encoder_and_the_head():
    trained = _trained_of_vit(("encoder", "!encoder/*/bias"))
    expected = [p for p in _vit_paths() if p.endswith("/bias") or p.startswith("head/")]
    assert trained == expected and sum(p.startswith("encoder/") for p in trained) == 12 * 6 + 2


def test_the_last_blocks_alone():
    trained = _trained_of_vit(("encoder", "!encoder/block_1*", "!encoder/norm"))
    last = ("encoder/block_10/", "encoder/block_11/", "encoder/norm/", "head/")
    assert trained == [path for path in _vit_paths() if path.startswith(last)]


def test_names_that_cannot_be():
    params = drawn(unet())["params"]
    with pytest.raises(ConfigError, match="'encodr'.* encoder/level_0, encoder/level_1, head/clas"):
        check_frozen(params, ("encoder", "encodr"))
    with pytest.raises(ConfigError, match="nothing to train"):
        check_frozen(params, ("encoder", "head"))
    check_frozen(params, ("encoder", "head/level"))
    check_frozen(params, ("encoder", "!encoder/*/bias"))
    with pytest.raises(ConfigError, match="'!encodr/bias', which the model does not have"):
        check_frozen(params, ("encoder", "!encodr/bias"))
    assert freeze(unet(), ()) == unet()
