"""Parts that several benchmarks share: random records, a clock, and JSON files of results."""

import json
import pathlib
import statistics
import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from ipixmatch_jax.report.intervals import paired_difference


def clock(platform: str) -> Callable[[], float]:
    """A clock in seconds: wall time, or on a CPU the processor time of this process on all cores.

    Other work on the machine disturbs processor time less than wall time.
    """
    return time.process_time if platform == "cpu" else time.perf_counter


def timed(take: Callable[[], object], steps: int, warmup: int = 2) -> dict[str, float]:
    """Median seconds of a step: wall time `step_s` and processor time `cpu_s` of this process."""
    clocks = {"step_s": time.perf_counter, "cpu_s": time.process_time}
    times: dict[str, list[float]] = {name: [] for name in clocks}
    for _ in range(warmup + steps):
        begin = {name: now() for name, now in clocks.items()}
        take()
        for name, now in clocks.items():
            times[name].append(now() - begin[name])
    return {name: statistics.median(found[warmup:]) for name, found in times.items()}


def random_batch(
    side: int, labeled: int, unlabeled: int, classes: int, seed: int = 0
) -> dict[str, dict[str, np.ndarray]]:
    """A batch of random images of side × side pixels; every class is equally frequent."""
    rng = np.random.default_rng(seed)

    def records(count: int) -> dict[str, np.ndarray]:
        return {
            "image": rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8),
            "valid": np.ones((count, side, side), bool),
            "key": rng.integers(0, 2**32, (count, 2), dtype=np.uint32),
        }

    batch = {"labeled": records(labeled), "unlabeled": records(unlabeled)}
    batch["mix"] = records(unlabeled)
    batch["labeled"]["mask"] = rng.integers(0, classes, (labeled, side, side), dtype=np.uint8)
    return batch


def write_record(path: pathlib.Path, record: Mapping) -> None:
    """Writes the results of a benchmark as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")


def mean_text(numbers: Iterable[float], digits: int = 2) -> str:
    """Mean ± standard deviation of numbers; of a single one, the number."""
    values = list(numbers)
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def difference_text(base: Mapping[int, float], other: Mapping[int, float]) -> str:
    """What another arm has more than the base, seed by seed, with a 95 % interval over seeds."""
    difference = paired_difference(base, other)
    if difference:
        return "{mean:+.2f} [{low:+.2f}, {high:+.2f}]".format(**difference)
    common = sorted(base.keys() & other.keys())
    return f"{other[common[0]] - base[common[0]]:+.2f} (one seed)" if common else ""
