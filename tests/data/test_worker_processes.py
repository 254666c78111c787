"""Processes that read data end with their parent, and leave stop signals to it."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from ipixmatch_jax.data import TrainBatches
from ipixmatch_jax.data.worker_processes import end_if_importing
from ipixmatch_jax.errors import DataError

PARENT = """
import sys
from ipixmatch_jax.config import load_config
from ipixmatch_jax.data import load_dataset, train_batches

if __name__ == "__main__":
    config = load_config(sys.argv[1], ["--config.data.workers=2"])
    dataset = load_dataset(config.data, 0)
    batches = train_batches(dataset, config.data, batch_size=2, unlabeled_batch_size=2, seed=0)
    shapes = [len(next(batches)["labeled"]["image"]) for _ in range(4)]  # of both workers
    print(shapes, flush=True)
    for line in sys.stdin:
        for _ in range(20):
            next(batches)
        print("twenty more", flush=True)
    batches.close()
"""


def children(pid):
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as stat, open(f"/proc/{entry}/cmdline") as line:
                parent, command = int(stat.read().rpartition(")")[2].split()[1]), line.read()
        except OSError:
            continue
        # Not the resource tracker, which cleans up after the workers.
        if parent == pid and "spawn_main" in command:
            found.append(int(entry))
    return found


@pytest.fixture
def parent(tmp_path, config_file):
    (tmp_path / "parent.py").write_text(PARENT)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py", config_file],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "[2, 2, 2, 2]\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


linux = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="reads /proc")


@linux
def test_workers_end_with_a_killed_parent(parent):
    workers = children(parent.pid)
    assert len(workers) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{pid}") for pid in workers):
        assert time.monotonic() < until, "workers outlive their parent"
        time.sleep(0.05)


@linux
def test_workers_leave_stop_signals_to_their_parent(parent):
    workers = children(parent.pid)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        for pid in workers:
            os.kill(pid, number)
    time.sleep(0.3)
    parent.stdin.write("go on\n")
    parent.stdin.flush()
    assert parent.stdout.readline() == "twenty more\n"
    parent.stdin.close()
    assert parent.wait(timeout=30) == 0


def ending(message):
    raise RuntimeError(message)
    yield


def test_a_worker_that_ends_is_told():
    words = "Worker process was terminated unexpectedly with exit code -9. Search the logs above"
    with pytest.raises(DataError, match=r"exit code -9\); .* data.workers=0"):
        next(TrainBatches(ending(words), {}))
    with pytest.raises(RuntimeError, match="another"):
        next(TrainBatches(ending("another"), {}))


def test_a_script_that_trains_while_a_worker_imports_it(monkeypatch, capsys):
    end_if_importing()  # here it does nothing
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    monkeypatch.setattr(os, "_exit", lambda code: sys.exit(code))
    with pytest.raises(SystemExit):
        end_if_importing()
    assert "outside of \"if __name__ == '__main__':\"" in capsys.readouterr().err
