"""Variants (arms) of FixMatch on real photographs, all starting from one pretrained state.

    python -m bench.photos --root photos/pets --set pets --labels 26 --seeds 0 1 \
        --workdir runs/bench-photos --json bench/results/photos-pets-26-cpu.json

For each seed, a trunk trains only on labeled images, with FixMatch's unlabeled weight at 0, until
step `--fork`. Every arm continues from a copy of that state, so that random differences of early
steps are the same for all arms; those with two networks have a trunk with two. The same command run
again reads finished runs and resumes stopped ones.

Nothing is chosen on the images that are reported: a quarter of the unlabeled images is a test split
that no run trains on. The table has each arm's mIoU on both splits after the last step, the paired
difference from the base arm on the test split with Student's 95 % interval over seeds, and the
number of seeds that would show an effect of 1 point. The line below it names the arm that the
validation images choose.
"""

import argparse
import pathlib
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from bench.common import mean_text, write_record
from bench.forks import add_options, difference_cells, fork, grow, results_of
from bench.photos_config import SETS
from bench.runs import finished, train
from ipixmatch_jax.engine.state import NETWORKS
from ipixmatch_jax.workdir.evaluations import read_later_evaluations

_VALID = "--config.relation.region=valid"
ARMS: dict[str, list[str]] = {
    "supervised": ["--config.method.unlabeled_weight=0"],
    "supervised-rare": [
        "--config.method.unlabeled_weight=0", "--config.supervised.weighting=inverse_frequency",
    ],
    "fixmatch": [],
    "fixmatch-c0.5": ["--config.method.confidence=0.5"],
    "fixmatch-c0": ["--config.method.confidence=0"],
    "fixmatch-d0.95": ["--config.teacher.decay=0.95"],
    "fixmatch-late": ["--config.method.ramp_start=600", "--config.method.ramp_steps=400"],
    "fixmatch-rare": ["--config.supervised.weighting=inverse_frequency"],
    "fixmatch-dice": ["--config.supervised.dice_weight=1"],
    "fixmatch-mild": ["--config.views.blur_sigma=(0.1, 1.0)", "--config.views.hue=0.1"],
    "kl-valid-t4": [
        "--config.relation.name=class_map", "--config.relation.distance=kl", _VALID,
        "--config.relation.temperature=4", "--config.relation.weight=0.15",
    ],
    "corr-valid": [
        "--config.relation.name=class_map", "--config.relation.distance=corr", _VALID,
        "--config.relation.classes=present", "--config.relation.weight=0.2",
    ],
    "affinity-kl-valid": [
        "--config.relation.name=affinity", "--config.relation.distance=kl", _VALID,
        "--config.relation.temperature=0.1", "--config.relation.stride=4",
        "--config.relation.weight=5",
    ],
    "affinity-mse-valid": [
        "--config.relation.name=affinity", "--config.relation.distance=mse", _VALID,
        "--config.relation.weight=0.5",
    ],
    "default": [
        "--config.relation.name=class_map", "--config.relation.distance=kl",
        "--config.relation.weight=0.1",
    ],
    "soft": ["--config.method.options.distance=soft_cross_entropy"],
    "peer": ["--config.method.labeler=peer"],
}  # fmt: skip
ARMS["peer-soft"] = [*ARMS["peer"], *ARMS["soft"]]
ARMS["peer-kl-valid-t4"] = [*ARMS["peer"], *ARMS["kl-valid-t4"]]
# Relations in place of pseudo-labels, which have a hundredth of their weight.
for _name, _weight in (("kl-valid-t4", 15), ("corr-valid", 20), ("affinity-kl-valid", 500)):
    _instead = ["--config.method.unlabeled_weight=0.01", f"--config.relation.weight={_weight}"]
    ARMS[f"{_name}-only"] = [*ARMS[_name], *_instead]
# Relations whose gradients have half the norm of the pseudo-labels'.
_BALANCED = ["--config.relation.balance=gradient", "--config.relation.weight=0.5"]
ARMS["corr-valid-balanced"] = [*ARMS["corr-valid"], *_BALANCED]
ARMS["affinity-kl-valid-balanced"] = [*ARMS["affinity-kl-valid"], *_BALANCED]
# The arm whose state a trunk trains, for arms that cannot continue from that of FixMatch: two
# networks, or the norms of gradients.
TRUNKS = {
    "peer": "peer", "peer-soft": "peer", "peer-kl-valid-t4": "peer",
    "corr-valid-balanced": "corr-valid-balanced",
    "affinity-kl-valid-balanced": "affinity-kl-valid-balanced",
}  # fmt: skip


def main() -> None:
    options = _options()
    results = results_of(
        options,
        lambda arm, seed: options.workdir / f"{options.set}-{options.labels}-{arm}-seed{seed}",
        lambda arm, seed, workdir: _train(arm, seed, workdir, options),
        lambda workdir: tested(workdir, options),
    )
    print(f"\n{options.set}, {options.labels} labels, {options.steps} steps, {options.network}:\n")
    print(table(results, options.base, options.network))
    print(f"\nchosen on the validation images: {chosen(results, options.network)}")
    if options.json:
        setting = {key: getattr(options, key) for key in ("set", "labels", "steps", "fork", "base")}
        arms = {arm: ARMS[arm] for arm in options.arms}
        machine = f"{platform.system()} {platform.machine()}"
        record = {**setting, "machine": machine, "arms": arms, "results": results}
        write_record(options.json, record)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_set_options(parser)
    add_options(parser, list(ARMS), shown=list(ARMS), seeds=[0], steps=1200, fork_at=200)
    return parser.parse_args()


