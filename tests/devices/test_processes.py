"""Runs on several processes: the same result, written once, from and to any layout."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import chex
import jax
import numpy as np
import pytest

from ipixmatch_jax import build
from ipixmatch_jax.config import load_config
from ipixmatch_jax.devices import processes
from ipixmatch_jax.devices.parallel import Pmap, Zero1
from ipixmatch_jax.devices.processes import slurm_devices, start_processes
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.training import train
from ipixmatch_jax.workdir.checkpoints import Checkpoints, abstract_like
from tests.references import ROOT
from tests.references.shared_steps import share_steps

LOCAL = ROOT / "launch" / "local_processes.sh"
STEPS = 12  # a stop is agreed on within six steps


def overrides(parallel):
    sizes = [f"--config.{name}batch_size=8" for name in ("", "unlabeled_", "eval_")]
    return [
        *sizes,
        f"--config.total_steps={STEPS}",
        f"--config.parallel={parallel}",
        f"--config.eval_every={STEPS}",
        "--config.pictures=0",
        "--config.relation.name=none",
    ]


ENVIRONMENT = {
    **os.environ,
    "PYTHON": sys.executable,
    "PYTHONUNBUFFERED": "1",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}


def on_one_device(abstract):
    return jax.sharding.SingleDeviceSharding(jax.devices()[0])


def restored(config, workdir, step, shardings=on_one_device):
    """The state of a checkpoint of any layout."""
    model, method = build.build_model(config), build.build_method(config)
    optimizer, _ = build.build_train_step(config, model, method)
    abstract = build.abstract_state(config, model, optimizer)
    abstract = abstract_like(abstract, shardings(abstract))
    with Checkpoints(workdir) as checkpoints:
        return jax.device_get(checkpoints.restore(step, abstract))


def metrics(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def assert_same_run(config, one, other):
    chex.assert_trees_all_close(
        restored(config, one, STEPS), restored(config, other, STEPS), rtol=2e-4, atol=2e-5
    )
    for first, second in zip(metrics(one), metrics(other), strict=True):
        second.pop("environment_changes", None)  # resumed by another number of processes
        assert first.keys() == second.keys() and first["step"] == second["step"]
        assert first.get("loss", 0) == pytest.approx(second.get("loss", 0), rel=1e-4)


@pytest.fixture(scope="module")
def small(tmp_path_factory, steps_of_module):
    """A config file, and the workdir of a run on one process with eight devices by pmap."""
    folder = tmp_path_factory.mktemp("layouts")
    from tests.references.chaos import CONFIG

    (folder / "small.py").write_text(CONFIG)
    config = load_config(str(folder / "small.py"), overrides("pmap"))
    # optax.adamw counts steps in int32 and raises float32 to that power.
    with jax.numpy_dtype_promotion("standard"), pytest.MonkeyPatch.context() as patch:
        share_steps(patch, steps_of_module)
        train(config, folder / "one")
        yield folder / "small.py", config, folder / "one"


@pytest.mark.parametrize("parallel", ["zero1", pytest.param("shard_map", marks=pytest.mark.slow)])
def test_two_processes_give_what_one_gives_and_write_once(small, tmp_path, parallel):
    file, config, one = small
    command = [LOCAL, "2", "4", "--", "--config", file, "--workdir", tmp_path / "two"]
    done = subprocess.run(
        [*command, *overrides(parallel)],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    assert_same_run(config, one, tmp_path / "two")
    assert printed.count(f"2 processes x 4 = 8 cpu device(s), {parallel}: 8 labeled and 8") == 1
    assert printed.count(", validation\n") == 1 and "1 + 1 a device" in printed
    # From any layout into any other.
    dealt = restored(config, tmp_path / "two", STEPS, Zero1().state_shardings)
    chex.assert_trees_all_equal(restored(config, tmp_path / "two", STEPS), dealt)


MAIN = ["-m", "ipixmatch_jax.main"]


def two_processes(programs, file, run, *more):
    """Starts two processes of one run, with four devices each."""
    port = random.randrange(20000, 60000)
    return [
        subprocess.Popen(
            [sys.executable, *program, "--config", file, "--workdir", run,
             "--coordinator", f"localhost:{port}", "--processes", "2", "--process", str(index),
             *overrides("pmap"), *more],
            env={**ENVIRONMENT, "JAX_NUM_CPU_DEVICES": "4"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for index, program in enumerate(programs)
    ]  # fmt: skip


@pytest.mark.slow
def test_a_signal_to_one_process_saves_for_all_and_the_run_continues_alone(small, tmp_path):
    file, config, one = small
    run = tmp_path / "run"
    both = two_processes([MAIN, MAIN], file, run, "--config.log_every=1")
    while not (run / "metrics.jsonl").exists():
        assert all(process.poll() is None for process in both), [p.communicate() for p in both]
        time.sleep(0.01)
    both[1].send_signal(signal.SIGTERM)
    printed = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    assert "a stop signal to another process: saved step" in printed[0]
    with Checkpoints(run) as checkpoints:
        assert checkpoints.latest() < STEPS
    train(config, run)  # one process with eight devices
    assert_same_run(config, one, run)


# Runs a command in which a photo cannot be read after seven batches.
_BREAKS = """
import sys
from ipixmatch_jax.data.pipeline import TrainBatches
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.main import main

