import json
import re

import chex
import jax
import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.config import load_config
from ipixmatch_jax.errors import CheckpointError, ConfigError, DataError, UserError
from ipixmatch_jax.evaluate import evaluate
from ipixmatch_jax.evaluator import Evaluator
from ipixmatch_jax.train import train
from ipixmatch_jax.workdir.checkpoints import Checkpoints
from ipixmatch_jax.workdir.folder import WorkdirLock

# Eight devices cannot share two records; these tests are about the loop.
ONE_DEVICE = "ipixmatch_jax.devices.parallel.jax.devices"


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
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

    monkeypatch.setattr("ipixmatch_jax.train.StopSignal.__bool__", stopped)
    monkeypatch.setattr(
        "ipixmatch_jax.train.Progress.step", lambda self: taken.append(1), raising=True
    )


@pytest.mark.parametrize("balance", ["none", "gradient"])
def test_a_resumed_run_equals_a_straight_one_bit_for_bit(
    config_file, tmp_path, monkeypatch, balance
):
    config = load_config(str(config_file), [f"--config.relation.balance={balance}"])
    straight = train(config, tmp_path / "straight")
    with monkeypatch.context() as patch:
        interrupt(patch, after=4)
        stopped = train(config, tmp_path / "resumed")
    assert int(stopped.step) == 4
    resumed = train(config, tmp_path / "resumed")
    chex.assert_trees_all_equal(jax.device_get(straight), jax.device_get(resumed))
    assert lines(tmp_path / "straight") == lines(tmp_path / "resumed")
    for step in (3, 6):
        results = [
            json.loads((tmp_path / run / "eval" / f"{step}.json").read_text())
            for run in ("straight", "resumed")
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
        str(config_file),
        ["--config.optimizer.learning_rate=1e38", "--config.max_bad_steps=2"],
    )
    with pytest.raises(UserError, match="not finite in 2 steps in a row"):
        train(config, tmp_path / "run")


def test_batch_that_devices_cannot_share(config_file, tmp_path, monkeypatch):
    devices = jax.local_devices()[:4]
    monkeypatch.setattr(ONE_DEVICE, lambda *_: devices)
    with pytest.raises(ConfigError, match="batch_size is 2, which 4 devices cannot share"):
        train(load_config(str(config_file)), tmp_path / "run")


@pytest.mark.parametrize(
    "sizes", [(1, 2, 1), (2, 1, 1), (2, 2, 2)], ids=["labeled", "unlabeled", "micro-batches"]
)
def test_one_image_cannot_pass_a_pooled_batch_norm(config_file, tmp_path, sizes):
    keys = ("batch_size", "unlabeled_batch_size", "accumulate_steps")
    sized = [f"--config.{key}={size}" for key, size in zip(keys, sizes, strict=True)]
    pooled = ["--config.model.name=deeplabv3plus", "--config.model.width=None"]
    pooled += ["--config.model.depth=None", "--config.data.crop_size=(48,48)"]
    config = load_config(str(config_file), sized + pooled)
    with pytest.raises(ConfigError, match="batch norm head/aspp_pool/norm normalizes one value"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
