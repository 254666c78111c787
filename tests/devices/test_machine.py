"""The machine that a plan is made for, before and after JAX's backend has started."""

import os
import stat
import subprocess
import sys

import jax
import pytest

from ipixmatch_jax.devices import backend, machine
from ipixmatch_jax.devices.environment import pool_threads
from ipixmatch_jax.devices.machine import Machine, free_memory, this_machine

GIB = 2**30


@pytest.fixture
def not_started(monkeypatch):
    monkeypatch.setattr(backend, "_started", False)


@pytest.fixture
def root(tmp_path):
    """A file system of a machine with 8 GiB of free memory and nothing else."""
    for name in ("proc", "sys/fs/cgroup/memory", "dev/vfio"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(
        f"MemTotal: 1 kB\nMemAvailable:   {8 * 2**20} kB\nSwapFree: 0 kB\n"
    )
    return tmp_path


def smi(folder, *mebibytes):
    """An environment whose nvidia-smi lists GPUs of these sizes."""
    lines = "\\n".join(map(str, mebibytes))
    command = folder / "nvidia-smi"
    command.write_text(f"#!/bin/sh\nprintf '{lines}\\n'\n")
    command.chmod(command.stat().st_mode | stat.S_IEXEC)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def any_platform(monkeypatch):
    """As if JAX_PLATFORMS, which the tests set, were not."""
    before = jax.config.jax_platforms
    jax.config.update("jax_platforms", None)
    yield
    jax.config.update("jax_platforms", before)


def test_a_cpu(not_started, root):
    found = this_machine({"NPROC": "6"}, root)
    # The tests have eight virtual devices, which share the memory.
    assert found == Machine("cpu", 8, GIB, 6)
    flags = "--xla_force_host_platform_device_count=2"
    assert this_machine({"XLA_FLAGS": flags}, root).devices == 2


def test_limits_of_a_container(not_started, root):
    (root / "sys/fs/cgroup/memory.max").write_text("max\n")
    (root / "sys/fs/cgroup/cpu.max").write_text("max 100000\n")
    assert free_memory(root) == 8 * GIB
    (root / "sys/fs/cgroup/memory.max").write_text(f"{3 * GIB}\n")
    (root / "sys/fs/cgroup/cpu.max").write_text("150000 100000\n")
    assert free_memory(root) == 3 * GIB and this_machine({"NPROC": "6"}, root).cores == 2
    # Version 1 writes a huge number for no limit.
    (root / "sys/fs/cgroup/memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert free_memory(root) == 3 * GIB


def test_memory_of_a_system_that_says_nothing(tmp_path):
    assert free_memory(tmp_path) is None
    assert 0 < free_memory() < 2**50


def test_gpus_before_the_backend_starts(not_started, any_platform, root, monkeypatch, tmp_path):
    environ = smi(tmp_path, 16384, 81920)
    for number in range(2):
        (root / f"dev/nvidia{number}").touch()
    assert this_machine(environ, root).platform == "cpu"  # no plug-in is installed
    monkeypatch.setattr(backend, "_CUDA_PLUGINS", ("json",))
    # JAX takes three quarters of the memory.
    assert this_machine(environ, root) == Machine("gpu", 2, 12 * GIB, pool_threads())
    second = {**environ, "CUDA_VISIBLE_DEVICES": "1", "XLA_PYTHON_CLIENT_MEM_FRACTION": ".9"}
    assert this_machine(second, root) == Machine("gpu", 1, 72 * GIB, pool_threads())
    assert this_machine({**environ, "CUDA_VISIBLE_DEVICES": "-1"}, root).platform == "cpu"
    assert this_machine({**environ, "JAX_PLATFORMS": "cpu"}, root).platform == "cpu"
    without = this_machine({"PATH": str(root / "proc")}, root)
    assert without == Machine("gpu", 2, None, pool_threads())


def test_tpus_before_the_backend_starts(not_started, any_platform, root, monkeypatch):
    for number in range(4):
        (root / f"dev/accel{number}").touch()
    assert this_machine({}, root).platform == "cpu"  # libtpu is not installed
    found = this_machine({"JAX_PLATFORMS": "tpu,cpu"}, root)
    assert found == Machine("tpu", 4, None, pool_threads())
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: name == "libtpu")
    assert this_machine({}, root) == found


def test_the_devices_of_a_started_backend(monkeypatch, root):
    monkeypatch.setattr(backend, "_started", True)
    assert this_machine({"NPROC": "6"}, root) == Machine("cpu", 8, GIB, 6)

    class Chip:
        def memory_stats(self):
            return {"bytes_limit": 12 * GIB, "bytes_in_use": 2 * GIB}

    monkeypatch.setattr(machine.jax, "default_backend", lambda: "tpu")
    monkeypatch.setattr(machine.jax, "local_devices", lambda: [Chip()])
    assert this_machine({"NPROC": "6"}, root) == Machine("tpu", 8, 10 * GIB, 6)
    Chip.memory_stats = lambda self: None
    assert this_machine({"NPROC": "6"}, root).memory is None


def test_all_processes_have_the_facts_of_the_least(monkeypatch, root):
    monkeypatch.setattr(backend, "_started", True)

    def gather(own):
        other = own.copy()
        other[0] = (512, 4)
        return machine.np.concatenate([own, other])

    monkeypatch.setattr(machine, "gather", gather)
    assert this_machine({"NPROC": "6"}, root) == Machine("cpu", 8, 512 * 2**20, 4)
    monkeypatch.setattr(machine, "agree", lambda value: True)
    assert not machine.everywhere(True)


def test_asking_starts_no_backend():
    code = (
        "from ipixmatch_jax.devices.machine import everywhere, this_machine\n"
        "this_machine(), everywhere(True)\n"
        "import jax\n"
        "jax.config.update('jax_num_cpu_devices', 3)\n"  # an error once the backend runs
        "print(jax.device_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "3", done.stderr
