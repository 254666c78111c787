"""Where numbers go: `metrics.jsonl` always, and the services of `config.tracking`."""

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict
from tqdm import tqdm

from ipixmatch_jax.devices.processes import is_first
from ipixmatch_jax.paths import AnyPath, is_remote
from ipixmatch_jax.tracking.histograms import Histogram
from ipixmatch_jax.tracking.services import TrackedRun, Tracker, open_trackers, tracking_defaults
from ipixmatch_jax.workdir.folder import (
    BAD_STEPS,
    THROUGHPUT,
    evaluations_folder,
    metrics_path,
    write_whole,
    writing,
)


class Writers:
    """The metric files of a run and the services that follow it; only the first process writes.

    A resumed run continues the files: lines and evaluations after the restored step are dropped
    first, since the run takes these steps again. What a clock measured, which is never the same
    twice, has a file of its own.

    Args:
        config: its `tracking` says which services, and they are told all of it; None: defaults.

    Raises:
        ConfigError: a service that cannot be opened.
    """

    def __init__(self, workdir: AnyPath, start_step: int, config: ConfigDict | None = None):
        self._active = is_first()
        self._metrics = self._bad = self._speed = None
        self._trackers: list[Tracker] = []
        self._stack = contextlib.ExitStack()
        if not self._active:
            return
        self._metrics = _Lines(metrics_path(workdir), start_step)
        self._bad = _Lines(workdir / BAD_STEPS, start_step)
        self._speed = _Lines(workdir / THROUGHPUT, start_step)
        for lines in (self._speed, self._bad, self._metrics):
            self._stack.callback(lines.close)
        _drop_evaluations(evaluations_folder(workdir), start_step)
        tracking = config.tracking if config else tracking_defaults()
        told = flatten_dict(config.to_dict(), sep=".") if config else {}
        run = TrackedRun(workdir, start_step, tracking["project"], told)
        self._trackers = open_trackers(tracking["writers"], run)
        for tracker in self._trackers:
            self._stack.callback(_close_quietly, tracker)

    def __enter__(self) -> "Writers":
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()

    @property
    def shows(self) -> bool:
        """Whether anybody sees pictures and histograms."""
        return bool(self._trackers)

    def write(
        self, step: int, values: Mapping[str, Any], speed: Mapping[str, float] | None = None
    ) -> None:
        """A line of named numbers; NaN becomes null, as JSON has no word for it.

        Args:
            values: to `metrics.jsonl`.
            speed: to `throughput.jsonl`; of either, no line where there are none.
        """
        for lines, numbers in ((self._metrics, values), (self._speed, speed)):
            if self._active and numbers:
                self._write(lines, step, numbers)

    def write_bad_step(self, step: int, records: Mapping[str, Sequence[str]]) -> None:
        """The records of a step that was not finite, by stream, to `bad_steps.jsonl`."""
        if self._active:
            self._bad.write({"step": step, **records})

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Named pictures uint8 [H, W, 3], to the services."""
        self._tell(lambda tracker: tracker.images(step, images))

    def write_histograms(self, step: int, histograms: Mapping[str, Histogram]) -> None:
        """Named histograms, to the services."""
        self._tell(lambda tracker: tracker.histograms(step, histograms))

    def sync(self) -> None:
        """Brings what was written to the disk; before a checkpoint of the same step."""
        if self._active:
            for lines in (self._metrics, self._bad, self._speed):
                lines.sync()

    def _write(self, lines: "_Lines", step: int, values: Mapping[str, Any]) -> None:
        clean = {name: _number(value) for name, value in values.items()}
        lines.write({"step": step, **clean})
        known = {name: value for name, value in clean.items() if value is not None}
        self._tell(lambda tracker: tracker.numbers(step, known))

    def _tell(self, call: Callable[[Tracker], None]) -> None:
        for tracker in list(self._trackers):
            try:
                call(tracker)
            except Exception as error:  # of a network or a full disk: no reason to end a training
                self._trackers.remove(tracker)
                name = type(tracker).__name__
                tqdm.write(f"{name} follows no longer ({error}); metrics.jsonl goes on")


def _close_quietly(tracker: Tracker) -> None:
    with contextlib.suppress(Exception):  # metrics.jsonl has the numbers too
        tracker.close()


class _Lines:
    """A file of JSON lines that can be cut back to a step."""

    def __init__(self, path: AnyPath, start_step: int):
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


def _lines_until(path: AnyPath, step: int) -> str:
    if not path.exists():
        return ""
    lines = path.read_text().splitlines(keepends=True)
    # A killed run may leave half a line.
    return "".join(x for x in lines if x.endswith("\n") and json.loads(x)["step"] <= step)


def _drop_evaluations(folder: AnyPath, start_step: int) -> None:
    if not folder.exists():
        return
    for path in folder.iterdir():
        if path.stem.isdigit() and int(path.stem) > start_step:
            path.unlink()
