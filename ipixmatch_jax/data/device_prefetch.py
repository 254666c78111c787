"""Transfers batches to the devices in a background thread while the previous step runs."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

_STOP_CHECK_S = 0.1


class DeviceFeed:
    """An iterator over `put(batch)`, at most `depth` batches ahead of the consumer.

    The transfer of a batch overlaps the previous step, also while the loop waits for a value.
    An error in reading or transfer is raised by `next`, after the batches before it.

    Args:
        batches: host batches; `close` closes them if they have that method.
        put: starts the transfer of one batch and returns the device arrays.
        depth: batches that wait on the devices; 2 is double buffering.
    """

    def __init__(self, batches: Iterator[Any], put: Callable[[Any], Any], depth: int = 2):
        self._batches = batches
        self._put = put
        self._ready: queue.Queue = queue.Queue(maxsize=max(depth - 1, 1))
        self._stop = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="device-feed", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            for batch in self._batches:
                if not self._offer((self._put(batch), None)):
                    return
            self._offer((None, StopIteration()))
        except BaseException as error:  # any error must reach the loop
            self._offer((None, error))

    def _offer(self, item: tuple[Any, BaseException | None]) -> bool:
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=_STOP_CHECK_S)
                return True
            except queue.Full:
                continue
        return False

    def __iter__(self) -> "DeviceFeed":
        return self

    def __next__(self) -> Any:
        if self._ended:
            raise StopIteration
        batch, error = self._ready.get()
        if error is not None:
            self._ended = True
            raise error
        return batch

    def close(self) -> None:
        """Stops the thread and closes the host batches."""
        self._stop.set()
        self._ended = True
        self._thread.join()
        close = getattr(self._batches, "close", None)
        if close:
            close()
