"""Runs that continue from copies of one run, and what they differ by.

Random differences of early steps are larger than what a loss changes later. Runs that fork from one
state share them, so that fewer seeds resolve a difference.
"""

import math
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from scipy import stats

from bench.common import difference_text
from ipixmatch_jax.workdir.folder import checkpoints_folder, config_path


def grow(trunk: pathlib.Path, arguments: Sequence[str], steps: int, fork_at: int) -> None:
    """Trains until the checkpoint of the fork is complete, with the schedule of all steps."""
    saved = checkpoints_folder(trunk) / str(fork_at)
    if saved.exists():
        return
    run = subprocess.Popen(
        [sys.executable, "-m", "ipixmatch_jax.main", *arguments, "--workdir", str(trunk),
         f"--config.total_steps={steps}"]
    )  # fmt: skip
    while not saved.exists() and run.poll() is None:
        time.sleep(1)
    if run.poll() is None:
        run.send_signal(signal.SIGTERM)  # saves once more and exits
    if run.wait() or not saved.exists():
        sys.exit(f"{trunk} was stopped; the same command resumes it")


def fork(trunk: pathlib.Path, workdir: pathlib.Path, fork_at: int) -> None:
    """Copies a run as it was at a step; the arm writes its own config when it starts."""
    fresh = workdir.with_name(workdir.name + ".copying")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(trunk, fresh)
    for folder in checkpoints_folder(fresh).iterdir():
        if folder.name != str(fork_at):
            shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
    config_path(fresh).unlink()
    os.replace(fresh, workdir)


def difference_cells(arm: str, base: str, values: Mapping[str, Mapping[int, float]]) -> str:
    """Two cells of a table: the paired difference from the base, and seeds for 1 point.

    Args:
        arm, base: names in `values`.
        values: arm → seed → value.
    """
    if arm == base:
        return " | "
    one, other = values.get(base, {}), values[arm]
    needed = seeds_for(1.0, one, other) if len(one.keys() & other.keys()) > 1 else ""
    return f"{difference_text(one, other)} | {needed}"


def seeds_for(effect: float, one: Mapping[int, float], other: Mapping[int, float]) -> int:
    """The smallest number of seeds whose 95 % interval extends less than an effect to each side."""
    common = sorted(one.keys() & other.keys())
    sd = statistics.stdev(other[seed] - one[seed] for seed in common)
    seeds = 2
    while stats.t.ppf(0.975, seeds - 1) * sd / math.sqrt(seeds) > effect:
        seeds += 1
    return seeds
