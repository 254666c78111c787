"""Time and memory of the train step as its work grows: size, classes, labeled, unlabeled images.

    taskset -c 0 python -m bench.growth --json bench/results/growth-cpu.json

FixMatch with `class_map/kl` and the demo's U-Net; every row differs from the first in one number,
and is measured in a process of its own. Time is the median processor time of a step on a CPU and
wall time elsewhere; memory is what the compiled program reports for temporaries. `exponent` is p in
time ~ work^p from the row before, where work is the factor by which that number grew, squared for
the side. Below 1, a fixed part of the step is shared; above 1, something grows faster than its
work.
"""

import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jax

from bench.common import random_batch, timed, write_record
from bench.train_step import step_of
from ipixmatch_jax.devices.cpu_allocator import keep_freed_memory
from ipixmatch_jax.engine.state import DATA_AXIS
from ipixmatch_jax.engine.weighted_relation import WeightedRelation
from ipixmatch_jax.models import create_model

BASE = {"side": 64, "classes": 21, "labeled": 8, "unlabeled": 8}
GROWTH = {
    "side": (32, 64, 128, 256),
    "classes": (2, 21, 150),
    "labeled": (2, 8, 16),
    "unlabeled": (2, 8, 16),
}


def rows() -> Iterator[tuple[str, dict[str, int]]]:
    """What grows, and all numbers of the row."""
    for name, values in GROWTH.items():
        for value in values:
            yield name, {**BASE, name: value}


def measure(sizes: dict[str, int], steps: int) -> dict[str, Any]:
    keep_freed_memory()
    side, classes = sizes["side"], sizes["classes"]
    model = create_model("unet", num_classes=classes, width=16, stem_stride=2, axis_name=DATA_AXIS)
    relations = (WeightedRelation("class_map", "kl", weight=0.05),)
    batch = random_batch(side, sizes["labeled"], sizes["unlabeled"], classes)
    lower, take_with = step_of(model, "fixmatch", relations, batch)
    compiled = lower().compile()
    name = "cpu_s" if jax.default_backend() == "cpu" else "step_s"
    memory = compiled.memory_analysis().temp_size_in_bytes
    seconds = timed(take_with(compiled), steps)[name]
    return {"seconds": seconds, "bytes": memory, "jax": jax.__version__}


def exponent(name: str, before: dict[str, Any], after: dict[str, Any]) -> float:
    """p of time ~ work^p between two rows."""
    work = (after[name] / before[name]) ** (2 if name == "side" else 1)
    return math.log(after["seconds"] / before["seconds"]) / math.log(work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=7, help="measured steps of each row")
    parser.add_argument("--json", type=pathlib.Path, help="also write the numbers to this file")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(measure(json.loads(options.row), options.steps)))
        return
    found: list[dict[str, Any]] = []
    print("| grows | to | seconds per step | exponent | temporaries, MB |\n|---|---|---|---|---|")
    for name, sizes in rows():
        command = [sys.executable, "-m", "bench.growth", "--row", json.dumps(sizes)]
        command += ["--steps", str(options.steps)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        row = {"grows": name, **sizes, **json.loads(done.stdout.splitlines()[-1])}
        before = found[-1] if found and found[-1]["grows"] == name else None
        row["exponent"] = exponent(name, before, row) if before else None
        found.append(row)
        shown = f"{row['exponent']:.2f}" if before else ""
        cells = [name, sizes[name], f"{row['seconds']:.3f}", shown, f"{row['bytes'] / 1e6:.0f}"]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)
        if options.json:
            machine = {"device": jax.devices()[0].device_kind}
            machine["cores"] = len(os.sched_getaffinity(0))
            write_record(options.json, {**machine, "base": BASE, "rows": found})


if __name__ == "__main__":
    main()
