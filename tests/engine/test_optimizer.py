import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.engine.optimizer import layer_scale, make_optimizer
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models import create_model, layers_of

OPTIONS = {
    "name": "sgd",
    "learning_rate": 0.1,
    "head_multiplier": 10.0,
    "weight_decay": 0.01,
    "decay_norm_and_bias": False,
    "momentum": 0.9,
    "power": 0.9,
    "warmup_steps": 0,
}
PARAMS = {
    "encoder": {"conv": {"kernel": jnp.array([[1.0, -2.0]])}, "norm": {"scale": jnp.array([3.0])}},
    "head": {"conv": {"kernel": jnp.array([[0.5]]), "bias": jnp.array([4.0])}},
}


def run(options, total_steps, steps, layers=()):
    optimizer, _ = make_optimizer(options, total_steps, layers=layers)
    params, state = PARAMS, optimizer.init(PARAMS)
    for k in range(steps):
        grads = jax.tree.map(lambda p, k=k: 0.1 * (k + 1) * jnp.ones_like(p), params)
        updates, state = optimizer.update(grads, state, params)
        params = jax.tree.map(lambda p, u: p + u, params, updates)
    return params


def sgd_by_hand(value, *, rate, decay, total_steps, steps):
    """PyTorch's SGD with coupled decay, momentum without dampening and lr·(1−k/T)^0.9."""
    value, momentum = np.float64(value), 0.0
    for k in range(steps):
        momentum = 0.9 * momentum + 0.1 * (k + 1) + decay * value
        value = value - rate * (1 - k / total_steps) ** 0.9 * momentum
    return value


@pytest.mark.parametrize("everything", [False, True])
def test_sgd_groups_decay_and_schedule(everything):
    params = run({**OPTIONS, "decay_norm_and_bias": everything}, 8, 5)
    shared = {"total_steps": 8, "steps": 5}
    encoder, head = params["encoder"], params["head"]
    by_hand = sgd_by_hand([[1.0, -2.0]], rate=0.1, decay=0.01, **shared)
    np.testing.assert_allclose(encoder["conv"]["kernel"], by_hand, rtol=1e-5)
    by_hand = sgd_by_hand([[0.5]], rate=1.0, decay=0.01, **shared)
    np.testing.assert_allclose(head["conv"]["kernel"], by_hand, rtol=1e-5)
    small = 0.01 if everything else 0.0
    by_hand = sgd_by_hand([3.0], rate=0.1, decay=small, **shared)
    np.testing.assert_allclose(encoder["norm"]["scale"], by_hand, rtol=1e-5)
    by_hand = sgd_by_hand([4.0], rate=1.0, decay=small, **shared)
    np.testing.assert_allclose(head["conv"]["bias"], by_hand, rtol=1e-5)


def test_adamw_by_hand():
    # optax counts steps in int32 and raises float32 to that power.
    with jax.numpy_dtype_promotion("standard"):
        params = run({**OPTIONS, "name": "adamw"}, 8, 3)
    value, m, v = np.float64(0.5), 0.0, 0.0
    for k in range(3):
        grad = 0.1 * (k + 1)
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        direction = m / (1 - 0.9 ** (k + 1)) / (np.sqrt(v / (1 - 0.999 ** (k + 1))) + 1e-8)
        value -= 1.0 * (1 - k / 8) ** 0.9 * (direction + 0.01 * value)
    np.testing.assert_allclose(params["head"]["conv"]["kernel"], [[value]], rtol=1e-5)


def test_warmup_rises_and_then_decays_to_zero():
    _, schedule = make_optimizer({**OPTIONS, "warmup_steps": 4}, 10)
    assert [float(schedule(k)) for k in (0, 2, 4)] == pytest.approx([0.0, 0.05, 0.1])
    assert float(schedule(7)) == pytest.approx(0.1 * 0.5**0.9)
    assert float(schedule(10)) == 0.0


