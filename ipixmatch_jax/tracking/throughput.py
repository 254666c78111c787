"""Speed of a run: images and steps per second, and the share of time spent waiting for input."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from ipixmatch_jax.devices.run_ahead import RunAhead


class Throughput:
    """A clock over the steps between two log lines.

    It is stopped during the first step, which compiles, and during evaluations and saves. Steps are
    dispatched ahead of the device, at most two, so the clock is read only when the device has
    finished: after a log line has fetched the metrics, or before an evaluation or a save, which
    wait anyway.

    Args:
        images_per_step: labeled and unlabeled images, over all devices.
        clock: returns seconds.
    """

    def __init__(self, images_per_step: int, clock: Callable[[], float] = time.perf_counter):
        self._images = images_per_step
        self._clock = clock
        self._ahead = RunAhead()
        self._warm = False
        self._since: float | None = None
        self._steps = 0
        self._spent = self._waited = 0.0

    @contextlib.contextmanager
    def input(self) -> Iterator[None]:
        """Measures the wait for a batch; starts the clock if it is stopped."""
        begin = self._clock()
        if self._warm and self._since is None:
            self._since = begin
        yield
        if self._since is not None:
            self._waited += self._clock() - begin

    def step(self, metrics: Any) -> None:
        """Counts a dispatched step; waits for the first one, and for those before the last two."""
        if not self._warm:
            jax.block_until_ready(metrics)
            self._warm = True
            return
        self._ahead(metrics)
        self._steps += 1

    def pause(self, metrics: Any) -> None:
        """Stops the clock after the last step, which gave these metrics, is done."""
        if self._since is not None:
            jax.block_until_ready(metrics)
            self._spent += self._clock() - self._since
            self._since = None

    def numbers(self) -> dict[str, float]:
        """Speed since the last call; {} if no step was timed. The last step must be done.

        Returns:
            `images_per_second`, `steps_per_second`, and `input_wait`, a share of time in [0, 1].
        """
        if self._since is not None:
            now = self._clock()
            self._spent += now - self._since
            self._since = now
        steps, spent, waited = self._steps, self._spent, self._waited
        self._steps, self._spent, self._waited = 0, 0.0, 0.0
        if not steps or spent <= 0:
            return {}
        return {
            "images_per_second": steps * self._images / spent,
            "steps_per_second": steps / spent,
            "input_wait": waited / spent,
        }
