import json
import re

import chex
import jax
import numpy as np
import pytest
from PIL import Image

import ipixmatch_jax.training as train_module
import ipixmatch_jax.workdir.checkpoints as checkpoints_module
from ipixmatch_jax.config import load_config
from ipixmatch_jax.errors import CheckpointError, ConfigError, DataError, UserError
from ipixmatch_jax.evaluation import evaluate
from ipixmatch_jax.evaluator import Evaluator
from ipixmatch_jax.training import train
from ipixmatch_jax.workdir.checkpoints import Checkpoints
from ipixmatch_jax.workdir.folder import WorkdirLock

# Eight devices cannot share two records; these tests are about the loop.
ONE_DEVICE = "ipixmatch_jax.devices.parallel.jax.devices"


@pytest.fixture(autouse=True)
def one_device(monkeypatch, shared_steps):
    devices = jax.devices()[:1]
    monkeypatch.setattr(ONE_DEVICE, lambda *_: devices)
    # optax.adamw counts steps in int32 and raises float32 to that power.
    with jax.numpy_dtype_promotion("standard"):
        yield


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def interrupt(monkeypatch, after):
    """Makes a stop signal arrive during step `after`."""
    taken = []

    def stopped(self):
        return len(taken) >= after

    monkeypatch.setattr("ipixmatch_jax.training.StopSignal.__bool__", stopped)
    monkeypatch.setattr(
        "ipixmatch_jax.training.Progress.step", lambda self: taken.append(1), raising=True
    )


@pytest.fixture(scope="module")
def straights():
    return {}


@pytest.fixture
def straight(config_file, tmp_path, straights):
    """Trains with some overrides, without a disturbance, once in this module.

    Returns the config, whose data lie in the folder of the first test, and the workdir and the last
    state of the run.
    """

    def trained(*overrides):
        if overrides not in straights:
            config = load_config(str(config_file), list(overrides))
            state = train(config, tmp_path / "straight")
            straights[overrides] = config, (tmp_path / "straight", state)
        return straights[overrides]

    return trained


@pytest.mark.parametrize("balance", ["none", "gradient"])
def test_a_resumed_run_equals_a_straight_one_bit_for_bit(tmp_path, monkeypatch, straight, balance):
    overrides = [f"--config.relation.balance={balance}"] if balance != "none" else []
    config, (undisturbed, expected) = straight(*overrides)
    with monkeypatch.context() as patch:
        interrupt(patch, after=4)
        stopped = train(config, tmp_path / "resumed")
    assert int(stopped.step) == 4
    resumed = train(config, tmp_path / "resumed")
    chex.assert_trees_all_equal(jax.device_get(expected), jax.device_get(resumed))
    assert lines(undisturbed) == lines(tmp_path / "resumed")
    for step in (3, 6):
        results = [
            json.loads((run / "eval" / f"{step}.json").read_text())
            for run in (undisturbed, tmp_path / "resumed")
        ]
        assert results[0] == results[1]


def test_a_run_writes_what_it_promises(config_file, tmp_path, capsys):
    config = load_config(str(config_file), ["--config.profile=2:4"])
    state = train(config, tmp_path / "run")
    printed = capsys.readouterr().out
    run = tmp_path / "run"
    assert json.loads((run / "config.json").read_text())["total_steps"] == 6
    steps = [line["step"] for line in lines(run) if "loss" in line]
    assert steps == [1, 2, 3, 4, 5, 6]
    names = set(lines(run)[0])
    assert {"loss_supervised", "loss_pseudo", "loss_relation", "confident_share"} <= names
    assert {"agreement", "class_acceptance/square", "learning_rate", "grad_norm"} <= names
    result = json.loads((run / "eval" / "6.json").read_text())
    assert (result["step"], result["split"]) == (6, "val")
    assert set(result["teacher"]["iou"]) == {"ground", "square"}
    assert list((run / "predictions").glob("v*.png"))
    assert list(run.glob("events.out.tfevents.*"))
    assert list((run / "profile").rglob("*.xplane.pb"))
    assert "mIoU" in printed and str(run / "predictions") in printed
    assert "config keys that differ from the defaults" in printed and "total_steps=6" in printed
    assert "encoder/level_0" in printed and re.search(r"labeled +6 images", printed)
    assert all(part in printed for part in ("supervised ", "pseudo ", "relation ", "images/s"))
    speeds = [json.loads(line) for line in (run / "throughput.jsonl").read_text().splitlines()]
    assert [line["step"] for line in speeds] == [2, 3, 4, 5, 6]  # the first one compiles
    for line in speeds:
        assert line["images_per_second"] == pytest.approx(4 * line["steps_per_second"])
        assert 0 <= line["input_wait"] <= 1
    labels = result["teacher"]["pseudo_label"]
    assert labels["confidence"] == 0.3 and "pseudo_label" not in result["student"]
    last = lines(run)[-1]
    assert last["pseudo_label_share"] == labels["share"]
    assert last["pseudo_label_accuracy"] == labels["accuracy"]
    # The saved table is the evaluation of the saved state.
    again = evaluate(config, run)
    assert again == {name: result[name] for name in ("student", "teacher")}
    only = evaluate(config, run, checkpoint="6", network="student")
    assert only == {"student": result["student"]}
    assert int(state.step) == 6


