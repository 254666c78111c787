"""If processes never come, the others print who is missing, and end with one message."""

import os
import random
import subprocess
import sys
import time

import pytest

from ipixmatch_jax.devices import processes
from ipixmatch_jax.devices.peer_wait import start_timeout
from ipixmatch_jax.devices.processes import start_processes
from ipixmatch_jax.errors import ConfigError

SLURM = {
    "SLURM_JOB_ID": "77", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
    "SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_NUM_NODES": "1",
}  # fmt: skip


# Arguments and environment of a process whose others never come, and what it says.
ALONE = [
    (("--processes", "2", "--process", "0"), {}, "process 0 waits at {} for process 1", ""),
    (("--processes", "4", "--process", "3"), {}, "nothing answers at {}", "--processes 1"),
    ((), SLURM, "for processes 1 to 3 to connect", "start the command with srun"),
]


def test_missing_processes_are_named_and_end_the_wait(config_file, tmp_path):
    """Three runs wait at the same time."""
    ports = random.sample(range(20000, 60000), len(ALONE))
    began, started = time.monotonic(), []
    for port, (arguments, environ, *_) in zip(ports, ALONE, strict=True):
        place = ("--coordinator", f"localhost:{port}", *arguments) if arguments else ()
        process = subprocess.Popen(
            [sys.executable, "-m", "ipixmatch_jax.main", "--config", config_file,
             "--workdir", tmp_path / f"run_{port}", *place],
            env={**os.environ, **environ, "IPIXMATCH_START_TIMEOUT": "4"},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
    for process, port, (*_, missing, advice) in zip(started, ports, ALONE, strict=True):
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 2, errors
        missing = missing.format(f"localhost:{port}")
        said, error = [line for line in errors.splitlines() if missing in line]
        assert "waiting up to 4 s (IPIXMATCH_START_TIMEOUT)" in said
        assert error.startswith("ConfigError: the processes of the run did not find each other")
        assert advice in error and "*** Check failure" not in errors
    assert time.monotonic() - began < 60


def test_an_interactive_shell_of_an_allocation_runs_alone(monkeypatch, capsys):
    monkeypatch.setattr(
        processes.jax.distributed, "initialize", lambda **_: pytest.fail("no others are there")
    )
    start_processes(environ={**SLURM, "SLURM_STEP_NUM_TASKS": "1"})
    assert "srun starts all tasks" in capsys.readouterr().err


def test_the_time_to_wait_is_a_number():
    assert start_timeout({}) == 120 and start_timeout({"IPIXMATCH_START_TIMEOUT": "7"}) == 7
    with pytest.raises(ConfigError, match="IPIXMATCH_START_TIMEOUT is '2m'; expected seconds"):
        start_timeout({"IPIXMATCH_START_TIMEOUT": "2m"})
