"""Labels chosen by `--mode next` against random ones, on real photographs.

    python -m bench.label_next --root photos/pets --set pets --labels 26 --seeds 0 1 2 \
        --workdir runs/bench-label-next --json bench/results/label-next-pets-26-cpu.json

For each seed, a trunk trains on the first labels. Both arms continue from a copy of it. In every
round an arm gets the masks of `--count` more images, those that `--mode next` ranks first or random
ones, and trains `--round-steps` more steps with them: masks are added to its folder, and
`total_steps` is raised, as a user would. The table has the mIoU after each round, and the paired
difference with Student's 95 % interval over seeds. The same command run again reads finished rounds
and resumes stopped ones.
"""

import argparse
import csv
import pathlib
import platform
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

from bench.common import difference_text, mean_text, write_record
from bench.forks import fork
from bench.photos_config import SETS
from bench.runs import check_alike, finished, train
from ipixmatch_jax.engine.state import NETWORKS

ARMS = ("random", "chosen")
BASE = "random"

# arm → round → seed → what `finished` returns, and the `labels` that were added
Results = dict[str, dict[int, dict[int, Any]]]


def main() -> None:
    options = _options()
    results: Results = {}
    # Rounds in the outer loop, so that an interrupted comparison has all seeds of the first rounds.
    for number in range(options.rounds + 1):
        for seed in options.seeds:
            if not number:
                _train_trunk(options, seed)
                continue
            for arm in ARMS:
                found = _round(options, seed, arm, number)
                if found is not None:
                    results.setdefault(arm, {}).setdefault(number, {})[seed] = found
    check_alike(
        {
            f"{arm}-round{number}-seed{seed}": found
            for arm, rounds in results.items()
            for number, seeds in rounds.items()
            for seed, found in seeds.items()
        }
    )
    print(f"\n{options.set}, {options.labels} labels and {options.count} more in every round:\n")
    print(table(results, int(options.labels), options.count, options.network))
    if options.json:
        names = ("set", "labels", "count", "steps", "round_steps", "rounds", "network")
        machine = f"{platform.system()} {platform.machine()}"
        setting = {name: getattr(options, name) for name in names}
        write_record(options.json, {**setting, "machine": machine, "results": results})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", required=True, type=pathlib.Path, help="folder of the data set")
    parser.add_argument("--set", choices=SETS, default="pets")
    parser.add_argument("--labels", default="26", help="first labels, a folder of splits/")
    parser.add_argument("--count", type=int, default=10, help="labels that a round adds")
    parser.add_argument("--rounds", type=int, default=2, help="0: only the trunks")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=150, help="steps of the trunk")
    parser.add_argument("--round-steps", type=int, default=100, help="steps of every round")
    parser.add_argument(
        "--network", choices=NETWORKS, default="teacher", help="network of the table"
    )
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="folder of all runs")
    parser.add_argument("--json", type=pathlib.Path, help="also write all numbers to this file")
    parser.add_argument("--table", action="store_true", help="only print finished rounds")
    return parser.parse_args()


def _workdir(options: argparse.Namespace, arm: str, seed: int) -> pathlib.Path:
    return options.workdir / f"{options.set}-{options.labels}-next-{arm}-seed{seed}"


def _first_labels(options: argparse.Namespace) -> list[str]:
    return (options.root / "splits" / options.labels / "labeled.txt").read_text().split()


def _train_trunk(options: argparse.Namespace, seed: int) -> None:
    trunk = _workdir(options, "trunk", seed)
    if not options.table and finished(trunk, options.steps) is None:
        train(_command(options, seed, "trunk", _first_labels(options)), trunk, options.steps)


