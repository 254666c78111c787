"""SIGTERM and Ctrl-C: finish the step, save, leave."""

import signal
from types import FrameType


class StopSignal:
    """A context manager; true once SIGTERM or SIGINT has come. A second one ends at once."""

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self._name = ""
        self._before = {}

    def __bool__(self) -> bool:
        return bool(self._name)

    def __str__(self) -> str:
        return self._name

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
            signal.signal(number, handler)