def add_set_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that choose a set of photographs and its labeled images."""
    parser.add_argument("--root", required=True, type=pathlib.Path, help="folder of the data set")
    parser.add_argument("--set", choices=SETS, default="pets")
    parser.add_argument("--labels", default="26", help="labeled images, a folder of splits/")


def _train(arm: str, seed: int, workdir: pathlib.Path, options: argparse.Namespace) -> None:
    if not workdir.exists():
        trunk = trunk_of(arm, seed, options)
        stem = command(options, seed, TRUNKS.get(arm, "fixmatch"))
        grow(trunk, stem, options.steps, options.fork)
        fork(trunk, workdir, options.fork)
    train(command(options, seed, arm), workdir, options.steps)


def trunk_of(arm: str, seed: int, options: argparse.Namespace) -> pathlib.Path:
    """Workdir of the run that an arm continues."""
    name = f"trunk-{TRUNKS[arm]}" if arm in TRUNKS else "trunk"
    return options.workdir / f"{options.set}-{options.labels}-{name}-seed{seed}"


def command(options: argparse.Namespace, seed: int, arm: str) -> list[str]:
    """An arm's arguments of `python -m ipixmatch_jax.main`, without workdir and steps."""
    unlabeled, test = write_lists(options)
    return [
        "--config", f"bench/photos_config.py:{options.set}/{options.labels}",
        f"--config.data.root={options.root.resolve()}", f"--config.seed={seed}",
        f"--config.data.unlabeled={unlabeled}", f"--config.data.test={test}",
        f"--config.method.ramp_start={options.fork}", "--config.method.ramp_steps=50",
        f"--config.eval_every={options.steps // 5}", f"--config.checkpoint_every={options.fork}",
        *ARMS[arm],
    ]  # fmt: skip


def write_lists(options: argparse.Namespace) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes the lists of unlabeled and of test images next to the runs; returns their paths."""
    ids = (options.root / "splits" / options.labels / "unlabeled.txt").read_text().split()
    folder = options.workdir.resolve() / "lists"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, listed in zip(("unlabeled", "test"), split(ids), strict=True):
        paths.append(folder / f"{options.set}-{options.labels}-{name}.txt")
        paths[-1].write_text("\n".join(listed) + "\n")
    return paths[0], paths[1]


def split(ids: Sequence[str]) -> tuple[list[str], list[str]]:
    """The images to train on, and those to test on: the last quarter of each group of names.

    A group is what stands before the last `_`: a breed, a kind of microscope, or a video, whose
    neighboring frames stay together.
    """
    groups: dict[str, list[str]] = {}
    for image in sorted(ids):
        groups.setdefault(image.rpartition("_")[0], []).append(image)
    train, test = [], []
    for images in groups.values():
        kept = len(images) - len(images) // 4
        train += images[:kept]
        test += images[kept:]
    return train, test


def tested(workdir: pathlib.Path, options: argparse.Namespace) -> dict[str, Any] | None:
    """Like `finished`, with the mIoU of both networks on the test split, in percent, as `test`."""
    found = finished(workdir, options.steps)
    if found is None:
        return None
    if (test := _test_results(workdir, options.steps)) is None and not options.table:
        arguments = ["--mode", "eval", "--split", "test", "--workdir", str(workdir)]
        subprocess.run([sys.executable, "-m", "ipixmatch_jax.main", *arguments], check=True)
        test = _test_results(workdir, options.steps)
    return None if test is None else {**found, "test": test}


def _test_results(workdir: pathlib.Path, step: int) -> dict[str, float] | None:
    for one in read_later_evaluations(workdir):
        if (one["step"], one["split"]) == (step, "test"):
            return {network: 100 * one[network]["miou"] for network in NETWORKS}
    return None


def table(results: Mapping[str, Mapping[int, Any]], base: str, network: str) -> str:
    """A row for each arm: means ± deviations, difference from the base, and seeds for 1 point."""
    rows = [f"| arm | seeds | val | test | test minus {base}, 95 % interval | seeds for 1 point |"]
    rows.append("|---|---|---|---|---|---|")
    values = {
        arm: {seed: found["test"][network] for seed, found in runs.items()}
        for arm, runs in results.items()
    }
    for arm, of_seed in values.items():
        validation = [found[network]["last"] for found in results[arm].values()]
        means = f"{mean_text(validation)} | {mean_text(of_seed.values())}"
        rows.append(f"| {arm} | {len(of_seed)} | {means} | {difference_cells(arm, base, values)} |")
    return "\n".join(rows)


def chosen(results: Mapping[str, Mapping[int, Any]], network: str) -> str:
    """The arm with the highest mean on the validation images, over the seeds that all arms have."""
    seeds = set.intersection(*map(set, results.values())) if results else set()
    if not seeds:
        return "no seed of all arms is finished"
    means = {
        arm: statistics.mean(runs[seed][network]["last"] for seed in seeds)
        for arm, runs in results.items()
    }
    return max(means, key=means.get)


if __name__ == "__main__":
    main()
