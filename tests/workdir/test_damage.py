"""Damage in the folder of a run: a message, or a way around it; nothing is written elsewhere."""

import json
import os
import tempfile

import jax
import pytest

from ipixmatch_jax.config import load_config
from ipixmatch_jax.errors import ConfigError, DataError, UserError
from ipixmatch_jax.evaluation import evaluate
from ipixmatch_jax.training import train
from ipixmatch_jax.workdir.checkpoints import Checkpoints
from ipixmatch_jax.workdir.evaluations import read_evaluations
from ipixmatch_jax.workdir.folder import WorkdirLock, write_whole


@pytest.fixture
def config(config_file, monkeypatch, shared_steps):
    devices = jax.devices()[:1]
    monkeypatch.setattr("ipixmatch_jax.devices.parallel.jax.devices", lambda *_: devices)
    options = ["total_steps=4", "eval_every=2", "checkpoint_every=100", "pictures=0"]
    options += ["method.ramp_steps=100", "relation.name=none", "tracking.writers=()"]
    with jax.numpy_dtype_promotion("standard"):  # optax.adamw counts steps in int32
        yield load_config(str(config_file), [f"--config.{one}" for one in options])


def lines(run):
    return (run / "metrics.jsonl").read_text().splitlines()


def test_a_run_goes_on_past_damaged_files(config, tmp_path, capsys):
    run = tmp_path / "run"
    train(config, run)
    printed = capsys.readouterr().out
    # The end names the next command, and what the numbers suggest.
    assert "next: ipixmatch --workdir" in printed and "--mode report" in printed
    assert "advice: The loss of unlabeled images reaches its full weight only after" in printed
    before, result = lines(run), json.loads((run / "eval" / "4.json").read_text())
    (run / "checkpoints" / "4" / "metrics" / "metrics").write_bytes(b"\x00" * 29)
    (run / "eval" / "2.json").write_text('{"step": 2, "stud')
    damaged = ["garbage\x00", '{"loss": 1}', *before[:2], '["step"]', *before[2:]]
    (run / "metrics.jsonl").write_text("\n".join(damaged) + "\n" + '{"step": 4, "hal')
    with Checkpoints(run) as checkpoints:
        assert (checkpoints.best(), checkpoints.latest()) == (2, 4)
    assert "the mIoU of checkpoint 4 is not known" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"2.json cannot be read .*move the file away"):
        read_evaluations(run)
    train(config, run)
    printed = "".join(capsys.readouterr())
    assert (
        "3 damaged lines are moved to" in printed and "2.json cannot be read: moved to" in printed
    )
    assert "step 4 was saved before its evaluation" in printed
    assert lines(run) == before
    assert (run / "metrics.jsonl.damaged").read_text().count("\n") == 3
    assert (run / "eval" / "2.json.damaged").exists()
    assert json.loads((run / "eval" / "4.json").read_text()) == result
    with Checkpoints(run) as checkpoints:
        assert checkpoints.is_evaluated(4)


def test_a_run_of_somebody_else_is_evaluated_and_nothing_is_written(config, tmp_path, capsys):
    run, user = tmp_path / "run", os.geteuid()
    train(config, run)
    (run / "eval" / "4.json").unlink()
    before = sorted(run.rglob("*"))
    folders = [path for path in (run, *run.rglob("*")) if path.is_dir()]
    top = tempfile.gettempdir()
    above = [path for path in tmp_path.parents if str(path).startswith(top) and str(path) != top]
    for path in folders:
        path.chmod(0o555)
    capsys.readouterr()
    try:
        if user == 0:  # root may write anywhere; nobody may not, but has to reach the data
            for folder in (tmp_path, *above):
                folder.chmod(0o755)
            os.seteuid(65534)
        results = evaluate(config, run)
    finally:
        os.seteuid(user)
        for path in folders:
            path.chmod(0o755)
    printed = capsys.readouterr().out
    assert "mIoU" in printed and "nothing is written: " in printed and "Permission" in printed
    assert set(results) == {"student", "teacher"} and sorted(run.rglob("*")) == before


def test_locks_and_temporary_files_follow_no_link(tmp_path):
    other = tmp_path / "precious"
    other.write_text("keep")
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json.tmp").symlink_to(other)
    write_whole(run / "config.json", "new")
    assert other.read_text() == "keep" and (run / "config.json").read_text() == "new"
    assert not (run / "config.json").is_symlink() and not (run / "config.json.tmp").exists()
    (run / ".lock").symlink_to(other)
    with pytest.raises(ConfigError, match=r"\.lock cannot be opened .*plain file"):
        WorkdirLock(run).__enter__()
    assert other.read_text() == "keep"
    (run / ".lock").unlink()
    (run / ".lock").mkdir()
    with pytest.raises(ConfigError, match=r"\.lock cannot be opened .*plain file"):
        WorkdirLock(run).__enter__()


def test_an_empty_workdir_is_refused(config):
    with pytest.raises(ConfigError, match="the workdir is empty"):
        train(config, "")


def test_a_lock_that_cannot_be_written_is_one_message(tmp_path, monkeypatch):
    monkeypatch.setattr("ipixmatch_jax.workdir.folder._opened", lambda *_: open("/dev/full", "a"))
    with pytest.raises(UserError, match=r"\.lock cannot be written \(.*make room"):
        WorkdirLock(tmp_path).__enter__()


def test_a_folder_that_is_deleted_while_a_run_writes_is_named(tmp_path):
    with pytest.raises(UserError, match="its folder does not exist any more; was it deleted"):
        write_whole(tmp_path / "gone" / "summary.json", "{}")
