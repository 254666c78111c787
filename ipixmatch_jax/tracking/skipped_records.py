"""How many records had to be skipped, counted over all starts of a run."""

import json

import numpy as np

from ipixmatch_jax.devices.processes import gather
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.workdir.folder import metrics_path


class Skips:
    """The number `skipped` of `metrics.jsonl`, where `data.on_error` is 'skip'.

    A resumed run goes on from the last one that its file holds. On several processes all of them
    call a method after the same step, and the number is that of all.

    Args:
        workdir: of the run, its `metrics.jsonl` cut back to the step from which it resumes.
        on_error: `config.data.on_error`.
    """

    def __init__(self, workdir: AnyPath, on_error: str):
        self._counts = on_error == "skip"
        self._before = self._told = _last(metrics_path(workdir)) if self._counts else 0

    def numbers(self, since_start: int) -> dict[str, int]:
        """`skipped`; {} where nothing is skipped.

        Args:
            since_start: how many this process skipped since this start.
        """
        if not self._counts:
            return {}
        self._told = self._before + int(gather(np.array([since_start])).sum())
        return {"skipped": self._told}

    def untold(self, since_start: int) -> dict[str, int]:
        """As `numbers`, but {} where it is the same as before: for a checkpoint between logs."""
        before = self._told
        found = self.numbers(since_start)
        return found if self._told != before else {}


def _last(path: AnyPath) -> int:
    if not path.exists():
        return 0
    lines = (json.loads(x) for x in path.read_text().splitlines() if '"skipped"' in x)
    return max((line["skipped"] for line in lines), default=0)