def test_the_last_two_checkpoints_and_the_best_are_kept(config_file, tmp_path, monkeypatch):
    scores = {3: 0.9, 6: 0.2}
    real = Evaluator.__call__
    calls = []

    def scripted(self, networks):
        calls.append(1)
        results = real(self, networks)
        results["teacher"]["miou"] = scores[3 * len(calls)]
        return results

    monkeypatch.setattr("ipixmatch_jax.evaluator.Evaluator.__call__", scripted)
    train(load_config(str(config_file)), tmp_path / "run")
    with Checkpoints(tmp_path / "run") as checkpoints:
        assert (checkpoints.latest(), checkpoints.best()) == (6, 3)
        assert checkpoints.find("best") == 3 and checkpoints.find("latest") == 6
        with pytest.raises(CheckpointError, match="no checkpoint '5'.*steps 3, 4, 6"):
            checkpoints.find("5")


def test_another_config_or_model_is_refused(config_file, tmp_path):
    train(load_config(str(config_file)), tmp_path / "run")
    with pytest.raises(ConfigError, match="method.confidence: the run has 0.3, now 0.5"):
        train(load_config(str(config_file), ["--config.method.confidence=0.5"]), tmp_path / "run")
    wider = load_config(str(config_file), ["--config.model.width=5"])
    with pytest.raises(CheckpointError, match="does not fit this config"):
        evaluate(wider, tmp_path / "run")


def test_a_config_from_python_is_validated_and_locked_as_by_the_command(config_file, tmp_path):
    config = load_config(str(config_file)).copy_and_resolve_references().unlock()
    config.sed, config.method.name = 3, "fixmach"
    before = config.to_dict()
    with pytest.raises(ConfigError) as failed:
        train(config, tmp_path / "run")
    assert "unknown key 'sed' (did you mean 'seed'?)" in str(failed.value)
    assert "did you mean 'fixmatch'?" in str(failed.value)  # all problems at once
    assert config.to_dict() == before and not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="the config is a dict; expected"):
        train({"seed": 0}, tmp_path / "run")
    config = load_config(str(config_file)).copy_and_resolve_references().unlock()
    (tmp_path / "run").mkdir()
    with WorkdirLock(tmp_path / "run"), pytest.raises(ConfigError, match="is in use by process"):
        train(config, tmp_path / "run")


