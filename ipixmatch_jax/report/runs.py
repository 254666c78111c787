"""Reads runs from disk: curves, evaluations, and which runs are seeds of one method."""

import dataclasses
import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from ipixmatch_jax.config import cut_off, flatten
from ipixmatch_jax.data import comparable
from ipixmatch_jax.engine.state import NETWORKS
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import AnyPath, as_path
from ipixmatch_jax.tracking.services import tracking_defaults
from ipixmatch_jax.workdir.curves import Curves, read_curves
from ipixmatch_jax.workdir.diagnoses import read_diagnoses
from ipixmatch_jax.workdir.evaluations import (
    later_rows,
    measured_otherwise,
    read_evaluations,
    shortened,
)
from ipixmatch_jax.workdir.folder import THROUGHPUT, metrics_path

# A chart on a screen cannot show more.
_MOST_POINTS = 400
# Characters of a value in a method's name.
_LONGEST = 24
# Keys that change what is written or where, but not what is learned.
_NEUTRAL = ("seed", "pictures", "profile", "log_every", "checkpoint_every", "parallel", "data.root")
_NEUTRAL += ("data.threads", "data.workers", "data.changed", "eval_batch_size", "best_network")
_NEUTRAL += tuple(f"tracking.{key}" for key in tracking_defaults())


@dataclasses.dataclass(frozen=True)
class Run:
    """A run on disk.

    Attributes:
        name: name of the folder.
        workdir: the folder.
        config: config from which the network can be built.
        curves: metric → (steps, values).
        evaluations: contents of `eval/STEP.json`, by step.
        later: `later_rows` of the run; none of them counts as last or best.
        diagnosis: the last result of `--mode diagnose`, or None.
    """

    name: str
    workdir: AnyPath
    config: ConfigDict
    curves: Curves
    evaluations: list[dict[str, Any]]
    later: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    diagnosis: dict[str, Any] | None = None

    def series(self, network: str) -> tuple[list[int], list[float]]:
        """Steps and mIoU of the evaluations of a network."""
        pairs = [(one["step"], one.get(network, {}).get("miou")) for one in self.evaluations]
        kept = [(step, miou) for step, miou in pairs if miou is not None]
        return [step for step, _ in kept], [miou for _, miou in kept]

    def last(self, network: str) -> float | None:
        """mIoU of the last evaluation of a network."""
        _, values = self.series(network)
        return values[-1] if values else None

    def median(self, curve: str) -> float | None:
        """The median of a curve; None without that curve."""
        return statistics.median(self.curves[curve][1]) if curve in self.curves else None


def read_run(workdir: AnyPath, config: ConfigDict) -> Run:
    """Reads the curves, evaluations and the last diagnosis of a run.

    Raises:
        DataError: the folder holds no `metrics.jsonl`, or one that cannot be read.
    """
    folder = as_path(workdir)
    name = folder.absolute().name
    if not metrics_path(folder).exists():
        raise DataError(
            f"{metrics_path(folder)} does not exist; expected the metrics that training writes; "
            "train first, or correct --workdir"
        )
    found = read_curves(metrics_path(folder)) | read_curves(folder / THROUGHPUT)
    curves = {name: _thinned(*curve) for name, curve in found.items()}
    diagnosis = next(reversed(read_diagnoses(folder)), None)
    evaluations, later = read_evaluations(folder), later_rows(folder)
    return Run(name, folder, config, curves, evaluations, later, diagnosis)


