"""Relations weighted by norms of gradients, against their statement in float64."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ipixmatch_jax.config import load_config
from ipixmatch_jax.engine.gradient_balance import DECAY, followed, scale, with_gradient
from ipixmatch_jax.engine.objective import Objective
from ipixmatch_jax.engine.state import create_state
from ipixmatch_jax.engine.weighted_relation import WeightedRelation
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.methods import Network, make_method
from ipixmatch_jax.models import create_model
from ipixmatch_jax.views import Views
from ipixmatch_jax.workdir.checkpoints import split_state
from tests.references.miniature import CLASSES, make_run, random_batch

BATCHES = [random_batch(seed) for seed in range(3)]
RELATIONS = (
    WeightedRelation("class_map", "kl", 0.5, "gradient", temperature=2.0),
    WeightedRelation("affinity", "mse", 3.0, "gradient", region="valid"),
    WeightedRelation("class_map", "corr", 0.2),
)
LABELS = ("relation/class_map/kl", "relation/affinity/mse", "relation/class_map/corr")
# Without batch norm no record sees another, so that micro-batches change nothing.
COMMON = {"relations": RELATIONS, "norm": "group"}


def naive_losses(student, teacher, keep, valid):
    """The pseudo-label loss and the three relations of whole batches [B,H,W,C], as formulas."""
    shape = (len(student), -1, student.shape[-1])
    log_q = jax.nn.log_softmax(student)
    chosen = jnp.take_along_axis(log_q, teacher.argmax(-1)[..., None], -1)[..., 0]
    y, z = student.reshape(shape), teacher.reshape(shape)
    m, v = (x.astype(y.dtype).reshape(len(y), -1, 1) for x in (keep, valid))

    def over_pixels(x):
        return jax.nn.log_softmax(jnp.where(m > 0, x / 2.0, -1e300), axis=1)

    log_p, log_s = over_pixels(z), over_pixels(y)
    kl = jnp.where(m > 0, jnp.exp(log_p) * (log_p - log_s), 0.0).sum(1).mean(-1) * 4.0
    p, q = jax.nn.softmax(z), jax.nn.softmax(y)
    gap = jnp.einsum("bic,bjc->bij", q, q) - jnp.einsum("bic,bjc->bij", p, p)
    mse = (v * v.mT * gap**2).sum((1, 2)) / v.sum((1, 2)) ** 2

    def normal(x):
        n = m.sum(1, keepdims=True)
        x = x - (m * x).sum(1, keepdims=True) / n
        return x / jnp.sqrt((m * x * x).sum(1, keepdims=True) / n)

    corr = 1.0 - ((m * normal(p) * normal(q)).sum(1) / m.sum(1)).mean(-1)
    return [
        -jnp.where(keep, chosen, 0.0).sum() / valid.sum().astype(y.dtype),
        kl.mean(),
        mse.mean(),
        corr.mean(),
    ]


@jax.jit
def forward(state, batch):
    """Logits of student and teacher, and valid pixels, of a state's networks."""
    model = create_model(
        "unet", num_classes=CLASSES, width=4, depth=1, norm="group", axis_name="data"
    )
    student = Network(model, state.params, state.batch_stats)
    teacher = Network(model, state.teacher_params, state.teacher_batch_stats)
    views = Views(mean=model.input_mean, std=model.input_std)
    (term,) = make_method("fixmatch", {})(student, teacher, views, batch).terms
    return term.student_logits, term.teacher_logits, term.valid


@jax.jit
def naive_norms(y, z, valid):
    keep = valid & (jax.nn.softmax(z).max(-1) >= 0.3)
    rows = jax.jacrev(lambda y: jnp.stack(naive_losses(y, z, keep, valid)))(y)
    return jnp.sqrt(jnp.sum(rows**2, axis=(1, 2, 3, 4)))