def test_evaluation_without_a_checkpoint(config_file, tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint; train first"):
        evaluate(load_config(str(config_file)), tmp_path / "nothing")


def test_masks_of_unlabeled_images_are_never_opened(config_file, folder_data, tmp_path):
    for index in range(6, 12):
        (folder_data / "train" / "masks" / f"t{index}.png").write_bytes(b"no image")
    train(load_config(str(config_file)), tmp_path / "run")


def test_a_bad_mask_met_while_training_is_named(config_file, folder_data, tmp_path):
    path = folder_data / "train" / "masks" / "t3.png"
    Image.fromarray(np.full((20, 24), 7, np.uint8)).save(path)
    with pytest.raises(DataError, match=re.escape(str(path)) + ".*value 7"):
        train(load_config(str(config_file)), tmp_path / "run")


def test_validation_masks_without_any_class(config_file, folder_data, tmp_path):
    for path in (folder_data / "val" / "masks").iterdir():
        Image.fromarray(np.full((20, 24), 255, np.uint8)).save(path)
    with pytest.raises(DataError, match="hold only ignored pixels"):
        train(load_config(str(config_file)), tmp_path / "run")


def test_non_finite_steps_end_the_run(config_file, tmp_path):
    config = load_config(
        f"{config_file}:supervised",
        ["--config.optimizer.learning_rate=1e38", "--config.max_bad_steps=2"],
    )
    with pytest.raises(UserError, match="not finite in 2 steps in a row"):
        train(config, tmp_path / "run")


def break_evaluation(monkeypatch, at, error):
    """Makes the evaluation number `at` fail."""
    real, calls = Evaluator.__call__, []

    def failing(self, networks):
        calls.append(1)
        if len(calls) == at:
            raise error
        return real(self, networks)

    monkeypatch.setattr("ipixmatch_jax.evaluator.Evaluator.__call__", failing)


SELDOM = "--config.checkpoint_every=100"


class Killed(BaseException):
    pass


@pytest.mark.parametrize("error", [DataError("v3.png cannot be read"), MemoryError("no memory")])
def test_a_failed_evaluation_costs_no_step(tmp_path, monkeypatch, straight, error):
    config, undisturbed = straight(SELDOM)
    with monkeypatch.context() as patch:
        break_evaluation(patch, 1, error)
        with pytest.raises(type(error)) as caught:
            train(config, tmp_path / "run")
    if isinstance(error, DataError):
        assert "evaluation of step 3 failed; the step itself is saved" in str(caught.value)
    else:
        assert "which is saved" in caught.value.__notes__[0]
    run = tmp_path / "run"
    assert not (run / "eval").exists()
    with Checkpoints(run) as checkpoints:
        assert (checkpoints.latest(), checkpoints.best()) == (3, None)
    check_equal_runs(*undisturbed, run, train(config, run))


@pytest.mark.parametrize(
    "owner, name, calls",
    [
        (train_module, "write_evaluation", 1),
        (train_module.Writers, "sync", 2),  # before the save, and after the evaluation
        (checkpoints_module, "write_miou", 2),
    ],
)
def test_an_evaluation_cut_short_is_done_again_at_the_next_start(
    tmp_path, monkeypatch, straight, owner, name, calls
):
    (config, undisturbed), run = straight(SELDOM), tmp_path / "run"
    real, left = getattr(owner, name), [calls]

    def killing(*arguments, **options):
        result = real(*arguments, **options) if name == "write_evaluation" else None
        left[0] -= 1
        if not left[0]:
            raise Killed
        return result if name == "write_evaluation" else real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killing)
        with pytest.raises(Killed):
            train(config, run)
    check_equal_runs(*undisturbed, run, train(config, run))


def check_equal_runs(one_workdir, one, other_workdir, other):
    chex.assert_trees_all_equal(jax.device_get(one), jax.device_get(other))
    assert lines(one_workdir) == lines(other_workdir)
    kept = []
    for workdir in (one_workdir, other_workdir):
        with Checkpoints(workdir) as checkpoints:
            kept.append((checkpoints.best(), checkpoints.latest()))
        kept[-1] += tuple(sorted(path.name for path in (workdir / "checkpoints").iterdir()))
    assert kept[0] == kept[1]
    for path in (one_workdir / "eval").iterdir():
        assert path.read_bytes() == (other_workdir / "eval" / path.name).read_bytes()


def test_a_stop_signal_at_an_evaluation_saves_at_once(tmp_path, monkeypatch, straight):
    (config, undisturbed), run = straight(), tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt(patch, after=3)
        assert int(train(config, run).step) == 3
    assert not (run / "eval").exists()
    check_equal_runs(*undisturbed, run, train(config, run))


def test_a_better_checkpoint_replaces_the_best(config_file, tmp_path, monkeypatch):
    scores = iter([0.9, 0.95, 0.5])
    real = Evaluator.__call__

    def scripted(self, networks):
        results = real(self, networks)
        results["teacher"]["miou"] = next(scores)
        return results

    monkeypatch.setattr("ipixmatch_jax.evaluator.Evaluator.__call__", scripted)
    options = ["--config.eval_every=2", "--config.checkpoint_every=1", "--config.total_steps=6"]
    train(load_config(str(config_file), options), tmp_path / "run")
    with Checkpoints(tmp_path / "run") as checkpoints:
        assert (checkpoints.latest(), checkpoints.best()) == (6, 4)
    steps = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert steps == {"4", "5", "6"}


