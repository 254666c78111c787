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


@pytest.mark.parametrize(
    ("arguments", "environ", "missing", "advice"),
    [
        (("--processes", "2", "--process", "0"), {}, "process 0 waits at {} for process 1", ""),
        (("--processes", "4", "--process", "3"), {}, "nothing answers at {}", "--processes 1"),
        ((), SLURM, "for processes 1 to 3 to connect", "start the command with srun"),
    ],
)
def test_missing_processes_are_named_and_end_the_wait(
    config_file, tmp_path, arguments, environ, missing, advice
):
    where = f"localhost:{random.randrange(20000, 60000)}"
    place = ("--coordinator", where, *arguments) if arguments else ()
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "ipixmatch_jax.main", "--config", config_file,
         "--workdir", tmp_path / "run", *place],
        env={**os.environ, **environ, "IPIXMATCH_START_TIMEOUT": "4"},
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    said, error = [line for line in done.stderr.splitlines() if missing.format(where) in line]
    assert "waiting up to 4 s (IPIXMATCH_START_TIMEOUT)" in said
    assert error.startswith("ConfigError: the processes of the run did not find each other")
    assert advice in error and "*** Check failure" not in done.stderr
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
