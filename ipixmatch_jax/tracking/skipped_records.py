"""Number of skipped records, counted over all starts of a run."""

import numpy as np

from ipixmatch_jax.devices.processes import gather
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.workdir.curves import parsed_line
from ipixmatch_jax.workdir.folder import metrics_path


class SkippedRecords:
    """The metric `skipped`, logged if `data.on_error` is 'skip'.

    A resumed run continues from the last count in `metrics.jsonl`. On several processes all of them
    call a method after the same step, and the count is their sum.

    Args:
        workdir: folder of the run; its `metrics.jsonl` ends at the step from which it resumes.
        on_error: `config.data.on_error`.
    """

    def __init__(self, workdir: AnyPath, on_error: str):
        self._counts = on_error == "skip"
        self._before = self._reported = _last(metrics_path(workdir)) if self._counts else 0

    def numbers(self, since_start: int) -> dict[str, int]:
        """`skipped`; {} if `on_error` is not 'skip'.

        Args:
            since_start: number of records that this process skipped since it started.
        """
        if not self._counts:
            return {}
        self._reported = self._before + int(gather(np.array([since_start])).sum())
        return {"skipped": self._reported}

    def unreported(self, since_start: int) -> dict[str, int]:
        """`numbers` if the count has changed, otherwise {}; for a checkpoint between two logs."""
        before = self._reported
        found = self.numbers(since_start)
        return found if self._reported != before else {}


def _last(path: AnyPath) -> int:
    if not path.exists():
        return 0
    lines = path.read_text().splitlines()
    found = [parsed_line(line) or {} for line in lines if '"skipped"' in line]
    return max((line.get("skipped", 0) for line in found), default=0)
