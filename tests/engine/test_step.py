import logging

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ipixmatch_jax.engine.objective import Objective, Threshold
from ipixmatch_jax.engine.state import create_state
from ipixmatch_jax.engine.step import make_train_step
from ipixmatch_jax.engine.weighted_relation import WeightedRelation
from ipixmatch_jax.methods import Network, make_method
from ipixmatch_jax.views import Views
from tests.references.miniature import CLASSES, make_run, random_batch

BATCHES = [random_batch(seed) for seed in range(3)]
LABELED = {"labeled": BATCHES[0]["labeled"]}


def test_eight_devices_with_one_record_equal_one_device_with_eight():
    one, one_metrics = make_run(devices=1).take(*BATCHES)
    eight, eight_metrics = make_run(devices=8).take(*BATCHES)
    # Sums over pixels are taken in another order; batch norm divides by small deviations.
    chex.assert_trees_all_close(one.params, eight.params, rtol=2e-4, atol=2e-5)
    chex.assert_trees_all_close(one.batch_stats, eight.batch_stats, rtol=2e-4, atol=2e-5)
    chex.assert_trees_all_close(one.teacher_params, eight.teacher_params, rtol=2e-4, atol=2e-5)
    for name in one_metrics:
        np.testing.assert_allclose(one_metrics[name], eight_metrics[name], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_pmap_equals_shard_map_bit_for_bit():
    pmap, _ = make_run(devices=8, parallel="pmap").take(*BATCHES)
    shard_map, _ = make_run(devices=8, parallel="shard_map").take(*BATCHES)
    chex.assert_trees_all_equal(pmap, shard_map)


@pytest.mark.parametrize(
    "normalize", ["global", pytest.param("per_device", marks=pytest.mark.slow)]
)
def test_accumulated_parts_are_one_big_batch(normalize):
    # Without batch norm, records are independent. Half of the records are padded: the parts of a
    # device, one padded record and one that is not, divide by different counts.
    common = {"devices": 2, "norm": "group", "normalize": normalize}
    relations = (WeightedRelation("class_map", "kl"), WeightedRelation("affinity", "corr"))
    # Mirrored: in BATCHES a pixel is within rounding of a kink, that of a ReLU or a threshold.
    batches = [jax.tree.map(lambda x: _dealt_unevenly(_mirrored(x)), batch) for batch in BATCHES]
    whole, metrics = make_run(**common, relations=relations).take(*batches)
    run = make_run(**common, relations=relations, accumulate_steps=4, parallel="shard_map")
    parts, metrics_of_parts = run.take(*batches)
    # Sums over records are taken in another order.
    chex.assert_trees_all_close(whole.params, parts.params, rtol=2e-5, atol=2e-6)
    chex.assert_trees_all_close(whole.teacher_params, parts.teacher_params, rtol=2e-5, atol=2e-6)
    assert metrics.keys() == metrics_of_parts.keys()
    for name in metrics:
        np.testing.assert_allclose(metrics[name], metrics_of_parts[name], rtol=1e-4, atol=1e-6)


def _mirrored(leaf: np.ndarray) -> np.ndarray:
    return leaf[:, ::-1] if leaf.ndim > 2 else leaf


def _dealt_unevenly(leaf: np.ndarray) -> np.ndarray:
    """Records 0 to 7 in an order that gives both devices padded ones, and parts of both kinds."""
    return leaf[[0, 4, 1, 5, 2, 3, 6, 7]]


def test_parts_move_running_statistics_and_train_under_batch_norm():
    whole, _ = make_run(method="supervised").take(LABELED)
    parts, metrics = make_run(method="supervised", accumulate_steps=2).take(LABELED)
    moved = jax.tree.map(lambda a, b: abs(a - b).max(), whole.batch_stats, parts.batch_stats)
    assert max(jax.tree.leaves(moved)) > 1e-3  # moved twice, not once
    assert np.isfinite(metrics["loss"])


def test_zero1_is_shard_map_with_the_optimizer_and_the_teacher_in_pieces():
    with jax.numpy_dtype_promotion("standard"):  # as optax.adamw needs
        options = {"devices": 4, "optimizer": "adamw", "learning_rate": 0.01}
        whole, metrics = make_run(**options, parallel="shard_map").take(*BATCHES)
        run = make_run(**options, parallel="zero1")
        before = run.state.params["head"]["classifier"]["kernel"]
        pieces, metrics_of_pieces = run.take(*BATCHES)
    assert before.is_deleted()
    # The compiler fuses the update of a piece in another way.
    chex.assert_trees_all_close(whole, pieces, rtol=1e-4, atol=1e-6)
    assert metrics["loss"] == pytest.approx(metrics_of_pieces["loss"], rel=1e-5)

    def held(tree):
        return sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(tree))

    def total(tree):
        return sum(x.nbytes for x in jax.tree.leaves(tree))

    assert held(run.state.params) == total(run.state.params)
    for part in (run.state.teacher_params, run.state.opt_state):
        assert held(part) < 0.3 * total(part)  # a quarter, and what four cannot share
    network = run.parallel.whole(run.state.teacher_params)
    assert all(leaf.is_fully_replicated for leaf in jax.tree.leaves(network))


