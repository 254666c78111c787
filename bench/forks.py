"""Runs that continue from copies of one run, and what they differ by.

Random differences of early steps are larger than what a loss changes later. Runs that fork from one
state share them, so that fewer seeds resolve a difference.
"""

import argparse
import math
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scipy import stats

from bench.common import difference_text
from bench.runs import check_alike, finished
from ipixmatch_jax.engine.state import NETWORKS
from ipixmatch_jax.workdir.folder import checkpoints_folder, config_path

# Arm → seed → what was found of its run.
Results = dict[str, dict[int, dict[str, Any]]]


def add_options(
    parser: argparse.ArgumentParser,
    arms: Sequence[str],
    *,
    shown: Sequence[str],
    seeds: Sequence[int],
    steps: int,
    fork_at: int | None = None,
    base: str = "fixmatch",
) -> None:
    """Adds the options of every comparison of arms; `shown` are trained unless others are named.

    Without `fork_at`, arms do not fork, and there is no option for it.
    """
    words = {"choices": arms, "metavar": "ARM"}
    named = f"arms to train: {', '.join(arms)}"
    parser.add_argument("--arms", nargs="+", default=list(shown), help=named, **words)
    parser.add_argument("--base", default=base, help="arm to compare with", **words)
    parser.add_argument(
        "--network", choices=NETWORKS, default="teacher", help="network of the differences"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=list(seeds))
    parser.add_argument("--steps", type=int, default=steps, help="steps of every arm")
    if fork_at is not None:
        parser.add_argument("--fork", type=int, default=fork_at, help="step at which arms fork")
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="folder of all runs")
    parser.add_argument("--json", type=pathlib.Path, help="also write all numbers to this file")
    parser.add_argument("--table", action="store_true", help="only print finished runs")


def results_of(
    options: argparse.Namespace,
    workdir: Callable[[str, int], pathlib.Path],
    run: Callable[[str, int, pathlib.Path], None],
    look: Callable[[pathlib.Path], dict[str, Any] | None],
) -> Results:
    """Trains what is not finished, and looks at all runs.

    Args:
        options: parsed options of `add_options`.
        workdir: arm, seed → folder of the run.
        run: trains an arm with a seed in a folder.
        look: folder → what is found of a finished run, with the keys of `finished`; else None.

    Raises:
        DataError: the runs were not measured alike.
    """
    results: Results = {}
    # Seeds in the outer loop, so that an interrupted comparison has all arms of the first seeds.
    for seed in options.seeds:
        for arm in options.arms:
            folder = workdir(arm, seed)
            if not options.table and finished(folder, options.steps) is None:
                run(arm, seed, folder)
            if (found := look(folder)) is not None:
                results.setdefault(arm, {})[seed] = found
    check_alike(
        {f"{arm}-seed{s}": found for arm, runs in results.items() for s, found in runs.items()}
    )
    return results


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