@pytest.mark.parametrize("warmup", [0, 4])
@pytest.mark.parametrize(
    "name, share",
    [
        ("poly", lambda x: (1 - x) ** 0.9),
        ("cosine", lambda x: (1 + np.cos(np.pi * x)) / 2),
        ("constant", lambda x: 1.0),
    ],
)
def test_schedules_by_hand(name, share, warmup):
    _, schedule = make_optimizer({**OPTIONS, "warmup_steps": warmup, "schedule": name}, 14)
    rise = [0.1 * k / warmup for k in range(warmup)]
    decay = [0.1 * share(k / (14 - warmup)) for k in range(15 - warmup)]
    traced = jax.jit(lambda k: jnp.asarray(schedule(k), jnp.float32))
    found = [float(traced(jnp.int32(k))) for k in range(15)]
    np.testing.assert_allclose(found, rise + decay, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("name", ["cosine", "constant"])
def test_each_schedule_drives_each_optimizer(name, optimizer):
    with jax.numpy_dtype_promotion("standard"):
        options = {**OPTIONS, "name": optimizer, "weight_decay": 0.0, "momentum": 0.0}
        rule, schedule = make_optimizer({**options, "schedule": name}, 4)
        state = rule.init(PARAMS)
        for k in range(4):
            updates, state = rule.update(jax.tree.map(jnp.ones_like, PARAMS), state, PARAMS)
            # For equal gradients of 1, both optimizers move by the learning rate; adamw divides
            # by 1 − 0.999^k, which float32 holds to 1e-5.
            rate = float(schedule(k))
            np.testing.assert_allclose(updates["encoder"]["norm"]["scale"], -rate, rtol=1e-4)
            np.testing.assert_allclose(updates["head"]["conv"]["bias"], -10 * rate, rtol=1e-4)


def test_the_default_schedule_is_the_polynomial_one_bit_for_bit():
    default, named = run(OPTIONS, 8, 5), run({**OPTIONS, "schedule": "poly"}, 8, 5)
    jax.tree.map(np.testing.assert_array_equal, default, named)
    forms = [
        jax.tree.structure(make_optimizer({**OPTIONS, **extra}, 8)[0].init(PARAMS))
        for extra in ({}, {"schedule": "cosine"}, {"schedule": "constant"})
    ]
    assert forms[0] == forms[1] == forms[2]


def test_unknown_schedule_suggests_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'cosine'"):
        make_optimizer({**OPTIONS, "schedule": "cosin"}, 10)


def test_unknown_optimizer_suggests_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'adamw'"):
        make_optimizer({**OPTIONS, "name": "adam"}, 10)


GRADS = {
    "encoder": {"conv": {"kernel": jnp.array([[3.0, -4.0]])}, "norm": {"scale": jnp.array([2.0])}},
    "head": {"conv": {"kernel": jnp.array([[-5.0]]), "bias": jnp.array([0.5])}},
}


def _first_updates(options, frozen=(), grads=GRADS):
    optimizer, _ = make_optimizer(options, 8, frozen)
    updates, _ = optimizer.update(grads, optimizer.init(PARAMS), PARAMS)
    return updates


@pytest.mark.parametrize("frozen", [(), ("encoder",), ("encoder/norm",)])
@pytest.mark.parametrize("limit", [0.7, 100.0])
def test_clipping_scales_the_whole_gradient_of_trained_parameters(limit, frozen):
    plain = {**OPTIONS, "weight_decay": 0.0}
    clipped = _first_updates({**plain, "clip_norm": limit}, frozen)
    encoder = {"conv/kernel": [[3.0, -4.0]], "norm/scale": [2.0]}
    left_out = {(): [], ("encoder",): [*encoder], ("encoder/norm",): ["norm/scale"]}[frozen]
    trained = {name: np.float64(g) for name, g in encoder.items() if name not in left_out}
    norm = np.sqrt(sum((g**2).sum() for g in trained.values()) + 5.0**2 + 0.5**2)
    scale = min(1.0, limit / norm)
    for name, grad in encoder.items():
        module, leaf = name.split("/")
        expected = -0.1 * scale * np.float64(grad) * (name not in left_out)
        np.testing.assert_allclose(clipped["encoder"][module][leaf], expected, rtol=1e-6)
    np.testing.assert_allclose(clipped["head"]["conv"]["kernel"], [[5.0 * scale]], rtol=1e-6)
    np.testing.assert_allclose(clipped["head"]["conv"]["bias"], [-0.5 * scale], rtol=1e-6)


def test_without_clipping_the_state_has_its_old_form():
    old, _ = make_optimizer(OPTIONS, 8)
    new, _ = make_optimizer({**OPTIONS, "clip_norm": None}, 8)
    clips, _ = make_optimizer({**OPTIONS, "clip_norm": 1.0}, 8)
    forms = [jax.tree.structure(rule.init(PARAMS)) for rule in (old, new, clips)]
    assert forms[0] == forms[1] != forms[2]


def _paths(model):
    images = jax.ShapeDtypeStruct((1, 28, 28, 3), jnp.float32)
    shapes = jax.eval_shape(
        lambda key, x: model.init(key, x, train=False), jax.random.key(0), images
    )
    leaves = jax.tree_util.tree_leaves_with_path(shapes["params"])
    return [[entry.key for entry in path] for path, _ in leaves]


def _beit_layer(path, depth):
    """Layer of a parameter as BEiT and MAE number them: embedding 0, block i + 1, the rest."""
    if re.match("encoder/(cls_token|mask_token|pos_embed|register_tokens|patch_embed)", path):
        return 0
    block = re.match(r"encoder/block_(\d+)/", path)
    return int(block[1]) + 1 if block else depth + 1


@pytest.mark.parametrize("backbone, depth", [("dinov2_small", 12), ("dinov2_large", 24)])
def test_layer_decay_of_a_vit_is_that_of_beit_mae_and_timm(backbone, depth):
    model = create_model("dpt", num_classes=2, backbone=backbone, registers=4)
    paths, layers = _paths(model), layers_of(model)
    # timm: layer_decay ** (layer_max - i) for i = 0, ..., layer_max.
    scales = np.float64(0.65) ** (depth + 1 - np.arange(depth + 2))
    for path in paths:
        expected = scales[_beit_layer("/".join(path), depth)]
        assert layer_scale(path, 0.65, layers) == pytest.approx(expected, rel=1e-12)
        assert layer_scale(["second", *path], 0.65, layers) == layer_scale(path, 0.65, layers)
    found = {layer_scale(path, 0.65, layers) for path in paths}
    assert len(found) == depth + 2 and max(found) == 1.0


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_layer_decay_multiplies_the_learning_rate(name, steps):
    """Against the optimizer itself at the multiplied rate, and with weight decay."""
    layers = (("conv",), ("norm",))
    options = {**OPTIONS, "name": name, "schedule": "cosine", "warmup_steps": 1}
    options |= {"decay_norm_and_bias": True, "weight_decay": 0.3}
    with jax.numpy_dtype_promotion("standard"):
        found = run({**options, "layer_decay": 0.5}, 8, steps, layers)
        for part, factor in (("conv", 0.25), ("norm", 0.5)):
            slower = run({**options, "learning_rate": 0.1 * factor}, 8, steps)
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
                found["encoder"][part],
                slower["encoder"][part],
            )
        jax.tree.map(np.testing.assert_array_equal, found["head"], run(options, 8, steps)["head"])


def test_layer_decay_in_float64_by_hand():
    layers = (("conv",), ("norm",))
    params = run({**OPTIONS, "layer_decay": 0.5}, 8, 5, layers)
    for name, leaf, value, rate, decay in (
        ("conv", "kernel", [[1.0, -2.0]], 0.1 * 0.5**2, 0.01),
        ("norm", "scale", [3.0], 0.1 * 0.5, 0.0),
    ):
        by_hand = sgd_by_hand(value, rate=rate, decay=decay, total_steps=8, steps=5)
        np.testing.assert_allclose(params["encoder"][name][leaf], by_hand, rtol=1e-5)


def test_a_layer_decay_of_1_changes_no_bit_and_no_state():
    plain, named = run(OPTIONS, 8, 5), run({**OPTIONS, "layer_decay": 1.0}, 8, 5)
    jax.tree.map(np.testing.assert_array_equal, plain, named)
    forms = [
        jax.tree.structure(make_optimizer({**OPTIONS, **extra}, 8)[0].init(PARAMS))
        for extra in ({}, {"layer_decay": 1.0})
    ]
    assert forms[0] == forms[1]