CLIPPING = {"method": "supervised", "norm": "group"}


def _clipped(clip_norm=0.05, **options):
    """Parameters before one step, and state and metrics after it."""
    run = make_run(**CLIPPING, clip_norm=clip_norm, **options)
    before = jax.device_get(run.state.params)
    state, metrics = run.take(LABELED)
    return before, state, metrics


def test_clipping_uses_the_norm_of_the_whole_gradient_in_float64():
    before, state, metrics = _clipped(None)
    rate, decay = 0.1, 1e-3

    def gradient(path, old, new):
        # One step of SGD solved for its gradient.
        old, new = np.float64(old), np.float64(new)
        lr = rate if "encoder" in [entry.key for entry in path] else 2 * rate
        return (old - new) / lr - decay * old * (old.ndim > 1)

    grads = jax.tree_util.tree_map_with_path(gradient, before, state.params)
    norm = np.sqrt(sum((g**2).sum() for g in jax.tree.leaves(grads)))
    assert norm > 0.1 and metrics["grad_norm"] == pytest.approx(norm, rel=1e-4)

    before, clipped, clipped_metrics = _clipped()
    after = jax.tree_util.tree_map_with_path(gradient, before, clipped.params)
    expected = jax.tree.map(lambda g: g * 0.05 / norm, grads)
    chex.assert_trees_all_close(after, expected, rtol=1e-3, atol=1e-5)
    # The metric is the norm before clipping.
    assert clipped_metrics["grad_norm"] == pytest.approx(norm, rel=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"devices": 8},
        {"devices": 4, "parallel": "shard_map", "accumulate_steps": 2},
        {"devices": 4, "parallel": "zero1"},
        {"devices": 2, "parallel": "zero1", "accumulate_steps": 2},
    ],
    ids=["pmap", "shard_map", "zero1", "zero1 in parts"],
)
def test_clipping_does_not_depend_on_devices_or_parts(options):
    before, one, metrics = _clipped()
    _, many, metrics_of_many = _clipped(**options)
    chex.assert_trees_all_close(one.params, many.params, rtol=1e-5, atol=1e-6)
    assert metrics["grad_norm"] == pytest.approx(metrics_of_many["grad_norm"], rel=1e-4)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), before, one.params)
    assert max(jax.tree.leaves(moved)) > 1e-4  # far more than the tolerance


def test_per_device_normalization_differs_where_valid_counts_do():
    # Half of the records are padded, so that per-device means weigh pixels unequally.
    everywhere, _ = make_run(devices=8, normalize="global").take(BATCHES[0])
    per_device, _ = make_run(devices=8, normalize="per_device").take(BATCHES[0])
    difference = jax.tree.map(lambda a, b: abs(a - b).max(), everywhere.params, per_device.params)
    assert max(jax.tree.leaves(difference)) > 1e-5


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_loss_falls_on_a_fixed_batch(optimizer):
    # optax.adamw counts steps in int32 and raises float32 to that power.
    with jax.numpy_dtype_promotion("standard"):
        run = make_run(method="supervised", optimizer=optimizer, learning_rate=0.02)
        _, first = run.take(LABELED)
        _, last = run.take(*[LABELED] * 15)
    assert last["loss_supervised"] < 0.9 * first["loss_supervised"]


def test_the_teacher_gets_no_gradient():
    class PerPixel(nn.Module):
        @nn.compact
        def __call__(self, images, train=False):
            return nn.Dense(CLASSES)(images)

    model, views = PerPixel(), Views(mean=(0.5,) * 3, std=(0.25,) * 3)
    params = model.init(jax.random.key(0), jnp.zeros((1, 1, 1, 3)))["params"]
    method = make_method("fixmatch", {})
    objective = Objective(
        threshold=Threshold(0.0), relations=(WeightedRelation("class_map", "corr"),)
    )

    def loss(student_params, teacher_params):
        def on_device(batch):
            student, teacher = (Network(model, p, {}) for p in (student_params, teacher_params))
            output = method(student, teacher, views, batch)
            return objective(output, batch["labeled"], jnp.asarray(5))[0]

        stacked = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], BATCHES[0])
        return jax.vmap(on_device, axis_name="data")(stacked).sum()

    student, teacher = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, params)
    assert optax.tree.norm(teacher) == 0.0
    assert optax.tree.norm(student) > 1e-3


