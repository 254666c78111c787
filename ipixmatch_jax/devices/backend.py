"""Checks of JAX's platform before a run starts: variables left over, idle GPUs, broken drivers."""

import functools
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Mapping

import jax

from ipixmatch_jax.errors import ConfigError

# Makes XLA read its flags as a backend does; at a wrong one XLA ends the process.
_PROBE = "from jaxlib import _jax; _jax.CompileOptions().executable_build_options"
_XLA_MESSAGE = re.compile(r"^[EF]\d{4} .*?\] (.*)", re.MULTILINE)
_CUDA_PLUGINS = ("jax_cuda13_plugin", "jax_cuda12_plugin")
_HIDDEN = ("", "-1", "none", "NoDevFiles", "void")
_INSTALL = "pip install 'ipixmatch-jax[cuda13]'"
_started = False


def has_started() -> bool:
    """Whether `check_backend` has started JAX's backend in this process."""
    return _started


def check_xla_flags(environ: Mapping[str, str] = os.environ) -> None:
    """Checks XLA_FLAGS in a separate process, because XLA aborts at a wrong flag.

    Raises:
        ConfigError: XLA does not accept the flags.
    """
    flags = environ.get("XLA_FLAGS", "").strip()
    problem = _problem_of(flags) if flags else ""
    if problem:
        raise ConfigError(
            f"XLA_FLAGS is {flags!r}: {problem}; fix or unset it (flags of libtpu go to "
            "LIBTPU_INIT_ARGS)"
        )


def check_variables(environ: Mapping[str, str] = os.environ) -> str:
    """Checks variables that are set to find faults, and left over.

    Returns:
        A note about one that makes a run many times slower; otherwise "".

    Raises:
        ConfigError: the optimizer cannot work with one.
    """
    if environ.get("JAX_NUMPY_DTYPE_PROMOTION", "").lower() == "strict":
        raise ConfigError(
            "JAX_NUMPY_DTYPE_PROMOTION is 'strict', with which optimizers cannot multiply a float "
            "by their count of steps; unset it"
        )
    if environ.get("JAX_DISABLE_JIT", "").lower() in ("1", "true", "yes", "on", "y", "t"):
        return (
            "JAX_DISABLE_JIT is set: every operation runs by itself, which takes hundreds of times "
            "longer; unset it to compile the steps"
        )
    return ""


@functools.cache
def _problem_of(flags: str) -> str:
    environ = {**os.environ, "XLA_FLAGS": flags}
    command = [sys.executable, "-c", _PROBE]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, errors="replace")
    found = _XLA_MESSAGE.search(done.stderr)
    return found.group(1)[:300] if done.returncode and found else ""


def check_backend(
    environ: Mapping[str, str] = os.environ, devices: pathlib.Path = pathlib.Path("/dev")
) -> str:
    """Starts JAX's backend, and checks that it uses the accelerator of the machine.

    Call it after the processes of a run have found each other.

    Args:
        environ: environment variables.
        devices: folder of device files.

    Returns:
        A note for the user if a GPU is idle because JAX lacks support for it; otherwise "".

    Raises:
        ConfigError: JAX_PLATFORMS names a platform that JAX cannot use here, or a GPU for which
            JAX is installed cannot be used.
    """
    global _started
    asked = environ.get("JAX_PLATFORMS", "")
    try:
        backend = jax.default_backend()
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(_unusable(asked, error)) from error
    _started = True
    if backend != "cpu" or asked or not usable_gpus(environ, devices):
        return ""
    plugins = cuda_plugins()
    if not plugins:
        return (
            "this machine has an NVIDIA GPU that stays idle: the installed JAX runs on the CPU "
            f"only. For the GPU: {_INSTALL}; JAX_PLATFORMS=cpu turns this note off"
        )
    raise ConfigError(
        f"this machine has an NVIDIA GPU, but {plugins[0]} cannot use it{_cuda_error()}; check "
        "that nvidia-smi lists it and that the driver is new enough for this CUDA, or set "
        "JAX_PLATFORMS=cpu to train on the CPU"
    )


def usable_gpus(environ: Mapping[str, str], devices: pathlib.Path) -> list[pathlib.Path]:
    """Device files of NVIDIA GPUs; empty if CUDA_VISIBLE_DEVICES hides them."""
    hidden = environ.get("CUDA_VISIBLE_DEVICES", "all") in _HIDDEN
    return [] if hidden else sorted(devices.glob("nvidia[0-9]*"))


def cuda_plugins() -> list[str]:
    """JAX's plug-ins for CUDA that are installed."""
    return [name for name in _CUDA_PLUGINS if importlib.util.find_spec(name)]


def _unusable(asked: str, error: Exception) -> str:
    # JAX ends its message with advice of its own in brackets.
    first_line = str(error).strip().split("\n")[0].split(" (set JAX_")[0].split(" (you may")[0]
    reason = first_line.removeprefix("Unable to initialize backend ") or "no such device is visible"
    if not asked:
        return (
            f"JAX cannot use this machine's accelerator: {reason}; repair its driver or plug-in, "
            "or set JAX_PLATFORMS=cpu to run on the CPU"
        )
    return (
        f"JAX_PLATFORMS is {asked!r}, but JAX cannot use that here: {reason}; unset it to let JAX "
        f"choose, or set JAX_PLATFORMS=cpu. JAX for NVIDIA GPUs: {_INSTALL}; for TPUs: "
        "pip install 'ipixmatch-jax[tpu]'"
    )


def _cuda_error() -> str:
    # The reason is kept in a private place; without it the message is still complete.
    bridge = sys.modules.get("jax._src.xla_bridge")
    reason = getattr(bridge, "_backend_errors", {}).get("cuda", "")
    return f" ({reason.splitlines()[0][:300]})" if reason else ""
