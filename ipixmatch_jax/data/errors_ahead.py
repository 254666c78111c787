"""Batches read a few steps ahead, so that an error in the input is known before its step comes."""

import collections
from collections.abc import Iterator
from typing import Any

from ipixmatch_jax.data.pipeline import TrainBatches


class ErrorsAhead(Iterator):
    """An iterator over `(batch, skips)` that reads `depth` batches further than it returns.

    Several processes save the same step only if each of them knows of an error of any before that
    error's own step: the batches in between carry the news.

    Args:
        batches: training batches.
        depth: batches of host memory that wait; with 0 nothing is read ahead.

    Attributes:
        error: the error of a batch to come; None as long as none is known.
    """

    def __init__(self, batches: TrainBatches, depth: int):
        self._batches = batches
        self._depth = depth
        self._waiting: collections.deque[tuple[dict[str, Any], int]] = collections.deque()
        self.error: Exception | None = None

    def __next__(self) -> tuple[dict[str, Any], int]:
        while self.error is None and len(self._waiting) <= self._depth:
            try:
                self._waiting.append((next(self._batches), self._batches.skips))
            except Exception as error:  # whatever it is, its turn comes
                self.error = error
        if self._waiting:
            return self._waiting.popleft()
        raise self.error

    def close(self) -> None:
        """Closes the batches."""
        self._batches.close()
