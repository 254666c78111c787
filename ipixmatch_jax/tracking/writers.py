"""Metric files of a run (`metrics.jsonl` and others) and the services of `config.tracking`."""

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from ipixmatch_jax.devices.processes import is_first
from ipixmatch_jax.engine.metrics import MIOU
from ipixmatch_jax.errors import UserError
from ipixmatch_jax.paths import AnyPath, is_remote
from ipixmatch_jax.screen import warn
from ipixmatch_jax.tracking.histograms import Histogram
from ipixmatch_jax.tracking.services import Service, TrackedRun, open_services, tracking_defaults
from ipixmatch_jax.workdir.curves import parsed_line
from ipixmatch_jax.workdir.evaluations import set_damaged_aside
from ipixmatch_jax.workdir.folder import (
    BAD_STEPS,
    THROUGHPUT,
    damaged_path,
    evaluations_folder,
    metrics_path,
    write_whole,
    writing,
)


class Writers:
    """Writes the metrics of a run to its files and services; only the first process writes.

    A resumed run continues the files: lines and evaluations after the restored step are removed
    first, since the run takes these steps again. Speeds, which differ between any two runs, have a
    file of their own.

    Args:
        workdir: folder of the run.
        start_step: step from which the run starts.
        config: the whole config; its `tracking` names the services. None: defaults.
        evaluates_again: the evaluation of the start step comes again; its lines are removed.

    Raises:
        ConfigError: a service cannot be opened.
    """

    def __init__(
        self,
        workdir: AnyPath,
        start_step: int,
        config: ConfigDict | None = None,
        *,
        evaluates_again: bool = False,
    ):
        self._active = is_first()
        self._metrics = self._bad = self._speed = None
        self._services: list[Service] = []
        self._waiting: dict[str, Any] = {}
        self._problem = ""
        self._stack = contextlib.ExitStack()
        if not self._active:
            return
        again = start_step if evaluates_again else None
        self._metrics = _Lines(metrics_path(workdir), start_step, evaluated_again=again)
        self._bad = _Lines(workdir / BAD_STEPS, start_step)
        self._speed = _Lines(workdir / THROUGHPUT, start_step)
        for lines in (self._speed, self._bad, self._metrics):
            self._stack.callback(lines.close)
        _drop_evaluations(evaluations_folder(workdir), start_step)
        for message in set_damaged_aside(workdir):
            warn(message)
        tracking = config.tracking if config else tracking_defaults()
        told = flatten_dict(config.to_dict(), sep=".") if config else {}
        run = TrackedRun(workdir, start_step, tracking["project"], told)
        self._services = open_services(tracking["writers"], run)
        for service in self._services:
            self._stack.callback(_close_quietly, service)

    def __enter__(self) -> "Writers":
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()

    @property
    def shows(self) -> bool:
        """Whether a service shows images and histograms."""
        return bool(self._services)

    def write(
        self, step: int, values: Mapping[str, Any], speed: Mapping[str, float] | None = None
    ) -> None:
        """Writes a line of named numbers; NaN becomes null, because JSON has no NaN.

        Args:
            step: step of the numbers.
            values: for `metrics.jsonl`; no line if empty.
            speed: for `throughput.jsonl`; no line if empty.
        """
        if values:
            values, self._waiting = {**values, **self._waiting}, {}
        for lines, numbers in ((self._metrics, values), (self._speed, speed)):
            if self._active and numbers:
                self._write(lines, step, numbers)

    def add_to_next_line(self, values: Mapping[str, Any]) -> None:
        """Adds named numbers to the next line of `metrics.jsonl`."""
        self._waiting |= values

    def write_bad_step(self, step: int, records: Mapping[str, Sequence[str]]) -> None:
        """Writes the records of a non-finite step, by stream, to `bad_steps.jsonl`."""
        if self._active:
            self._append(self._bad, {"step": step, **records})

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Sends named images, uint8 [H, W, 3], to the services."""
        self._send(lambda service: service.images(step, images))

    def write_histograms(self, step: int, histograms: Mapping[str, Histogram]) -> None:
        """Sends named histograms to the services."""
        self._send(lambda service: service.histograms(step, histograms))

    def sync(self) -> None:
        """Flushes the files to the disk, before a checkpoint of the same step is saved."""
        if self._active:
            for lines in (self._metrics, self._bad, self._speed):
                lines.sync()

    def _write(self, lines: "_Lines", step: int, values: Mapping[str, Any]) -> None:
        clean = {name: _number(value) for name, value in values.items()}
        self._append(lines, {"step": step, **clean})
        known = {name: value for name, value in clean.items() if value is not None}
        self._send(lambda service: service.numbers(step, known))

    def _append(self, lines: "_Lines", line: Mapping[str, Any]) -> None:
        problem = lines.write(line)
        if problem and not self._problem:
            warn(f"{problem}; its lines wait in memory until the next save, which needs room")
        self._problem = problem

    def _send(self, call: Callable[[Service], None]) -> None:
        for service in list(self._services):
            try:
                call(service)
            except Exception as error:  # a network or a full disk must not end training
                self._services.remove(service)
                name = type(service).__name__
                warn(f"{name} logging stopped: {error}; metrics.jsonl is still written")


def _close_quietly(service: Service) -> None:
    with contextlib.suppress(Exception):  # metrics.jsonl has the numbers
        service.close()


class _Lines:
    """A file of JSON lines; lines after the start step are removed when it is opened.

    Lines that cannot be read are moved to another file.
    """

    def __init__(self, path: AnyPath, start_step: int, evaluated_again: int | None = None):
        self._path = path
        text = _lines_until(path, start_step, evaluated_again)
        self._waiting = b""
        self._file: IO[bytes] | None = None
        self._synced = True
        if is_remote(path):
            self._waiting = text.encode()  # objects cannot be appended to: sync writes the whole
        elif text or path.exists():
            write_whole(path, text)

    def write(self, line: Mapping[str, Any]) -> str:
        """Adds a line; returns the problem, or "". A line that cannot be written now waits."""
        self._waiting += (json.dumps(line) + "\n").encode()
        self._synced = False
        if is_remote(self._path):
            return ""
        try:
            self._put()
        except OSError as error:
            return f"{self._path} cannot be written ({error.strerror})"
        return ""

    def sync(self) -> None:
        """Waits until all lines are on the disk.

        Raises:
            UserError: some cannot be written.
        """
        if self._synced:
            return
        with writing(self._path):
            if is_remote(self._path):
                self._path.write_text(self._waiting.decode())
            else:
                self._put()
                os.fsync(self._file.fileno())
        self._synced = True

    def close(self) -> None:
        # Lines that still wait are of steps after the last save, which are taken again.
        with contextlib.suppress(OSError, UserError):
            self.sync()
        if self._file is not None:
            self._file.close()

    def _put(self) -> None:
        # Opened for the first line: most runs have no bad step. Unbuffered: what a full disk did
        # not take is known, and is written later.
        self._file = self._file or self._path.open("ab", buffering=0)
        while self._waiting:
            self._waiting = self._waiting[self._file.write(self._waiting) :]


def _number(value: Any) -> float | int | None:
    value = value.item() if hasattr(value, "item") else value
    return value if value is not None and np.isfinite(value) else None


def _lines_until(path: AnyPath, step: int, evaluated_again: int | None) -> str:
    if not path.exists():
        return ""
    kept, damaged = [], []
    with writing(path):
        lines = path.read_bytes().decode(errors="replace").split("\n")
    for line in lines[:-1]:  # a killed run may leave half a line
        found = parsed_line(line)
        if found is None:
            damaged.append(f"{line}\n")
        elif found["step"] <= step and not _comes_again(found, evaluated_again):
            kept.append(f"{line}\n")
    if damaged:
        aside = damaged_path(path)
        write_whole(aside, (aside.read_text() if aside.exists() else "") + "".join(damaged))
        warn(f"{path}: {len(damaged)} damaged lines are moved to {aside}; the run goes on")
    return "".join(kept)


def _comes_again(line: Mapping[str, Any], evaluated_again: int | None) -> bool:
    return line["step"] == evaluated_again and any(name.startswith(MIOU) for name in line)


def _drop_evaluations(folder: AnyPath, start_step: int) -> None:
    if not folder.exists():
        return
    for path in folder.iterdir():
        if path.stem.isdigit() and int(path.stem) > start_step:
            path.unlink()
