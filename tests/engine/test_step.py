import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from miniature import CLASSES, SIZE, random_batch

from ipixmatch_jax.engine.objective import Objective
from ipixmatch_jax.engine.state import create_state
from ipixmatch_jax.engine.step import make_train_step
from ipixmatch_jax.methods import Network, make_method
from ipixmatch_jax.models import create_model
from ipixmatch_jax.views import Views

BATCHES = [random_batch(seed) for seed in range(3)]


@pytest.mark.parametrize("normalize", ["global"])
@pytest.mark.parametrize("parallel", ["pmap", "shard_map"])
def test_eight_devices_with_one_record_equal_one_device_with_eight(make_run, parallel, normalize):
    one, one_metrics = make_run(devices=1, normalize=normalize).take(*BATCHES)
    eight, eight_metrics = make_run(devices=8, parallel=parallel, normalize=normalize).take(
        *BATCHES
    )
    # Sums over pixels are taken in another order; batch norm divides by small deviations.
    chex.assert_trees_all_close(one.params, eight.params, rtol=2e-4, atol=2e-5)
    chex.assert_trees_all_close(one.batch_stats, eight.batch_stats, rtol=2e-4, atol=2e-5)
    chex.assert_trees_all_close(one.teacher_params, eight.teacher_params, rtol=2e-4, atol=2e-5)
    for name in one_metrics:
        np.testing.assert_allclose(one_metrics[name], eight_metrics[name], rtol=1e-3, atol=1e-5)


def test_pmap_equals_shard_map_bit_for_bit(make_run):
    pmap, _ = make_run(devices=8, parallel="pmap").take(*BATCHES)
    shard_map, _ = make_run(devices=8, parallel="shard_map").take(*BATCHES)
    chex.assert_trees_all_equal(pmap, shard_map)


def test_per_device_normalisation_differs_where_valid_counts_do(make_run):
    # Half of the records are padded, so that per-device means weigh pixels unequally.
    everywhere, _ = make_run(devices=8, normalize="global").take(BATCHES[0])
    per_device, _ = make_run(devices=8, normalize="per_device").take(BATCHES[0])
    difference = jax.tree.map(lambda a, b: abs(a - b).max(), everywhere.params, per_device.params)
    assert max(jax.tree.leaves(difference)) > 1e-5


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_loss_falls_on_a_fixed_batch(make_run, optimizer):
    # optax.adamw counts steps in int32 and raises float32 to that power.
    with jax.numpy_dtype_promotion("standard"):
        run = make_run(optimizer=optimizer, learning_rate=0.1 if optimizer == "sgd" else 1e-2)
        _, first = run.take(BATCHES[0])
        _, last = run.take(*[BATCHES[0]] * 15)
    assert last["loss_supervised"] < 0.8 * first["loss_supervised"]


def test_the_teacher_gets_no_gradient(make_run):
    model = create_model("unet", num_classes=CLASSES, width=4, depth=1)
    views = Views(mean=model.input_mean, std=model.input_std)
    variables = model.init(
        jax.random.key(0, impl="unsafe_rbg"), jnp.zeros((1, SIZE, SIZE, 3)), train=False
    )
    method = make_method("fixmatch", {})
    objective = Objective(confidence=0.0, relation="class_map", distance="corr")

    def loss(student_params, teacher_params):
        def on_device(batch):
            student = Network(model, student_params, variables["batch_stats"])
            teacher = Network(model, teacher_params, variables["batch_stats"])
            output = method(student, teacher, views, batch)
            return objective(output, batch["labeled"], jnp.asarray(5))[0]

        stacked = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], BATCHES[0])
        return jax.vmap(on_device, axis_name="data")(stacked).sum()

    params = variables["params"]
    student, teacher = jax.grad(loss, argnums=(0, 1))(params, params)
    assert optax.tree.norm(teacher) == 0.0
    assert optax.tree.norm(student) > 1e-3


def test_teacher_is_the_stated_moving_average(make_run):
    run = make_run()
    students, teachers = [], []
    for batch in BATCHES:
        state, metrics = run.take(batch)
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


def test_a_non_finite_step_changes_nothing_but_the_counters(make_run):
    run = make_run()
    before, _ = run.take(BATCHES[0])
    bad = random_batch(9)
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
    after, metrics = run.take(bad)
    chex.assert_trees_all_equal(
        after.replace(step=0, bad_steps=0), poisoned.replace(step=0, bad_steps=0)
    )
    assert (after.step, after.bad_steps, metrics["bad_steps"]) == (before.step + 1, 1, 1)


def test_bad_steps_count_in_a_row(make_run):
    run = make_run(learning_rate=0.1)
    run.state = run.state.replace(bad_steps=run.state.bad_steps + 3)
    after, _ = run.take(BATCHES[0])
    assert after.bad_steps == 0


def test_supervised_needs_no_unlabeled_records(make_run):
    run = make_run(method="supervised")
    _, metrics = run.take({"labeled": BATCHES[0]["labeled"]})
    assert "loss_pseudo" not in metrics
    assert metrics["loss"] == metrics["loss_supervised"]


def test_donated_state_is_given_back(make_run):
    for parallel in ("pmap", "shard_map"):
        run = make_run(parallel=parallel, devices=2)
        before = run.state
        run.take(BATCHES[0])
        kernel = before.params["head"]["classifier"]["kernel"]
        assert kernel.is_deleted(), parallel


@pytest.mark.parametrize("parallel", ["pmap", "shard_map"])
def test_state_stays_replicated_global_arrays(make_run, parallel):
    run = make_run(devices=8, parallel=parallel)
    run.take(BATCHES[0])
    leaf = run.state.params["head"]["classifier"]["kernel"]
    assert leaf.is_fully_replicated and len(leaf.sharding.device_set) == 8


def test_one_compilation_serves_every_step(make_run):
    run = make_run(devices=2, parallel="shard_map")
    run.take(*BATCHES)
    assert run.step._cache_size() == 1


def test_telemetry_of_pseudo_labels(make_run):
    _, metrics = make_run(confidence=0.0).take(BATCHES[0])
    assert metrics["confident_share"] == 1.0
    _, metrics = make_run(confidence=1.0).take(BATCHES[0])
    assert metrics["confident_share"] == 0.0 and metrics["loss_pseudo"] == 0.0


def test_create_state_copies_student_to_teacher():
    variables = {"params": {"w": jnp.ones(3)}, "batch_stats": {}}
    state = jax.jit(lambda v: create_state(v, optax.sgd(0.1)))(variables)
    chex.assert_trees_all_equal(state.params, state.teacher_params)


def test_unknown_teacher_kind_is_named():
    with pytest.raises(Exception, match="teacher kind.*did you mean 'ema'"):
        make_train_step(None, None, None, None, None, None, teacher_kind="emaa")