def expected_norms(state, batch):
    """Norms of the gradients by the student's logits, in float64."""
    student, teacher, valid = jax.device_get(forward(state, batch))
    with jax.enable_x64(True):
        y, z = (jnp.asarray(np.asarray(x, np.float64)) for x in (student, teacher))
        found = np.array(naive_norms(y, z, jnp.asarray(valid)))
    found[3] = 0.0  # a relation with a fixed weight is not measured
    return found


@pytest.mark.parametrize(
    "options", [{}, {"devices": 8}, {"devices": 2, "accumulate_steps": 4}], ids=str
)
def test_norms_and_weights_are_those_of_the_whole_batch(options):
    run = make_run(**COMMON, **options)
    norms, weights = [], []
    for batch in BATCHES:
        norms.append(expected_norms(jax.device_get(run.state), batch))
        state, metrics = run.take(batch)
        weights.append([metrics[label.replace("relation", "relation_weight", 1)]
                        for label in LABELS])  # fmt: skip
        total = sum(w * metrics[label] for w, label in zip(weights[-1], LABELS, strict=True))
        assert metrics["loss_relation"] == pytest.approx(total, rel=1e-5)
        assert metrics["loss"] == pytest.approx(
            metrics["loss_supervised"] + metrics["loss_pseudo"] + total, rel=1e-5
        )
    mean = np.zeros(4)
    for at, found in enumerate(norms):
        ratios = mean[0] / mean[1:3] if at else np.zeros(2)
        expected = [0.5 * ratios[0], 3.0 * ratios[1], 0.2]
        np.testing.assert_allclose(weights[at], expected, rtol=1e-4)
        mean = DECAY * mean + (1 - DECAY) * found
    np.testing.assert_allclose(state.balance, mean, rtol=1e-4)


def test_one_and_eight_devices_agree():
    one, _ = make_run(**COMMON).take(*BATCHES)
    eight, _ = make_run(**COMMON, devices=8, parallel="shard_map").take(*BATCHES)
    chex.assert_trees_all_close(one.params, eight.params, rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(one.balance, eight.balance, rtol=1e-5)


def test_the_gradient_is_that_of_the_loss():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3, 4)), jnp.float32)

    def loss(x):
        return jnp.sum(jnp.sin(x) ** 2), jnp.float32(5)

    def share(x):
        (total, count), squares = with_gradient(loss, x)
        return 3 * total / count, squares

    (value, squares), gradient = jax.value_and_grad(share, has_aux=True)(x)
    assert value == pytest.approx(0.6 * float(jnp.sum(jnp.sin(x) ** 2)))
    expected = 2 * np.sin(x) * np.cos(x)
    np.testing.assert_allclose(gradient, 0.6 * expected, rtol=1e-5, atol=1e-7)
    assert squares == pytest.approx(float((expected**2).sum()), rel=1e-5)


def test_a_relation_without_a_gradient_has_no_weight():
    balance = followed(jnp.zeros(3), jnp.asarray([4.0, 1.0, 0.0]))
    assert float(scale(balance, 0)) == pytest.approx(2.0)
    assert float(scale(balance, 1)) == 0.0


def test_the_norms_are_saved_only_where_there_are_some():
    variables = {"params": {"w": jnp.ones(2)}}
    rule = optax.sgd(0.1)
    assert "balance" not in split_state(create_state(variables, rule))["training"]
    assert split_state(create_state(variables, rule, 3))["training"]["balance"].shape == (3,)


def test_a_state_without_the_norms_is_named():
    with pytest.raises(ValueError, match="balanced=4"):
        Objective(relations=RELATIONS).strengths(jnp.zeros((), int))


def test_features_have_no_gradient_with_respect_to_logits(config_file):
    keys = ("name=affinity", "distance=mse", "on=features", "balance=gradient")
    with pytest.raises(ConfigError, match="gradients with respect to the logits"):
        load_config(str(config_file), [f"--config.relation.{key}" for key in keys])
