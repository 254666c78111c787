"""What the last bits of a run depend on besides its config: devices, threads and versions."""

import functools
import importlib.metadata
import os
import pathlib
import platform
from collections.abc import Mapping
from typing import Any

import jax

# jax and jaxlib compile the step; the others compute in it, or decode, order and scale the images.
_PACKAGES = ("ipixmatch-jax", "jax", "jaxlib", "flax", "optax", "numpy", "pillow", "grain")
_JAX_OPTIONS = (
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_disable_most_optimizations",
    "jax_enable_x64",
    "jax_threefry_partitionable",
)
# Flags that change what is printed, or what `devices` counts already.
_HARMLESS_FLAGS = ("--xla_dump", "--xla_force_host_platform_device_count", "--xla_hlo_profile")


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The facts that the bits of a run depend on, by name; starts JAX's backend.

    On a CPU, XLA splits a sum by the size of its thread pool and uses the instructions that the
    processor has; on accelerators neither matters.

    Args:
        environ: environment variables.
    """
    devices = jax.devices()
    facts: dict[str, Any] = {
        "devices": len(devices),
        "device kind": devices[0].device_kind,
        "processes": jax.process_count(),
    }
    if devices[0].platform == "cpu":
        facts |= {"device kind": _processor(), "threads": pool_threads(environ)}
    facts |= {name: _version(name) for name in _PACKAGES}
    flags = environ.get("XLA_FLAGS", "").split()
    facts["XLA_FLAGS"] = " ".join(sorted(f for f in flags if not f.startswith(_HARMLESS_FLAGS)))
    if devices[0].platform == "tpu":
        facts["LIBTPU_INIT_ARGS"] = environ.get("LIBTPU_INIT_ARGS", "")
    return facts | {name: jax.config.values.get(name) for name in _JAX_OPTIONS}


def pool_threads(environ: Mapping[str, str] = os.environ) -> int:
    """Threads of XLA's pool on a CPU: NPROC if it is set, otherwise the cores it may run on."""
    asked = environ.get("NPROC", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`NAME BEFORE -> NOW` for every fact that both environments state and that differs."""
    shared = [name for name in now if name in before and before[name] != now[name]]
    return [f"{name} {_text(before[name])} -> {_text(now[name])}" for name in shared]


def _text(value: Any) -> str:
    return str(value) if value not in ("", None) else "none"


@functools.cache
def _processor() -> str:
    """The processor's name, such as "AMD EPYC 7B12"; otherwise its architecture."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


@functools.cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