def _round(options: argparse.Namespace, seed: int, arm: str, number: int) -> dict[str, Any] | None:
    """Trains a round of an arm if it is not finished; its result, None for an unfinished one."""
    workdir = _workdir(options, arm, seed)
    steps = options.steps + number * options.round_steps
    lists = [workdir.with_name(f"{workdir.name}-round{n}") for n in range(1, number + 1)]
    labels = _first_labels(options)
    for folder in lists[:-1]:
        if (folder / "labels.txt").exists():
            labels += (folder / "labels.txt").read_text().split()
    if not options.table and finished(workdir, steps) is None:
        if not workdir.exists():
            fork(_workdir(options, "trunk", seed), workdir, options.steps)
        listed = lists[-1] / "labels.txt"
        if not listed.exists():
            # A copy has no config before it trains: the first round ranks with the trunk.
            ranker = workdir if number > 1 else _workdir(options, "trunk", seed)
            added = _picked(options, seed, arm, number, labels, ranker, lists[-1])
            listed.write_text("\n".join(added) + "\n")
        labels += listed.read_text().split()
        command = _command(options, seed, arm, labels)
        train([*command, "--config.data.changed=accept"], workdir, steps)
    found = finished(workdir, steps)
    if found is None:
        return None
    return {**found, "labels": (lists[-1] / "labels.txt").read_text().split()}


def _picked(
    options: argparse.Namespace,
    seed: int,
    arm: str,
    number: int,
    labels: Iterable[str],
    ranker: pathlib.Path,
    output: pathlib.Path,
) -> list[str]:
    """The ids of the images whose masks a round adds; `ranker` is the workdir that ranks them."""
    output.mkdir(exist_ok=True)
    if arm == BASE:
        rest = sorted(set((options.root / "train.txt").read_text().split()) - set(labels))
        return random.Random(f"{seed}-{number}").sample(rest, options.count)
    arguments = ["--mode", "next", "--workdir", str(ranker), "--output", str(output)]
    subprocess.run(
        [sys.executable, "-m", "ipixmatch_jax.main", *arguments, "--count", str(options.count)],
        check=True,
    )
    with (output / "next.csv").open(newline="") as file:
        return [row["id"] for row in csv.DictReader(file)][: options.count]


def _command(options: argparse.Namespace, seed: int, arm: str, labels: Iterable[str]) -> list[str]:
    """Arguments of a training, on a folder in which only the images of `labels` have a mask."""
    root = _workdir(options, arm, seed).with_suffix(".data")
    link_folder(options.root, root, labels)
    return [
        "--config", f"bench/photos_config.py:{options.set}/{options.labels}",
        f"--config.data.root={root}", f"--config.seed={seed}",
        "--config.data.labeled=", "--config.data.unlabeled=",
        f"--config.method.ramp_start={2 * options.steps // 3}", "--config.method.ramp_steps=50",
        "--config.eval_every=50", "--config.checkpoint_every=50",
    ]  # fmt: skip


def link_folder(source: pathlib.Path, root: pathlib.Path, labels: Iterable[str]) -> None:
    """A data set with the images of another and the masks of some of them, by links."""
    source = source.resolve()
    masks = root / "train" / "masks"
    shutil.rmtree(masks, ignore_errors=True)
    masks.mkdir(parents=True)
    for name in ("train/images", "val", "val.txt"):
        if not (root / name).is_symlink():
            (root / name).symlink_to(source / name)
    for label in labels:
        (masks / f"{label}.png").symlink_to(source / "train" / "masks" / f"{label}.png")


def table(results: Results, labels: int, count: int, network: str) -> str:
    """A row for each round and arm: mean ± deviation over seeds, and difference from random."""
    rows = [
        f"| labels | arm | seeds | mIoU, {network} | minus {BASE}, 95 % interval |",
        "|---|---|---|---|---|",
    ]
    for number in sorted({number for rounds in results.values() for number in rounds}):
        values = {
            arm: {seed: found[network]["last"] for seed, found in results[arm][number].items()}
            for arm in ARMS
            if number in results.get(arm, {})
        }
        for arm, of_seed in values.items():
            mean = mean_text(of_seed.values())
            shown = difference_text(values.get(BASE, {}), of_seed) if arm != BASE else ""
            rows.append(
                f"| {labels + number * count} | {arm} | {len(of_seed)} | {mean} | {shown} |"
            )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
