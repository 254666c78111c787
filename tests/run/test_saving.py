"""Errors that end a run: what was learned is saved, and one message says what goes on."""

import errno
import json
import os
import re
import subprocess
import sys

import chex
import jax
import pytest

from ipixmatch_jax.config import load_config
from ipixmatch_jax.errors import CheckpointError, DataError, UserError
from ipixmatch_jax.tracking.writers import Writers
from ipixmatch_jax.training import train
from ipixmatch_jax.workdir.checkpoints import Checkpoints


@pytest.fixture(autouse=True)
def one_device(monkeypatch, shared_steps):
    devices = jax.devices()[:1]
    monkeypatch.setattr("ipixmatch_jax.devices.parallel.jax.devices", lambda *_: devices)
    # optax.adamw counts steps in int32 and raises float32 to that power.
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def config(config_file):
    given = ["--config.pictures=0", "--config.checkpoint_every=100", "--config.eval_every=100"]
    return load_config(f"{config_file}:supervised", given)


@pytest.fixture
def broken_from(monkeypatch):
    """Makes the reading of a batch fail, as a broken file does."""
    from ipixmatch_jax.data.pipeline import TrainBatches

    real = TrainBatches.__next__

    def arrange(count, error):
        taken = []

        def read(self):
            taken.append(1)
            if len(taken) > count:
                raise error
            return real(self)

        monkeypatch.setattr(TrainBatches, "__next__", read)
        return lambda: monkeypatch.setattr(TrainBatches, "__next__", real)

    return arrange


def latest(run):
    with Checkpoints(run) as checkpoints:
        return checkpoints.latest()


def assert_equal_runs(one, other, states):
    chex.assert_trees_all_equal(*map(jax.device_get, states))
    for name in ("metrics.jsonl", "eval/6.json"):
        assert (one / name).read_text() == (other / name).read_text()


def test_a_file_that_breaks_costs_no_step(config, tmp_path, broken_from):
    run = tmp_path / "run"
    repair = broken_from(3, DataError("photos/p7.jpg: cannot be read"))
    with pytest.raises(DataError) as failed:
        train(config, run)
    assert str(failed.value) == (
        "photos/p7.jpg: cannot be read\nmet after step 3; step 3 is saved: once this is fixed, "
        "the same command goes on from it"
    )
    assert latest(run) == 3
    repair()
    states = train(config, run), train(config, tmp_path / "straight")
    assert_equal_runs(run, tmp_path / "straight", states)


def test_an_error_without_a_message_of_ours_keeps_its_kind(config, tmp_path, broken_from):
    broken_from(2, MemoryError("no memory"))
    with pytest.raises(MemoryError) as failed:
        train(config, tmp_path / "run")
    assert "step 2 is saved" in failed.value.__notes__[0] and latest(tmp_path / "run") == 2


def test_a_save_that_fails_as_well_is_not_called_saved(config, tmp_path, broken_from, monkeypatch):
    def full(*_, **__):
        raise CheckpointError("no room")

    broken_from(2, DataError("p: cannot be read"))
    monkeypatch.setattr(Checkpoints, "save", full)
    with pytest.raises(DataError, match=r"step 2 could not be saved \(no room\); step 0 is"):
        train(config, tmp_path / "run")


@pytest.mark.parametrize("workers", [0, 1])
def test_the_command_ends_with_one_message_last(config_file, folder_data, tmp_path, workers):
    """A photo breaks while the run is going on; it was whole when the run began."""
    photo = folder_data / "train" / "images" / "t3.png"
    process = subprocess.Popen(
        [sys.executable, "-m", "ipixmatch_jax.main", "--config", f"{config_file}:supervised",
         "--workdir", tmp_path / "run", f"--config.data.workers={workers}",
         "--config.total_steps=100000", "--config.checkpoint_every=100000",
         "--config.eval_every=100000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "1"},
    )  # fmt: skip
    while not process.stdout.readline().startswith("step 1/"):
        assert process.poll() is None, process.stderr.read()
    photo.write_bytes(b"broken")
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 2
    message = (
        rf"DataError: {re.escape(str(photo))}: .*\n"
        r"met after step (\d+); step \1 is saved: .* goes on from it\n$"
    )
    found = re.search(message, errors)
    assert found and "Traceback" not in errors, errors
    assert latest(tmp_path / "run") == int(found.group(1)) > 0


class FullDisk:
    """A file that takes a few bytes, then none until there is room."""

    def __init__(self, file, room):
        self._file, self.room = file, room

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = self._file.write(data[: self.room])
        self.room -= count
        return count

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.fixture
def full_disk(tmp_path, monkeypatch):
    """Files of metrics on a disk that has room for 10 more bytes; `room` is given to all."""
    files, kind = [], type(tmp_path)
    real = kind.open

    def opened(self, mode="r", *args, **named):
        file = real(self, mode, *args, **named)
        if "a" in mode and self.name.endswith(".jsonl"):
            files.append(FullDisk(file, 10))
            return files[-1]
        return file

    monkeypatch.setattr("ipixmatch_jax.workdir.folder.as_path", kind)
    monkeypatch.setattr(kind, "open", opened)
    return files


def test_lines_wait_for_room_on_a_full_disk(tmp_path, full_disk, capsys):
    with Writers(tmp_path, 0) as writers:
        for step in (1, 2, 3):
            writers.write(step, {"loss": 0.5})
        with pytest.raises(UserError, match="No space left on device.*make room"):
            writers.sync()
        for file in full_disk:
            file.room = 1000
        writers.sync()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"step": s, "loss": 0.5} for s in (1, 2, 3)]
    said = capsys.readouterr()
    assert (said.out + said.err).count("its lines wait in memory") == 1


def test_a_full_disk_for_metrics_costs_no_step(config, tmp_path, full_disk):
    run = tmp_path / "run"
    with config.unlocked():
        config.checkpoint_every = 4
    with pytest.raises(UserError, match="No space left .*\nmet after step 4; step 4 is saved"):
        train(config, run)
    assert latest(run) == 4


def test_a_service_that_fails_ends_nothing(config, tmp_path, monkeypatch, capsys):
    def fails(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ipixmatch_jax.tracking.services.TensorBoard.numbers", fails)
    assert int(train(config, tmp_path / "run").step) == 6
    assert "TensorBoard logging stopped: " in capsys.readouterr().out