real, taken = TrainBatches.__next__, []

def read(self):
    taken.append(1)
    if len(taken) > 7:
        raise DataError("p7.jpg: cannot be read")
    return real(self)

TrainBatches.__next__ = read
sys.exit(main())
"""


def test_an_error_in_the_input_of_one_process_saves_the_same_step_on_all(small, tmp_path):
    file, config, one = small
    run = tmp_path / "run"
    both = two_processes([MAIN, ["-c", _BREAKS]], file, run)
    printed = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [2, 2], printed
    assert (
        "UserError: process 1: p7.jpg: cannot be read\nmet after step 7; step 7 is saved"
        in printed[0]
    )
    assert "DataError: p7.jpg: cannot be read\nmet after step 7; step 7 is saved" in printed[1]
    with Checkpoints(run) as checkpoints:
        assert checkpoints.latest() == 7
    train(config, run)  # one process with eight devices
    assert_same_run(config, one, run)


def test_compiled_programs_are_kept_next_to_the_workdir(tmp_path, monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    try:
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
        processes.use_compilation_cache(tmp_path / "run")
        assert jax.config.jax_compilation_cache_dir == before  # jax itself reads the variable
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
        processes.use_compilation_cache(None)
        assert jax.config.jax_compilation_cache_dir == before
        processes.use_compilation_cache(tmp_path / "run")
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / ".jax_cache")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_a_plain_machine_starts_nothing(monkeypatch):
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **options: calls.append(options))
    start_processes(environ={"JAX_NUM_PROCESSES": "1", "JAX_COORDINATOR_ADDRESS": "a:1"})
    start_processes(count=1)
    assert not calls
    monkeypatch.undo()
    start_processes(environ={})  # devices are in use, and no cluster is there
    assert not jax.distributed.is_initialized()


def test_what_is_asked_for_is_handed_on(monkeypatch):
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **options: calls.append(options))
    start_processes("host:1", 4, 2, environ={})
    start_processes(environ={
        "JAX_COORDINATOR_ADDRESS": "other:2", "JAX_NUM_PROCESSES": "3", "JAX_PROCESS_ID": "0",
    })  # fmt: skip
    found = [(c["coordinator_address"], c["num_processes"], c["process_id"]) for c in calls]
    assert found == [("host:1", 4, 2), ("other:2", 3, 0)]


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        (("host:1", 4, None), {}, "expected all three"),
        ((None, None, None), {"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES is 'two'"),
        ((None, 4, 1), {}, "did not find each other"),
    ],
)
def test_processes_asked_for_in_part(arguments, environ, message):
    with pytest.raises(ConfigError, match=message):
        start_processes(*arguments, environ=environ)


def slurm(tasks, nodes, **more):
    return {
        "SLURM_STEP_NODELIST": "n[1-2]",
        "SLURM_NTASKS": str(tasks),
        "SLURM_STEP_NUM_NODES": str(nodes),
        **more,
    }


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        (slurm(16, 2, SLURM_GPUS_ON_NODE="8"), None),  # one task per GPU: jax chooses correctly
        (slurm(2, 2, SLURM_GPUS_ON_NODE="8"), list(range(8))),  # jax would take one of eight
        (slurm(2, 2, CUDA_VISIBLE_DEVICES="0,1,2"), [0, 1, 2]),
        (slurm(16, 2, CUDA_VISIBLE_DEVICES="3"), [0]),  # bound: jax would look for the fourth
        (slurm(2, 2), None),  # no GPU
        (slurm(2, 2, SLURM_GPUS_ON_NODE="8", JAX_LOCAL_DEVICE_IDS="1"), None),
    ],
)
def test_gpus_of_a_slurm_task(environ, expected):
    assert slurm_devices(environ) == expected


def test_jax_reads_the_same_slurm_variables(monkeypatch):
    from jax._src.clusters import SlurmCluster

    for name, value in {**slurm(16, 2), "SLURM_JOB_ID": "5", "SLURM_PROCID": "9",
                        "SLURM_LOCALID": "1"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert SlurmCluster.is_env_present()
    assert (SlurmCluster.get_process_count(), SlurmCluster.get_process_id()) == (16, 9)
    assert SlurmCluster.get_coordinator_address(1, None).startswith("n1:")


def test_processes_with_unequal_devices_are_refused():
    class Device:
        def __init__(self, index):
            self.process_index = index

    with pytest.raises(ConfigError, match=r"\[1, 2\] devices; expected the same number"):
        Pmap([Device(0), Device(0), Device(1)])


def test_a_first_process_that_fails_ends_all(monkeypatch):
    with pytest.raises(ConfigError, match="mine"):
        processes.first_only(lambda: (_ for _ in ()).throw(ConfigError("mine")))
    monkeypatch.setattr(processes, "is_first", lambda: False)
    monkeypatch.setattr(processes, "agree", lambda value: True)
    with pytest.raises(Exception, match="process 0 failed"):
        processes.first_only(lambda: pytest.fail("only the first runs it"))


def test_gathered_arrays_of_one_process_are_its_own():
    np.testing.assert_array_equal(processes.gather(np.arange(3)), np.arange(3))
    assert processes.agree(True) and not processes.agree(False)
