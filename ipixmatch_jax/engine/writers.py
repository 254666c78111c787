"""Where numbers go: `metrics.jsonl` always, TensorBoard event files when tensorboardX is there."""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ipixmatch_jax.engine.paths import is_remote, write_whole, writing
from ipixmatch_jax.engine.processes import is_first


class Writers:
    """The metric files of a run; only the first process writes.

    A resumed run continues the files: lines and evaluations after the restored step are dropped
    first, since the run takes these steps again.
    """

    def __init__(self, workdir: Any, start_step: int):
        self._active = is_first()
        if not self._active:
            return
        self._metrics = _Lines(workdir / "metrics.jsonl", start_step)
        self._bad = _Lines(workdir / "bad_steps.jsonl", start_step)
        _drop_evaluations(workdir / "eval", start_step)
        self._events = _event_writer(workdir, start_step)

    def __enter__(self) -> "Writers":
        return self

    def __exit__(self, *_) -> None:
        if not self._active:
            return
        self._metrics.close()
        self._bad.close()
        if self._events is not None:
            with contextlib.suppress(OSError):  # a full disk: metrics.jsonl has the numbers too
                self._events.close()

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """One line of named numbers; NaN becomes null, as JSON has no word for it."""
        if not self._active:
            return
        clean = {name: _number(value) for name, value in values.items()}
        self._metrics.write({"step": step, **clean})
        if self._events is not None:
            with contextlib.suppress(OSError):
                self._add_events(step, clean)

    def _add_events(self, step: int, clean: Mapping[str, Any]) -> None:
        for name, value in clean.items():
            if value is not None:
                self._events.add_scalar(name, value, step)

    def write_bad_step(self, step: int, records: Mapping[str, Sequence[str]]) -> None:
        """The records of a step that was not finite, by stream, to `bad_steps.jsonl`."""
        if self._active:
            self._bad.write({"step": step, **records})

    def sync(self) -> None:
        """Brings what was written to the disk; before a checkpoint of the same step."""
        if self._active:
            self._metrics.sync()
            self._bad.sync()


class _Lines:
    """A file of JSON lines that can be cut back to a step."""

    def __init__(self, path: Any, start_step: int):
        self._path = path
        self._text = _lines_until(path, start_step)
        self._file = None
        self._synced = True
        if is_remote(path):
            return  # objects cannot be appended to: kept here, and written whole by sync
        if self._text or path.exists():
            write_whole(path, self._text)
        self._text = ""

    def write(self, line: Mapping[str, Any]) -> None:
        text = json.dumps(line) + "\n"
        self._synced = False
        if is_remote(self._path):
            self._text += text
            return
        with writing(self._path):
            # Opened with the first line: most runs have no bad step.
            self._file = self._file or self._path.open("a", buffering=1)
            self._file.write(text)

    def sync(self) -> None:
        if self._synced:
            return
        self._synced = True
        with writing(self._path):
            if is_remote(self._path):
                self._path.write_text(self._text)
            elif self._file is not None:
                os.fsync(self._file.fileno())

    def close(self) -> None:
        if is_remote(self._path):
            self.sync()
        elif self._file is not None:
            with writing(self._path):
                self._file.close()


def _number(value: Any) -> float | int | None:
    value = value.item() if hasattr(value, "item") else value
    return value if value is not None and np.isfinite(value) else None


def _lines_until(path: Any, step: int) -> str:
    if not path.exists():
        return ""
    lines = path.read_text().splitlines(keepends=True)
    # A killed run may leave half a line.
    return "".join(x for x in lines if x.endswith("\n") and json.loads(x)["step"] <= step)


def _drop_evaluations(folder: Any, start_step: int) -> None:
    if not folder.exists():
        return
    for path in folder.iterdir():
        if path.stem.isdigit() and int(path.stem) > start_step:
            path.unlink()


def _event_writer(workdir: Any, start_step: int):
    if is_remote(workdir):
        return None  # event files are appended to
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    # purge_step hides the events that a killed run wrote after its last checkpoint.
    return SummaryWriter(str(workdir), purge_step=start_step + 1 if start_step else None)
