"""Several processes of one run: how they find each other, agree, and end together."""

import contextlib
import dataclasses
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from ipixmatch_jax.devices.peer_wait import explained_wait, is_alone_in_slurm, start_timeout
from ipixmatch_jax.errors import ConfigError, UserError
from ipixmatch_jax.paths import AnyPath, is_remote

# How long processes wait for each other at the end, after one of them failed.
_END_S = 30
# JAX aborts when its own time for the start is up; `explained_wait` ends the process before that.
_JAX_EXTRA_S = 60
# Of an error that is told to the other processes.
_MESSAGE_BYTES = 4096
_PLAIN_MACHINE = "coordinator_address should be defined"
_DEVICES_IN_USE = "must be called before"


def start_processes(
    coordinator: str | None = None,
    count: int | None = None,
    index: int | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Joins the other processes of the run, if any, before JAX touches a device.

    Missing arguments are read from JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID,
    and otherwise from a cluster that JAX knows: a Cloud TPU slice, SLURM, Open MPI or Kubernetes.
    On a plain machine, and with a count of 1, it does nothing.

    Args:
        coordinator: HOST:PORT of process 0.
        count: number of processes.
        index: index of this process.
        environ: environment variables.

    Raises:
        ConfigError: some arguments are missing, or the processes did not find each other. If they
            do not come within IPIXMATCH_START_TIMEOUT seconds (default 120), the process prints
            the error and exits with code 2 by itself.
    """
    coordinator = coordinator or environ.get("JAX_COORDINATOR_ADDRESS") or None
    count = _number(count, "JAX_NUM_PROCESSES", environ)
    index = _number(index, "JAX_PROCESS_ID", environ)
    if count == 1 or jax.distributed.is_initialized():
        return
    asked = any(value is not None for value in (coordinator, count, index))
    if not asked and is_alone_in_slurm(environ):
        print("one task in this SLURM step: runs alone; srun starts all tasks", file=sys.stderr)
        return
    if coordinator and (count is None) != (index is None):
        raise ConfigError(
            f"--coordinator {coordinator} with --processes {count} and --process {index}; expected "
            "all three, or none of them on a cluster that JAX knows"
        )
    seconds = start_timeout(environ)
    try:
        with explained_wait(seconds, environ):
            jax.distributed.initialize(
                coordinator_address=coordinator,
                num_processes=count,
                process_id=index,
                local_device_ids=slurm_devices(environ),
                initialization_timeout=seconds + _JAX_EXTRA_S,
                shutdown_timeout_seconds=_END_S,
            )
    except (ValueError, RuntimeError) as error:
        plain = _PLAIN_MACHINE in str(error) or _DEVICES_IN_USE in str(error)
        if asked or not plain:
            raise ConfigError(
                f"the processes of the run did not find each other: {error}; --coordinator "
                f"{coordinator} --processes {count} --process {index}; --processes 1 runs this one "
                "alone"
            ) from error


def _number(given: int | None, name: str, environ: Mapping[str, str]) -> int | None:
    if given is not None or not environ.get(name):
        return given
    if not environ[name].isdigit():
        raise ConfigError(f"{name} is {environ[name]!r}; expected a number")
    return int(environ[name])


def slurm_devices(environ: Mapping[str, str]) -> list[int] | None:
    """The GPUs that a SLURM task uses, if JAX would choose wrongly; None leaves it to JAX.

    JAX takes the GPU with the task's number on its node. With one task per node all other GPUs
    would be idle, and with GPUs bound to tasks that number does not exist.
    """
    needed = ("SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_STEP_NUM_NODES")
    if environ.get("JAX_LOCAL_DEVICE_IDS") or not all(environ.get(name) for name in needed):
        return None
    visible = environ.get("CUDA_VISIBLE_DEVICES", "")
    gpus = len(visible.split(",")) if visible else int(environ.get("SLURM_GPUS_ON_NODE") or 0)
    one_task_a_node = environ["SLURM_NTASKS"] == environ["SLURM_STEP_NUM_NODES"]
    if gpus == 1 or (gpus and one_task_a_node):
        return list(range(gpus))
    return None


def use_compilation_cache(workdir: AnyPath) -> None:
    """Keeps compiled programs next to the workdir, for the next start and for sibling runs.

    JAX_COMPILATION_CACHE_DIR names another folder; an empty value turns the cache off.
    """
    if workdir is None or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    workdir = workdir if is_remote(workdir) else workdir.absolute()
    jax.config.update("jax_compilation_cache_dir", str(workdir.parent / ".jax_cache"))


@dataclasses.dataclass
class End:
    """End of a command.

    Attributes:
        code: its exit code.
    """

    code: int = 1


@contextlib.contextmanager
def ended_together() -> Iterator[End]:
    """A context for a command; at its end this process leaves the others, if there are any.

    After a failure this process exits at once: the others may be waiting for it in a collective
    operation that it will never join, and JAX's own shutdown would wait for them.
    """
    end = End()
    try:
        yield end
    except BaseException:
        if not jax.distributed.is_initialized():
            raise
        traceback.print_exc()
    if not jax.distributed.is_initialized():
        return
    if end.code == 0:
        jax.distributed.shutdown()
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(end.code)


def is_first() -> bool:
    """Whether this is the process that writes and prints."""
    return jax.process_index() == 0


def agree(value: bool) -> bool:
    """Whether the value is true in any process; all processes call it together."""
    if jax.process_count() == 1:
        return value
    return bool(np.any(multihost_utils.process_allgather(np.array([value]))))


def gather(array: np.ndarray) -> np.ndarray:
    """Joins arrays [b, …] of all processes to one [B, …]; all processes call it together."""
    if jax.process_count() == 1:
        return array
    return multihost_utils.process_allgather(array, tiled=True)


def end_all_with(error: Exception | None) -> None:
    """Raises an error of any process in all of them; all processes call it together.

    Args:
        error: the error of this process, if it has one. A process that runs alone has raised its
            errors already.

    Raises:
        UserError: the error of another process, with its number and message.
    """
    if jax.process_count() == 1:
        return
    said = "" if error is None else f"{error}" or type(error).__name__
    room = np.zeros((1, _MESSAGE_BYTES), np.uint8)
    encoded = said.encode()[:_MESSAGE_BYTES]
    room[0, : len(encoded)] = np.frombuffer(encoded, np.uint8)
    texts = [bytes(row).rstrip(b"\0").decode(errors="ignore") for row in gather(room)]
    if error is not None:
        raise error
    for process, text in enumerate(texts):
        if text:
            raise UserError(f"process {process}: {text}")


def first_only(action: Callable[[], Any]) -> None:
    """Runs an action in the first process while the others wait; an error ends all of them.

    Raises:
        UserError: the action's error; the other processes raise one that refers to it.
    """
    error = None
    if is_first():
        try:
            action()
        except UserError as caught:
            error = caught
    if agree(error is not None):
        raise error or UserError("process 0 failed; its message says why")
