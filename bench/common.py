"""What several benchmarks need: random records, and a clock."""

import time
from collections.abc import Callable

import numpy as np


def clock(platform: str) -> Callable[[], float]:
    """Seconds of a device; on a CPU those that this process worked on all cores.

    A busy neighbour lengthens them less than the time that goes by.
    """
    return time.process_time if platform == "cpu" else time.perf_counter


def random_batch(
    side: int, labeled: int, unlabeled: int, classes: int, seed: int = 0
) -> dict[str, dict[str, np.ndarray]]:
    """A batch of so many images of side × side pixels, every class equally often."""
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
