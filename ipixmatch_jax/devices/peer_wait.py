"""Waits for the other processes of a run: says who is missing, and gives up after a time."""

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping

from ipixmatch_jax.errors import ConfigError, exit_code

TIMEOUT_VARIABLE = "IPIXMATCH_START_TIMEOUT"
_DEFAULT_S = 120
# Processes that start together find each other sooner; nothing is said then.
_QUIET_S = 2


def start_timeout(environ: Mapping[str, str]) -> int:
    """Seconds that processes wait for each other at the start, from IPIXMATCH_START_TIMEOUT.

    Raises:
        ConfigError: the variable is not a positive whole number.
    """
    text = environ.get(TIMEOUT_VARIABLE) or str(_DEFAULT_S)
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f"{TIMEOUT_VARIABLE} is {text!r}; expected seconds, at least 1")
    return int(text)


@contextlib.contextmanager
def explained_wait(seconds: int, environ: Mapping[str, str]) -> Iterator[None]:
    """Runs while this process connects to the others: says who is missing, then ends the process.

    JAX connects in C++ code, which Python cannot interrupt and which aborts when its own time is
    up. A thread therefore prints the ConfigError and exits with code 2 before that.

    Args:
        seconds: how long to wait.
        environ: environment variables.
    """
    connected = threading.Event()

    def watch() -> None:
        if connected.wait(min(_QUIET_S, seconds)):
            return
        print(
            f"{_missing()}; waiting up to {seconds} s ({TIMEOUT_VARIABLE}){_slurm_hint(environ)}",
            file=sys.stderr,
            flush=True,
        )
        if connected.wait(max(seconds - _QUIET_S, 0)):
            return
        error = ConfigError(
            f"the processes of the run did not find each other within {seconds} s: {_missing()}. "
            f"Start all of them, each with the same --coordinator, raise {TIMEOUT_VARIABLE}, or "
            f"run this one alone with --processes 1{_slurm_hint(environ)}"
        )
        code = exit_code(error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    threading.Thread(target=watch, daemon=True, name="peer-wait").start()
    try:
        yield
    finally:
        connected.set()


def _missing() -> str:
    """Describes the missing processes, as far as this one can tell."""
    from jax._src import distributed  # its values are set before JAX connects, and nowhere else

    state = distributed.global_state
    where, count, index = state.coordinator_address, state.num_processes, state.process_id
    if not where or not count:
        return "the cluster's coordinator is not known yet"
    if index == 0:
        others = "process 1" if count == 2 else f"processes 1 to {count - 1}"
        return f"process 0 waits at {where} for {others} to connect"
    if _answers(where):
        return f"process {index} reaches process 0 at {where}; another of the {count} is missing"
    return f"process {index} waits for process 0, and nothing answers at {where}"


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except (OSError, ValueError):
        return False
    return True


def _slurm_hint(environ: Mapping[str, str]) -> str:
    tasks = environ.get("SLURM_NTASKS", "1")
    if tasks == "1" or "SLURM_JOB_ID" not in environ:
        return ""
    return f". SLURM_NTASKS is {tasks}: start the command with srun, which starts all tasks"


def is_alone_in_slurm(environ: Mapping[str, str]) -> bool:
    """Whether this is the only task of its SLURM step, in an allocation for several tasks.

    An interactive shell of `salloc` is such a step: it has the allocation's SLURM_NTASKS, from
    which JAX would wait for tasks that nobody starts.
    """
    return environ.get("SLURM_STEP_NUM_TASKS") == "1" and environ.get("SLURM_NTASKS", "1") != "1"