def test_relations_of_features_and_of_probabilities_in_one_step():
    relations = (
        WeightedRelation("affinity", "corr", options={"on": "features", "cosine": True}),
        WeightedRelation("affinity", "mse", 5.0),
    )
    _, metrics = make_run(threshold=Threshold(0.0), relations=relations).take(BATCHES[0])
    of_features, of_probs = (metrics[relation.label] for relation in relations)
    assert of_features > 1e-3 and of_probs > 0
    assert metrics["loss_relation"] == pytest.approx(of_features + 5 * of_probs, rel=1e-5)
    expected = metrics["loss_supervised"] + metrics["loss_pseudo"] + metrics["loss_relation"]
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)


def test_teacher_is_the_stated_moving_average():
    run = make_run(method="supervised")
    students, teachers = [], []
    for batch in BATCHES:
        state, metrics = run.take({"labeled": batch["labeled"]})
        students.append((state.params, state.batch_stats))
        teachers.append((state.teacher_params, state.teacher_batch_stats))
    expected = students[0]  # decay 0 at step 0 copies the student
    for k, student in enumerate(students[1:], start=1):
        decay = min(1 - 1 / (k + 1), 0.9)
        expected = jax.tree.map(
            lambda t, s, d=decay: d * t.astype("f8") + (1 - d) * s.astype("f8"), expected, student
        )
        chex.assert_trees_all_close(teachers[k], expected, rtol=1e-5, atol=1e-6)
    assert metrics["teacher_decay"] == pytest.approx(1 - 1 / 3)


def test_a_non_finite_step_changes_nothing_but_the_counters():
    run = make_run(method="supervised")
    before, _ = run.take(LABELED)
    # An infinite weight makes every loss and gradient non-finite.
    kernel = run.state.params["head"]["classifier"]["kernel"]
    run.state = run.state.replace(
        params={
            **run.state.params,
            "head": {
                **run.state.params["head"],
                "classifier": {**run.state.params["head"]["classifier"], "kernel": kernel * np.inf},
            },
        }
    )
    poisoned = jax.device_get(run.state)
    after, metrics = run.take(LABELED)
    chex.assert_trees_all_equal(
        after.replace(step=0, bad_steps=0), poisoned.replace(step=0, bad_steps=0)
    )
    assert (after.step, after.bad_steps, metrics["bad_steps"]) == (before.step + 1, 1, 1)


def test_bad_steps_count_in_a_row():
    run = make_run(method="supervised")
    run.state = run.state.replace(bad_steps=run.state.bad_steps + 3)
    after, _ = run.take(LABELED)
    assert after.bad_steps == 0


def test_supervised_needs_no_unlabeled_records():
    run = make_run(method="supervised")
    _, metrics = run.take(LABELED)
    assert "loss_pseudo" not in metrics
    assert metrics["loss"] == metrics["loss_supervised"]


@pytest.mark.parametrize("parallel", ["pmap", "shard_map"])
def test_state_is_donated_stays_replicated_and_compiles_once(parallel, caplog):
    run = make_run(devices=8, parallel=parallel, method="supervised")
    before = run.state.params["head"]["classifier"]["kernel"]
    run.take(LABELED)
    assert before.is_deleted()
    after = run.state.params["head"]["classifier"]["kernel"]
    assert after.is_fully_replicated and len(after.sharding.device_set) == 8
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        run.take(LABELED, LABELED)
    assert not [r for r in caplog.records if "Compiling" in r.getMessage()]


def test_create_state_copies_student_to_teacher():
    variables = {"params": {"w": jnp.ones(3)}, "batch_stats": {}}
    state = jax.jit(lambda v: create_state(v, optax.sgd(0.1)))(variables)
    chex.assert_trees_all_equal(state.params, state.teacher_params)


def test_unknown_teacher_kind_is_named():
    with pytest.raises(Exception, match="teacher kind.*did you mean 'ema'"):
        make_train_step(None, None, None, None, None, None, teacher_kind="emaa")
