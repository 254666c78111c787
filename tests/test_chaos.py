"""Runs survive faults from outside: kills, full disks, damaged and missing files."""

import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax import build
from ipixmatch_jax.config import load_config
from ipixmatch_jax.errors import CheckpointError, ConfigError, UserError
from ipixmatch_jax.training import train
from ipixmatch_jax.workdir.checkpoints import (
    Checkpoints,
    _sum_on_devices,
    _sum_on_host,
    abstract_like,
    checksum,
)
from ipixmatch_jax.workdir.folder import WorkdirLock


def test_a_disturbed_run_ends_as_a_straight_one():
    """The short form; the long ones are commands, with several processes too."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.references.chaos", "--kills", "2", "--stops", "0",
         "--hangups", "1", "--full-disks", "1", "--steps", "42"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "5 starts, 2 kill -9 (1 in a save), 0 SIGTERM, 1 SIGHUP, 0 closed pipes, 1 full"
        in done.stdout
    )
    assert "are equal" in done.stdout


@pytest.fixture
def config(config_file, monkeypatch, shared_steps):
    devices = jax.devices()[:1]
    monkeypatch.setattr("ipixmatch_jax.devices.parallel.jax.devices", lambda *_: devices)
    # optax.adamw counts steps in int32 and raises float32 to that power.
    with jax.numpy_dtype_promotion("standard"):
        # Little to compile: these tests are about files.
        yield load_config(f"{config_file}:supervised", ["--config.pictures=0"])


@pytest.fixture
def at_step(monkeypatch):
    """Calls a function during a given step."""

    def arrange(step, action):
        taken = []

        def count(self):
            taken.append(1)
            if len(taken) == step:
                action()

        monkeypatch.setattr("ipixmatch_jax.training.Progress.step", count)

    return arrange


def largest(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def test_a_truncated_checkpoint_gives_way_to_the_one_before(config, tmp_path, capsys):
    run = tmp_path / "run"
    straight = train(config, run)
    metrics = (run / "metrics.jsonl").read_text()
    capsys.readouterr()
    damaged = largest(run / "checkpoints" / "6" / "teacher")
    os.truncate(damaged, damaged.stat().st_size // 2)
    again = train(config, run)
    printed = capsys.readouterr().out
    assert "checkpoint 6 is damaged: moved to" in printed and "resumed from step 4" in printed
    assert (run / "checkpoints-damaged" / "6" / "teacher").exists()
    chex.assert_trees_all_equal(jax.device_get(straight), jax.device_get(again))
    assert (run / "metrics.jsonl").read_text() == metrics


def test_no_sound_checkpoint_is_an_error_and_no_new_start(config, tmp_path):
    run = tmp_path / "run"
    train(config, run)
    for folder in (run / "checkpoints").iterdir():
        shutil.rmtree(folder / "training")
    with pytest.raises(CheckpointError, match=r"checkpoints/6 does not fit .* or is damaged"):
        train(config, run)
    assert not (run / "checkpoints-damaged").exists()


def test_values_that_changed_on_the_disk_are_noticed(config, tmp_path, monkeypatch):
    run = tmp_path / "run"
    train(config, run)
    path = run / "checkpoints" / "6" / "checksums" / "metadata"
    sums = json.loads(path.read_text())
    path.write_text(json.dumps({**sums, "student": sums["student"] ^ 1}))
    model = build.build_model(config)
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = abstract_like(build.abstract_variables(config, model), one)
    with Checkpoints(run) as checkpoints:
        checkpoints.restore_network(6, "teacher", abstract)
        with pytest.raises(CheckpointError, match="values of student differ from the saved"):
            checkpoints.restore_network(6, "student", abstract)


def test_a_checksum_sees_every_bit_and_no_layout(key):
    tree = {"a": jax.random.normal(key, (8, 3)), "b": np.arange(5, dtype=np.int32)}
    whole = checksum(tree)
    spread = jax.device_put(tree["a"], jax.NamedSharding(
        jax.make_mesh((8,), ("x",)), jax.P("x")))  # fmt: skip
    assert checksum({**tree, "a": spread}) == whole
    bits = np.array(tree["a"]).view(np.uint32)
    for place in range(bits.size):
        changed = bits.copy()
        changed.reshape(-1)[place] ^= np.uint32(1) << np.uint32(place % 32)
        assert checksum({**tree, "a": changed.view(np.float32)}) != whole
    swapped = np.array(tree["b"])[[1, 0, 2, 3, 4]]
    assert checksum({**tree, "b": swapped}) != whole


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "uint8"])
@pytest.mark.parametrize("shape", [(), (0, 3), (3, 5, 7), (300_000,)], ids=str)
def test_a_checksum_is_the_same_on_host_and_devices(dtype, shape):
    values = np.random.default_rng(0).integers(0, 255, shape).astype(jnp.dtype(dtype))
    assert _sum_on_host(np.asarray(values)) == _sum_on_devices(jnp.asarray(values))


def test_a_second_run_in_the_same_workdir_is_refused(config, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    with WorkdirLock(run):
        with pytest.raises(ConfigError, match=rf"in use by process {os.getpid()} on .*another"):
            train(config, run)
        assert not (run / "config.json").exists()
    # The lock file of a killed process does not block the next run.
    (run / ".lock").write_text("process 1 on nowhere\n")
    train(config, run)


def test_a_workdir_that_vanishes(config, tmp_path, at_step):
    run = tmp_path / "run"
    at_step(5, lambda: run.rename(tmp_path / "elsewhere"))  # a save may still be writing to it
    with pytest.raises(CheckpointError, match="step 6 cannot be saved.*does not exist any more"):
        train(config, run)
    assert not list(run.glob("checkpoints/6*"))


def test_a_workdir_that_becomes_read_only(config, tmp_path, at_step):
    run, user = tmp_path / "run", os.geteuid()
    top = pathlib.Path(tempfile.gettempdir()).resolve()
    above = [folder for folder in tmp_path.resolve().parents if top in folder.parents]

    def lock():
        for path in (run, run / "checkpoints"):
            path.chmod(0o555)
        if user == 0:  # root may write anywhere; nobody may not, but has to reach the data
            for folder in (tmp_path, *above):
                folder.chmod(0o755)
            os.seteuid(65534)

    at_step(5, lock)
    try:
        with pytest.raises(UserError, match="make the folder writable"):
            train(config, run)
    finally:
        os.seteuid(user)
        for path in (run, run / "checkpoints"):
            path.chmod(0o755)
        for folder in (tmp_path, *above):
            folder.chmod(0o700)
    at_step(100, None)
    assert int(train(config, run).step) == 6


def test_a_run_whose_output_nobody_reads_continues(config_file, tmp_path):
    """As `| head` does, and `| less` when it is quit; in an encoding without box characters."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ipixmatch_jax.main", "--config", f"{config_file}:supervised",
         "--workdir", tmp_path / "run"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=120) == 0, errors
    assert errors.count("the run goes on") == 1 and "Error" not in errors, errors
    with Checkpoints(tmp_path / "run") as checkpoints:
        assert checkpoints.latest() == 6


