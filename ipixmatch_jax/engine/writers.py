"""Where numbers go: `metrics.jsonl` always, TensorBoard event files when tensorboardX is there."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np


class Writers:
    """The metric files of a run.

    A resumed run continues the file: lines after the restored step are dropped first, since the run
    takes these steps again.
    """

    def __init__(self, workdir: pathlib.Path, start_step: int):
        self._path = pathlib.Path(workdir) / "metrics.jsonl"
        _truncate(self._path, start_step)
        self._file = self._path.open("a", buffering=1)
        self._events = _event_writer(workdir, start_step)

    def __enter__(self) -> "Writers":
        return self

    def __exit__(self, *_) -> None:
        self._file.close()
        if self._events is not None:
            self._events.close()

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """One line of named numbers; NaN becomes null, as JSON has no word for it."""
        clean = {name: _number(value) for name, value in values.items()}
        self._file.write(json.dumps({"step": step, **clean}) + "\n")
        if self._events is not None:
            for name, value in clean.items():
                if value is not None:
                    self._events.add_scalar(name, value, step)


def _number(value: Any) -> float | int | None:
    value = value.item() if hasattr(value, "item") else value
    return value if value is not None and np.isfinite(value) else None


def _truncate(path: pathlib.Path, start_step: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines(keepends=True):
        # A killed run may leave half a line.
        if line.endswith("\n") and json.loads(line)["step"] <= start_step:
            kept.append(line)
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(kept))
    temporary.replace(path)


def _event_writer(workdir: pathlib.Path, start_step: int):
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    # purge_step hides the events that a killed run wrote after its last checkpoint.
    return SummaryWriter(str(workdir), purge_step=start_step + 1 if start_step else None)
