"""Stop signals: finish the step, save and exit; on several processes after the same step."""

import collections
import contextlib
import dataclasses
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ipixmatch_jax.engine.step import TrainStep

# After Ctrl-C, for a command to end by itself.
GRACE_S = 2.0


class StopSignal:
    """A context manager that becomes true after SIGTERM, SIGINT (Ctrl-C) or SIGHUP.

    SIGHUP comes when the terminal is closed or ssh is dropped; under `nohup` it stays ignored. The
    first signal is answered at once on standard error, also while the main thread compiles. A
    second SIGINT or SIGTERM ends the process without saving. Signals within `PAUSE_S` count as one:
    Ctrl-C often arrives from the terminal and from a launcher, and a closed terminal sends SIGHUP
    several times.

    Outside the main thread, which alone gets signals, it stays false.

    Args:
        ends_process: whether a second SIGINT or SIGTERM ends the process; if not, it raises
            KeyboardInterrupt.
    """

    PAUSE_S = 0.5

    def __init__(self, ends_process: bool = True):
        self._ends_process, self._again = ends_process, False
        self._name = ""
        self._before: dict[int, Any] = {}
        self._wakeup_before = -1
        self._first = math.inf
        # The system writes the number of every signal to it, even while Python code is not run.
        self._numbers, self._write_end = socket.socketpair()
        self._write_end.setblocking(False)
        self._watcher = threading.Thread(target=self._watch, daemon=True, name="stop-signal")

    def __bool__(self) -> bool:
        return bool(self._name)

    def __str__(self) -> str:
        return self._name or "a stop signal to another process"

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is not threading.main_thread():
            return self
        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is None or (
                name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN  # nohup
            ):
                continue
            self._before[number] = signal.signal(number, self._note)
        descriptor = self._write_end.fileno()
        self._wakeup_before = signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
        self._watcher.start()
        return self

    def __exit__(self, *_) -> None:
        if not self._watcher.is_alive():
            return
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            # None: it was not set from Python, as by jax's own preemption service.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._write_end.close()
        self._watcher.join()
        self._numbers.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._again:
            raise KeyboardInterrupt
        self._name = self._name or signal.Signals(number).name

    def _watch(self) -> None:
        while received := self._numbers.recv(1):
            number = received[0]
            if number not in self._before:
                continue
            now = time.monotonic()
            if self._first == math.inf:
                self._first = now
                self._note(number, None)
                _say(
                    f"{self}: the run saves after this step and exits; a second one: without saving"
                )
            elif signal.Signals(number).name != "SIGHUP" and now - self._first > self.PAUSE_S:
                if self._again:
                    continue  # this is the interrupt of the line below
                _say("exits without saving; the same command resumes from the last checkpoint")
                if self._ends_process:
                    os._exit(128 + number)
                self._again = True
                # A signal of its own: it also ends a call that waits.
                signal.pthread_kill(threading.main_thread().ident, number)


@contextlib.contextmanager
def answered_interrupts() -> Iterator[None]:
    """Lets Ctrl-C end a command that has nothing to save, also while it compiles.

    Python raises KeyboardInterrupt only between its own instructions, and a compile can take
    minutes. So the signal is answered at once by another thread, and if the command has not ended
    GRACE_S later, the process exits with code 130. Inside `StopSignal` it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals come to the main thread only
        return
    numbers, write_end = socket.socketpair()
    write_end.setblocking(False)
    done = threading.Event()

    def watch() -> None:
        while received := numbers.recv(1):
            if received[0] == signal.SIGINT:
                _say("interrupted")
                if not done.wait(GRACE_S):
                    os._exit(130)
                return

    thread = threading.Thread(target=watch, daemon=True, name="interrupts")
    before = signal.set_wakeup_fd(write_end.fileno(), warn_on_full_buffer=False)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        done.set()
        write_end.close()
        thread.join()
        numbers.close()


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
        print(text, file=sys.stderr, flush=True)


class StopVote:
    """Lets all processes of a run stop after the same step, whichever of them has to.

    Every batch carries a vote of its process. The step adds the votes over the devices: one more
    number in a reduction that it makes anyway. The sum is read `LAG` steps later, when it is ready
    without waiting, and every process reads the same sums at the same steps. A process that runs
    alone asks its own signal.

    Args:
        stop: the signal of this process.
        axis_name: axis over devices of the step.

    Attributes:
        steps: steps from a vote to the stop, both included; 0 for a process that runs alone.
    """

    LAG = 2

    def __init__(self, stop: StopSignal, axis_name: str):
        self._stop = stop
        self._axis = axis_name
        self._alone = jax.process_count() == 1
        self.steps = 0 if self._alone else self.LAG + 1
        self._sums: collections.deque = collections.deque()

    def ballot(self, batch: dict[str, Any], devices: int, failing: bool) -> dict[str, Any]:
        """Adds this process's vote to the batch, one float32 for each of its devices.

        Args:
            batch: arrays of this process.
            devices: number of its devices.
            failing: vote to stop without a signal too, because of an error that comes.
        """
        if self._alone:
            return batch
        return {**batch, "stop": np.full(devices, failing or bool(self._stop), np.float32)}

    def counted(self, step: TrainStep) -> TrainStep:
        """Wraps the per-device step so that its metrics hold the sum of votes, as `stop`."""
        if self._alone:
            return step

        def gradients(state, batch):
            votes = jax.lax.psum(jnp.sum(batch["stop"]), self._axis)
            rest = {name: part for name, part in batch.items() if name != "stop"}
            found = step.gradients(state, rest)
            return found.replace(metrics=found.metrics | {"stop": votes})

        return dataclasses.replace(step, gradients=gradients)

    def decided(self, votes: jax.Array | None) -> bool:
        """Whether the run stops after the step that gave this sum of votes."""
        if self._alone:
            return bool(self._stop)
        self._sums.append(votes)
        return len(self._sums) > self.LAG and float(self._sums.popleft()) > 0
