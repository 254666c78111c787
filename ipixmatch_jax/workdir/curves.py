"""Reads the curves that a run has logged, `metrics.jsonl` and `throughput.jsonl`."""

import json
from typing import Any

from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import AnyPath

Curves = dict[str, tuple[list[int], list[float]]]


def parsed_line(line: str) -> dict[str, Any] | None:
    """A line of a metrics file as a JSON object with a step; None if it is damaged."""
    try:
        found = json.loads(line)
        return found if isinstance(found["step"], int) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def read_curves(path: AnyPath) -> Curves:
    """Metric → (steps, values), from a file of JSON lines. Empty if it does not exist.

    Raises:
        DataError: not a file, or a line that is not a JSON object with a step.
    """
    curves: Curves = {}
    if path.is_dir():
        raise DataError(f"{path} is a folder; expected a file of JSON lines; rename the folder")
    text = path.read_bytes().decode(errors="replace") if path.exists() else ""
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            break  # a running or killed run may leave half a line
        try:
            values = json.loads(line)
            step = int(values.pop("step"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}, line {number}: {error}; expected a JSON object with a step; remove "
                "the line"
            ) from None
        for name, value in values.items():
            if isinstance(value, int | float):
                steps, found = curves.setdefault(name, ([], []))
                steps.append(step)
                found.append(value)
    return curves