def test_a_broken_validation_photo_is_found_before_the_first_step(
    config_file, folder_data, tmp_path, monkeypatch
):
    # The probe reads a few records; this one is not among them.
    monkeypatch.setattr("ipixmatch_jax.data.catalog._PROBED", 2)
    path = folder_data / "val" / "images" / "v2.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="1 of 5 records of the val split cannot be read"):
        train(load_config(str(config_file)), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_start_without_a_checkpoint_locks_nothing(config_file, tmp_path, monkeypatch, capsys):
    run, wrong = tmp_path / "run", tmp_path / "nothing.npz"
    abandoned = ["--config.seed=7", f"--config.model.pretrained={wrong}"]
    with pytest.raises(CheckpointError, match="nothing.npz"):
        train(load_config(str(config_file), abandoned), run)
    assert json.loads((run / "config.json").read_text())["seed"] == 7
    (run / "config.json").write_bytes(b"\x00\xff{")  # and also if that file is damaged
    config = load_config(f"{config_file}:supervised", ["--config.total_steps=2"])
    train(config, run)
    assert "config.json: of a start that saved no checkpoint" in capsys.readouterr().out
    assert json.loads((run / "config.json").read_text())["seed"] == 0
    with pytest.raises(ConfigError, match="seed: the run has 0, now 7"):
        another = ["--config.total_steps=2", "--config.seed=7"]
        train(load_config(f"{config_file}:supervised", another), run)
    (run / "config.json").write_bytes(b"\x00\xff{")
    with pytest.raises(ConfigError, match="config.json cannot be read.*another --workdir"):
        train(config, run)


def test_a_finished_run_can_be_made_longer(config_file, tmp_path, capsys):
    short, long = (
        load_config(f"{config_file}:supervised", [f"--config.total_steps={steps}"])
        for steps in (3, 5)
    )
    train(short, tmp_path / "run")
    train(short, tmp_path / "run")
    printed = capsys.readouterr().out
    assert "resumed from step 3 of 3" in printed and "the run is finished" in printed
    state = train(long, tmp_path / "run")
    assert int(state.step) == 5
    assert "total_steps was 3 and is now 5" in capsys.readouterr().out
    logged = [line for line in lines(tmp_path / "run") if "loss" in line]
    rates = {line["step"]: line["learning_rate"] for line in logged}
    power = long.optimizer.power
    assert rates[4] == pytest.approx(long.optimizer.learning_rate * (1 - 3 / 5) ** power, rel=1e-4)
    with pytest.raises(ConfigError, match="total_steps: the run has 5, now 3"):
        train(short, tmp_path / "run")


NEW_KEYS = [("optimizer", key) for key in ("clip_norm", "schedule", "layer_decay")]
NEW_KEYS += [("data", "vertical_flip"), ("data", "quarter_turns")]
NEW_KEYS += [("data", "rotation"), ("data", "transform")]


def test_under_a_constant_rate_a_longer_run_is_one_run(config_file, tmp_path):
    options = ["schedule=constant", "clip_norm=0.05", "warmup_steps=2"]
    options = [f"--config.optimizer.{option}" for option in options]
    first, whole = (
        load_config(f"{config_file}:supervised", [*options, f"--config.total_steps={steps}"])
        for steps in (3, 5)
    )
    train(first, tmp_path / "longer")
    longer, once = train(whole, tmp_path / "longer"), train(whole, tmp_path / "once")
    assert int(longer.step) == int(once.step) == 5
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(longer), jax.device_get(once))
    rates = [line["learning_rate"] for line in lines(tmp_path / "once") if "loss" in line]
    assert rates == pytest.approx([0.0, 5e-4, 1e-3, 1e-3, 1e-3])


def test_a_run_from_before_a_key_existed_resumes(config_file, tmp_path):
    short, long = (
        load_config(f"{config_file}:supervised", [f"--config.total_steps={steps}"])
        for steps in (2, 3)
    )
    train(short, tmp_path / "run")
    path = tmp_path / "run/config.json"
    saved = json.loads(path.read_text())
    for group, key in NEW_KEYS:
        del saved[group][key]
    path.write_text(json.dumps(saved))
    assert int(train(long, tmp_path / "run").step) == 3