def _thinned(steps: list[int], values: list[float]) -> tuple[list[int], list[float]]:
    """Averages neighboring points until at most `_MOST_POINTS` are left."""
    block = -(-len(steps) // _MOST_POINTS)
    if block == 1:
        return steps, values
    starts = range(0, len(steps), block)
    means = [sum(values[i : i + block]) / len(values[i : i + block]) for i in starts]
    return [steps[min(i + block, len(steps)) - 1] for i in starts], means


def check_comparable(runs: Sequence[Run]) -> None:
    """Checks that the numbers of these runs may be compared.

    Raises:
        DataError: rival protocols, other classes, another validation split, another way of
            evaluation, or a run twice.
    """
    comparable(run.evaluations[-1].get("protocol", "") for run in runs if run.evaluations)
    for one, other in itertools.combinations(runs, 2):
        if _same(one, other):
            raise DataError(
                f"{one.workdir} and {other.workdir} are the same run or copies of it, which would "
                "count as two seeds; expected each run once; leave one out"
            )
    first = runs[0]
    for run in runs[1:]:
        for what, one, other in _measured(first, run):
            if one != other:
                raise DataError(
                    f"{first.workdir} and {run.workdir} differ in {what}: "
                    f"{shortened(one)!r} and {shortened(other)!r}; expected "
                    "runs measured in the same way; write a separate report for each"
                )


def unfinished(runs: Sequence[Run]) -> list[str]:
    """A remark on each run that was not evaluated at its last step."""
    found = [(run, run.evaluations[-1]["step"] if run.evaluations else 0) for run in runs]
    return [
        f"warning: {run.name} is not finished: its last evaluation is of step {step} of "
        f"{run.config.total_steps}, and its numbers, also in means and differences, are of that"
        for run, step in found
        if step < run.config.total_steps
    ]


def _same(one: Run, other: Run) -> bool:
    """Whether these are one run: the same folder, or the same config, seed and results."""
    if one.workdir.resolve() == other.workdir.resolve():
        return True
    if one.config.seed != other.config.seed or _method(one) != _method(other):
        return False
    results = [[run.series(network) for network in NETWORKS] for run in (one, other)]
    return results[0] == results[1] != [([], [])] * len(NETWORKS)


def _method(run: Run) -> dict[str, Any]:
    """The config keys that seeds of one method have in common.

    Class weights that a run measures differ with the images that its seed holds out.
    """
    derived = run.config.supervised.weighting == "inverse_frequency"
    left_out = (*_NEUTRAL, "supervised.class_weights") if derived else _NEUTRAL
    return {key: value for key, value in flatten(run.config) if key not in left_out}


def _measured(first: Run, other: Run) -> list[tuple[str, Any, Any]]:
    keys = ["data.name", "data.num_classes", "data.image_size"]
    records = [run.evaluations[-1] if run.evaluations else {} for run in (first, other)]
    if not all("data" in record for record in records):
        keys.append("data.val")  # older runs did not record their images: the names of lists
    one, two = dict(flatten(first.config)), dict(flatten(other.config))
    return [(key, one[key], two[key]) for key in keys] + measured_otherwise(*records)


def grouped(runs: Sequence[Run]) -> list[tuple[str, list[int]]]:
    """Runs whose configs differ in the seed alone: (name, positions), in order of appearance."""
    flat = [_method(run) for run in runs]
    keys = [repr(sorted(values.items(), key=lambda item: item[0])) for values in flat]
    members: dict[str, list[int]] = {}
    for position, key in enumerate(keys):
        members.setdefault(key, []).append(position)
    firsts = [positions[0] for positions in members.values()]
    names = _names([flat[i] for i in firsts])
    return list(zip(names, members.values(), strict=True))


def differing(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Config keys in which the runs differ, except the seed, with the value of each run."""
    flat = [_method(run) for run in runs]
    rows = [(key, [str(values.get(key, "–")) for values in flat]) for key in _keys(flat)]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def _keys(flat: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys of any of them, in order of appearance."""
    return list(dict.fromkeys(key for values in flat for key in values))


def method_name(flat: Mapping[str, Any]) -> str:
    """The method of a flat config with its relation, as 'fixmatch with class_map/kl'."""
    relation, distance = flat["relation.name"], flat["relation.distance"]
    if flat["method.name"] == "supervised" or relation == "none":
        return flat["method.name"]
    return f"{flat['method.name']} with {relation}/{distance}"


def _names(flat: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of methods; equal names are completed by the other keys that differ."""
    names = [method_name(values) for values in flat]
    named = {"method.name", "relation.name", "relation.distance"}
    rest = [k for k in _keys(flat) if len({repr(values.get(k)) for values in flat}) > 1]
    shown = [key for key in rest if key not in named]
    if len(set(names)) == len(names):
        return names
    tails = [
        ", ".join(f"{k.split('.')[-1]} {cut_off(v[k], _LONGEST)}" for k in shown if _says(v.get(k)))
        for v in flat
    ]
    return [f"{name} ({tail})" if tail else name for name, tail in zip(names, tails, strict=True)]


def _says(value: Any) -> bool:
    """False of values that stand for nothing, such as class weights of ()."""
    return value is not None and value not in ((), "")
