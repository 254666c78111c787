"""Trains a list of runs, each in its own workdir, and prints a table of their mIoU.

A run that is finished is read, one that was stopped is resumed, so that the same command goes on
where it was interrupted. `bench/demo.py` and `bench/camvid.py` say what the runs are.
"""

import argparse
import pathlib
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from bench.common import write_record
from ipixmatch_jax.data import comparable
from ipixmatch_jax.engine.state import NETWORKS
from ipixmatch_jax.workdir.evaluations import (
    check_measured_alike,
    measured_otherwise,
    read_evaluations,
)
from ipixmatch_jax.workdir.folder import evaluation_path


def parser(description: str, methods: Sequence[str], *, steps: int, seeds: Sequence[int]):
    """The options that every comparison has."""
    options = argparse.ArgumentParser(description=description.split("\n")[0])
    options.add_argument("--methods", nargs="+", choices=methods, default=list(methods))
    options.add_argument("--seeds", nargs="+", type=int, default=list(seeds))
    options.add_argument("--steps", type=int, default=steps)
    options.add_argument("--workdir", type=pathlib.Path, required=True)
    options.add_argument("--json", type=pathlib.Path, help="write the table to this file too")
    options.add_argument("--table", action="store_true", help="print finished runs, train nothing")
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
        sys.exit(f"{workdir} was stopped; the same command goes on from here")


def compare(
    commands: Mapping[str, Sequence[str]], options: argparse.Namespace, title: str
) -> dict[str, list]:
    """Trains every method with every seed and prints last and best mIoU, mean and spread.

    Args:
        commands: method → arguments of `python -m ipixmatch_jax.main`, without workdir and seed.
        options: of `parser`.
        title: what the table says it shows.
    """
    results: dict[str, list] = {}
    # Seeds outside, so that an interrupted comparison has all methods of the first seeds.
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
    """A table: a row a method; mean ± standard deviation over the seeds of each number."""
    lines = [
        "| method | seeds | student, last | student, best | teacher, last | teacher, best |",
        "|---|---|---|---|---|---|",
    ]
    for method, runs in results.items():
        cells = []
        for network in NETWORKS:
            for which in ("last", "best"):
                values = [run[network][which] for run in runs]
                spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
                cells.append(f"{statistics.mean(values):.1f}{spread}")
        seeds = ", ".join(str(run["seed"]) for run in runs)
        lines.append(f"| {method} | {seeds} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
