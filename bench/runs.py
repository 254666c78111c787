"""Trains a list of runs, each in its own workdir, and prints a table of their mIoU.

Finished runs are read and stopped runs are resumed, so that the same command continues an
interrupted comparison. `bench/demo.py`, `bench/camvid.py` and `bench/methods.py` define the runs.
"""

import argparse
import pathlib
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from bench.common import mean_text, write_record
from ipixmatch_jax.data import comparable
from ipixmatch_jax.engine.state import NETWORKS
from ipixmatch_jax.workdir.evaluations import (
    check_measured_alike,
    measured_otherwise,
    read_evaluations,
)
from ipixmatch_jax.workdir.folder import evaluation_path


def parser(description: str, methods: Sequence[str], *, steps: int, seeds: Sequence[int]):
    """A parser with the options of every comparison."""
    options = argparse.ArgumentParser(description=description.split("\n")[0])
    options.add_argument("--methods", nargs="+", choices=methods, default=list(methods))
    options.add_argument("--seeds", nargs="+", type=int, default=list(seeds))
    options.add_argument("--steps", type=int, default=steps, help="steps of every run")
    options.add_argument("--workdir", type=pathlib.Path, required=True, help="folder of all runs")
    options.add_argument("--json", type=pathlib.Path, help="also write the table to this file")
    options.add_argument("--table", action="store_true", help="only print finished runs")
    return options


def finished(workdir: pathlib.Path, steps: int) -> dict[str, Any] | None:
    """Last and best mIoU of both networks, in percent, the protocol, and what was evaluated how.

    Best is over the evaluations that measured the same as the last. None while unfinished.
    """
    if not evaluation_path(workdir, steps).exists():
        return None
    evaluations = read_evaluations(workdir)
    last = next(one for one in evaluations if one["step"] == steps)
    evaluations = [one for one in evaluations if not measured_otherwise(last, one)]
    curve = {e["step"]: {n: 100 * e[n]["miou"] for n in NETWORKS} for e in evaluations}
    of_network = {
        network: {"last": curve[steps][network], "best": max(v[network] for v in curve.values())}
        for network in NETWORKS
    }
    facts = {name: last[name] for name in ("split", "eval", "data") if name in last}
    if "data" in facts:  # without places of this machine
        facts["data"] = {k: v for k, v in facts["data"].items() if k != "root"}
    return {**of_network, "protocol": last.get("protocol", ""), "measured": facts}


def check_alike(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks that runs may stand in one table: protocol, images, and way of evaluation.

    Args:
        found: name of the run → what `finished` returned.

    Raises:
        DataError: they differ; names the runs and what differs.
    """
    comparable(run["protocol"] for run in found.values())
    unknown = check_measured_alike({name: run["measured"] for name, run in found.items()})
    if unknown:
        print(f"not known whether of the same images (older runs): {', '.join(unknown)}")


def train(command: Sequence[str], workdir: pathlib.Path, steps: int) -> None:
    """Runs `ipixmatch_jax.main` until the workdir holds the evaluation of the last step."""
    print(f"── {workdir.name}", flush=True)
    arguments = [*command, f"--config.total_steps={steps}", "--workdir", str(workdir)]
    done = subprocess.run([sys.executable, "-m", "ipixmatch_jax.main", *arguments])
    if done.returncode or finished(workdir, steps) is None:
        sys.exit(f"{workdir} was stopped; the same command resumes it")


def compare(
    commands: Mapping[str, Sequence[str]], options: argparse.Namespace, title: str
) -> dict[str, list]:
    """Trains every method with every seed; prints mean and deviation of last and best mIoU.

    Args:
        commands: method → arguments of `python -m ipixmatch_jax.main`, without workdir and seed.
        options: parsed arguments of `parser`.
        title: title of the table.
    """
    results: dict[str, list] = {}
    # Seeds in the outer loop, so that an interrupted comparison has all methods of some seeds.
    for seed in options.seeds:
        for method in options.methods:
            workdir = options.workdir / f"{method}-{options.steps}-seed{seed}"
            if not options.table and finished(workdir, options.steps) is None:
                train([*commands[method], f"--config.seed={seed}"], workdir, options.steps)
            result = finished(workdir, options.steps)
            if result is not None:
                results.setdefault(method, []).append({"seed": seed, **result})
    check_alike({f"{m}-seed{run['seed']}": run for m, runs in results.items() for run in runs})
    print(f"\n{title}, {options.steps} steps; validation mIoU in percent\n")
    print(markdown(results))
    if options.json:
        record = {
            "title": title,
            "steps": options.steps,
            "machine": f"{platform.system()} {platform.machine()}",
            "results": results,
        }
        write_record(options.json, record)
    return results


def markdown(results: Mapping[str, list]) -> str:
    """A table with one row per method: mean ± standard deviation over seeds."""
    lines = [
        "| method | seeds | student, last | student, best | teacher, last | teacher, best |",
        "|---|---|---|---|---|---|",
    ]
    for method, runs in results.items():
        cells = []
        for network in NETWORKS:
            for which in ("last", "best"):
                values = [run[network][which] for run in runs]
                cells.append(mean_text(values, 1))
        seeds = ", ".join(str(run["seed"]) for run in runs)
        lines.append(f"| {method} | {seeds} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
