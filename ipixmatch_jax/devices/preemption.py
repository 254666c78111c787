"""Stop signals: finish the step, save and exit; on several processes after the same step."""

import collections
import dataclasses
import signal
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ipixmatch_jax.engine.step import TrainStep


class StopSignal:
    """A context manager; true once SIGTERM or SIGINT has come. A second one ends at once."""

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self._name = ""
        self._before = {}

    def __bool__(self) -> bool:
        return bool(self._name)

    def __str__(self) -> str:
        return self._name or "a stop signal to another process"

    def __enter__(self) -> "StopSignal":
        self._before = {number: signal.signal(number, self._note) for number in self._SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._name = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            # None: it was not set from Python, as by jax's own preemption service.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class StopVote:
    """Lets all processes of a run stop after the same step, whichever of them was signalled.

    Every batch carries a vote of its process. The step adds the votes over the devices: one more
    number in a reduction that it makes anyway. The sum is read `LAG` steps later, when it is ready
    without waiting, and every process reads the same sums at the same steps. A process that runs
    alone asks its own signal.

    Args:
        stop: the signal of this process.
        axis_name: axis over devices of the step.
    """

    LAG = 2

    def __init__(self, stop: StopSignal, axis_name: str):
        self._stop = stop
        self._axis = axis_name
        self._alone = jax.process_count() == 1
        self._sums: collections.deque = collections.deque()

    def ballot(self, batch: dict[str, Any], devices: int) -> dict[str, Any]:
        """Adds this process's vote to the batch, one float32 for each of its devices."""
        if self._alone:
            return batch
        return {**batch, "stop": np.full(devices, bool(self._stop), np.float32)}

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
