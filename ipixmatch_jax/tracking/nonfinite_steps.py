"""Steps that were not finite: which, and what was in their batches."""

from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from ipixmatch_jax.devices.processes import gather
from ipixmatch_jax.errors import UserError

_SHOWN = 8


class BadSteps:
    """Remembers every step until the next report; nothing is read from a device before that.

    Args:
        limit: so many bad steps in a row end the run.
        names: stream → function from the positions of records to what a person calls them.
    """

    def __init__(self, limit: int, names: Mapping[str, Callable[[int], str]]):
        self._limit = limit
        self._names = names
        self._most = 0
        self._steps: list[tuple[int, jax.Array, dict[str, np.ndarray]]] = []

    def note(self, step: int, in_a_row: jax.Array, records: dict[str, np.ndarray]) -> None:
        """A step that was taken.

        Args:
            in_a_row: its metric `bad_steps`.
            records: stream → positions of this process's records, int [b].
        """
        self._steps.append((step, in_a_row, records))

    def report(self) -> list[tuple[int, dict[str, list[str]]]]:
        """Bad steps since the last report, each with the names of the records of all processes.

        All processes call it after the same step.
        """
        taken, self._steps = self._steps, []
        counts = jax.device_get([in_a_row for _, in_a_row, _ in taken])
        bad = [(step, records) for (step, _, records), n in zip(taken, counts, strict=True) if n]
        self._most = max(map(int, counts), default=0)
        return [(step, self._named(records)) for step, records in bad]

    def check(self, step: int) -> None:
        """UserError where the last report held too many in a row."""
        if self._most >= self._limit:
            raise UserError(
                f"the loss or its gradient was not finite in {self._most} steps in a row before "
                f"step {step}; they changed nothing, and the last checkpoint is kept. Lower "
                "optimizer.learning_rate, or look at the records of bad_steps.jsonl with --mode "
                "inspect"
            )

    def _named(self, records: dict[str, np.ndarray]) -> dict[str, list[str]]:
        return {
            stream: [self._names[stream](int(index)) for index in gather(indices)]
            for stream, indices in sorted(records.items())
        }


def describe(step: int, records: Mapping[str, Sequence[str]]) -> str:
    """One bad step as a line."""
    parts = []
    for stream, names in records.items():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        parts.append(f"{stream} {', '.join(names[:_SHOWN])}{more}")
    return f"step {step} was not finite and changed nothing: {'; '.join(parts)}"
