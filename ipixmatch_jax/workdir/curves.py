"""Reads the curves that a run has logged, `metrics.jsonl` and `throughput.jsonl`."""

import json

from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import AnyPath

Curves = dict[str, tuple[list[int], list[float]]]


def read_curves(path: AnyPath) -> Curves:
    """Metric → (steps, values), from a file of JSON lines. Empty if it does not exist.

    Raises:
        DataError: a line is not a JSON object with a step.
    """
    curves: Curves = {}
    text = path.read_text(errors="replace") if path.exists() else ""
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