@pytest.mark.parametrize("room", [0, 4096])
def test_a_full_disk(config, tmp_path, at_step, capsys, room):
    """A limit on the size of files stands in for it: metrics fail, or a checkpoint does.

    `capsys`, since other captured output goes to a file of that disk.
    """
    run = tmp_path / "run"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    at_step(5, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1])))
    try:
        with pytest.raises(UserError, match="make room"):
            train(config, run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with Checkpoints(run) as checkpoints:
        assert checkpoints.latest() in (2, 3, 4)  # every checkpoint that exists is complete
    if room:
        return
    at_step(100, None)
    resumed = train(config, run)
    straight = train(config, tmp_path / "straight")
    chex.assert_trees_all_equal(jax.device_get(straight), jax.device_get(resumed))
    for name in ("metrics.jsonl", "eval/6.json"):
        assert (run / name).read_text() == (tmp_path / "straight" / name).read_text()


def test_bad_steps_name_their_records(config, config_file, tmp_path, capsys):
    config = load_config(str(config_file), ["--config.relation.name=none"])
    with config.unlocked():
        config.optimizer.learning_rate = 1e38
        config.max_bad_steps = 4
        config.log_every = 6
    with pytest.raises(UserError, match="not finite in 5 steps in a row before step 6"):
        train(config, tmp_path / "run")
    text = (tmp_path / "run" / "bad_steps.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["step"] for line in lines] == [2, 3, 4, 5, 6]
    for line in lines:
        assert set(line["labeled"]) <= {f"t{i}" for i in range(6)}
        assert set(line["unlabeled"]) | set(line["mix"]) <= {f"t{i}" for i in range(6, 12)}
        assert {len(line[stream]) for stream in ("labeled", "unlabeled", "mix")} == {2}
    assert "was not finite and was skipped: labeled t" in capsys.readouterr().out


def test_a_workdir_in_an_object_store(config, tmp_path, monkeypatch):
    """A folder replaces the bucket; tensorstore, which has its own client, saves next to it."""
    from etils.epath import backend, gpath

    class Bucket(backend._OsPathBackend):
        def __getattribute__(self, name):
            method = object.__getattribute__(self, name)
            if name.startswith("_") or not callable(method):
                return method

            def local(value):
                text = os.fspath(value) if isinstance(value, os.PathLike) else value
                text = str(text).replace("gs://", f"{tmp_path}/bucket/").replace("/gs/", "")
                return text if "bucket" in text else value

            def call(*arguments, **options):
                assert "a" not in str(options.get("mode", "")), "objects cannot be appended to"
                return method(*map(local, arguments), **options)

            return call

    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, "gs", Bucket())
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "config.json").touch()
    monkeypatch.setattr(
        "ipixmatch_jax.training.Checkpoints", lambda _, **k: Checkpoints(tmp_path / "beside", **k)
    )
    with config.unlocked():
        config.pictures = 1
    train(config, "gs://bucket/run")
    run = tmp_path / "bucket" / "bucket" / "run"
    assert json.loads((run / "config.json").read_text())["total_steps"] == 6
    text = (run / "metrics.jsonl").read_text()
    steps = [json.loads(line)["step"] for line in text.splitlines()]
    assert steps == [1, 2, 3, 3, 4, 5, 6, 6]
    assert list((run / "predictions").glob("v*.png"))
    assert (run / "eval" / "6.json").exists() and not (pathlib.Path("gs:")).exists()
