"""Steps with a non-finite loss or gradient, and the records of their batches."""

from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from ipixmatch_jax.devices.processes import gather
from ipixmatch_jax.errors import UserError

_SHOWN = 8


class BadSteps:
    """Collects all steps until the next report; nothing is read from a device before that.

    Args:
        limit: number of bad steps in a row that ends the run.
        names: stream → function from the position of a record to its name.
    """

    def __init__(self, limit: int, names: Mapping[str, Callable[[int], str]]):
        self._limit = limit
        self._names = names
        self._most = 0
        self._steps: list[tuple[int, jax.Array, dict[str, np.ndarray]]] = []

    def note(self, step: int, in_a_row: jax.Array, records: dict[str, np.ndarray]) -> None:
        """Adds a step.

        Args:
            step: number of the step.
            in_a_row: metric `bad_steps` of the step.
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
        """Ends the run after too many bad steps in a row.

        Raises:
            UserError: the last report held at least `limit` bad steps in a row.
        """
        if self._most >= self._limit:
            raise UserError(
                f"the loss or its gradient was not finite in {self._most} steps in a row before "
                f"step {step}; these steps were skipped, and the last checkpoint is kept. Lower "
                "optimizer.learning_rate, or check the records listed in bad_steps.jsonl with "
                "--mode inspect"
            )

    def _named(self, records: dict[str, np.ndarray]) -> dict[str, list[str]]:
        return {
            stream: [self._names[stream](int(index)) for index in gather(indices)]
            for stream, indices in sorted(records.items())
        }


def describe(step: int, records: Mapping[str, Sequence[str]]) -> str:
    """One line about a bad step."""
    parts = []
    for stream, names in records.items():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        parts.append(f"{stream} {', '.join(names[:_SHOWN])}{more}")
    return f"step {step} was not finite and was skipped: {'; '.join(parts)}"
