"""A bound on how far the host runs ahead of the devices."""

import collections
from typing import Any

import jax


class RunAhead:
    """Lets the host dispatch at most `MOST` computations that the devices have not finished.

    Without it the host dispatches many more, so that progress counts what is only planned, and a
    stop signal waits for all of it. Two keep the devices busy.
    """

    MOST = 2

    def __init__(self):
        self._unfinished: collections.deque = collections.deque()

    def __call__(self, outputs: Any) -> None:
        """Notes a dispatched computation, and waits until at most `MOST` are unfinished.

        Args:
            outputs: arrays that it returns and that no later computation is given to overwrite.
        """
        self._unfinished.append(outputs)
        if len(self._unfinished) > self.MOST:
            jax.block_until_ready(self._unfinished.popleft())
