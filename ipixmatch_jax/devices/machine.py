"""Facts about the machine from which a run is planned: platform, devices, memory, cores.

Before JAX's backend has started, the facts are those of the platform that it will choose: a start
would take the memory of a GPU, and must wait for the other processes of a run.
"""

import dataclasses
import importlib.util
import os
import pathlib
import re
import subprocess
from collections.abc import Mapping

import jax
import numpy as np

from ipixmatch_jax.devices import backend
from ipixmatch_jax.devices.environment import pool_threads
from ipixmatch_jax.devices.processes import agree, gather

_PLATFORM_OF = {"cuda": "gpu", "rocm": "gpu", "gpu": "gpu", "tpu": "tpu", "cpu": "cpu"}
# JAX reserves this share of a GPU's memory unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise
# (docs.jax.dev, GPU memory allocation).
_GPU_SHARE = 0.75
_FORCED_DEVICES = re.compile(r"--xla_force_host_platform_device_count=(\d+)")
_TOO_LARGE = 2**60  # cgroup v1 writes a number of this order for "no limit"
_MIB = 2**20
_SMI = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")


@dataclasses.dataclass(frozen=True)
class Machine:
    """The devices of a run.

    Attributes:
        platform: `cpu`, `gpu` or `tpu`.
        devices: number of devices over all processes.
        memory: bytes of one device that a run can use; None if unknown.
        cores: processor cores that this process may use.
    """

    platform: str = "cpu"
    devices: int = 1
    memory: int | None = None
    cores: int = 1


def this_machine(
    environ: Mapping[str, str] = os.environ, root: pathlib.Path = pathlib.Path("/")
) -> Machine:
    """The machine that this process runs on; equal in all processes of a run.

    With several processes, all of them call it together.

    Args:
        environ: environment variables.
        root: root of the file system, with `proc`, `sys` and `dev`.
    """
    cores = _cores(environ, root)
    if not backend.has_started():
        return _expected(environ, root, cores)
    platform, local = jax.default_backend(), jax.local_device_count()
    if platform == "cpu":
        memory = free_memory(root)
        memory = None if memory is None else memory // local
    else:
        stats = jax.local_devices()[0].memory_stats() or {}
        limit = stats.get("bytes_limit")
        memory = None if limit is None else limit - stats.get("bytes_in_use", 0)
    # Other processes have other free memory; a run has one plan.
    own = np.array([[(memory or 0) // _MIB, cores]], np.int32)
    least, cores = gather(own).min(axis=0).tolist()
    return Machine(platform, jax.device_count(), least * _MIB or None, cores)


def everywhere(value: bool) -> bool:
    """Whether a value is true in all processes of the run, which call this together."""
    return not agree(not value) if backend.has_started() else value


def free_memory(root: pathlib.Path = pathlib.Path("/")) -> int | None:
    """Bytes of main memory that this process can still take; None if the system does not say."""
    found = [_available(root), *_memory_limits(root)]
    known = [value for value in found if value is not None and value < _TOO_LARGE]
    return min(known) if known else None


def _expected(environ: Mapping[str, str], root: pathlib.Path, cores: int) -> Machine:
    """The machine as JAX will see it, found without starting its backend."""
    asked = (jax.config.jax_platforms or environ.get("JAX_PLATFORMS", "")).split(",")[0]
    platform = _PLATFORM_OF.get(asked, "") or _likely_platform(environ, root)
    if platform == "cpu":
        count, memory = _cpu_devices(environ), free_memory(root)
        return Machine("cpu", count, None if memory is None else memory // count, cores)
    if platform == "tpu":
        return Machine("tpu", max(len(_tpu_chips(root)), 1), None, cores)
    sizes = _gpu_memory(environ)
    text = environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION", "")
    share = float(text) if re.fullmatch(r"\d*\.?\d+", text) else _GPU_SHARE
    count = len(sizes) or len(backend.usable_gpus(environ, root / "dev")) or 1
    return Machine("gpu", count, int(min(sizes) * share) if sizes else None, cores)


def _likely_platform(environ: Mapping[str, str], root: pathlib.Path) -> str:
    if backend.usable_gpus(environ, root / "dev") and backend.cuda_plugins():
        return "gpu"
    return "tpu" if _tpu_chips(root) and importlib.util.find_spec("libtpu") else "cpu"


def _tpu_chips(root: pathlib.Path) -> list[pathlib.Path]:
    # Cloud TPU VMs show a chip as accelN, newer ones as a numbered VFIO group.
    return [*root.glob("dev/accel[0-9]*"), *root.glob("dev/vfio/[0-9]*")]


def _cpu_devices(environ: Mapping[str, str]) -> int:
    forced = _FORCED_DEVICES.search(environ.get("XLA_FLAGS", ""))
    return int(forced.group(1)) if forced else max(jax.config.jax_num_cpu_devices, 1)


def _gpu_memory(environ: Mapping[str, str]) -> list[int]:
    """Bytes of each visible GPU, by nvidia-smi; empty without it."""
    try:
        done = subprocess.run(_SMI, capture_output=True, text=True, timeout=20, env={**environ})
    except (OSError, subprocess.TimeoutExpired):
        return []
    sizes = [int(line) * _MIB for line in done.stdout.split() if line.isdigit()]
    visible = environ.get("CUDA_VISIBLE_DEVICES", "")
    chosen = [int(word) for word in visible.split(",") if word.strip().isdigit()]
    return [sizes[index] for index in chosen if index < len(sizes)] or sizes


def _available(root: pathlib.Path) -> int | None:
    text = _text(root / "proc" / "meminfo")
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    if found:
        return int(found.group(1)) * 1024
    if root != pathlib.Path("/") or not hasattr(os, "sysconf"):
        return None
    try:  # macOS: all of the memory
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _memory_limits(root: pathlib.Path) -> list[int]:
    """Limits of the container, of either version of control groups."""
    groups = root / "sys" / "fs" / "cgroup"
    paths = (groups / "memory.max", groups / "memory" / "memory.limit_in_bytes")
    return [int(text) for path in paths if (text := _text(path).strip()).isdigit()]


def _cores(environ: Mapping[str, str], root: pathlib.Path) -> int:
    """Cores of XLA's pool, or the container's quota of processor time if that is less."""
    cores = pool_threads(environ)
    quota, _, period = _text(root / "sys" / "fs" / "cgroup" / "cpu.max").strip().partition(" ")
    if quota.isdigit() and period.isdigit() and int(period):
        cores = min(cores, max(round(int(quota) / int(period)), 1))
    return cores


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
