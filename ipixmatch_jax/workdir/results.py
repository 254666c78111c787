"""Results of a run: `eval/STEP.json` of every evaluation, and their summary."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ipixmatch_jax.engine.state import NETWORKS
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.workdir.folder import (
    evaluation_path,
    evaluations_folder,
    summary_path,
    write_whole,
)

LAST = 5


def write_run_summary(workdir: AnyPath, chosen_by: str) -> dict[str, Any]:
    """Writes `eval/summary.json` from the files `eval/STEP.json` of a run's evaluations.

    Args:
        chosen_by: the network whose mIoU chooses the best checkpoint, `config.best_network`.

    Returns:
        The summary; {}, and nothing is written, if there is no evaluation.
    """
    found = run_summary(read_evaluations(workdir), chosen_by)
    if found:
        path = summary_path(workdir)
        write_whole(path, json.dumps(found, indent=2) + "\n")
    return found


def read_evaluations(workdir: AnyPath) -> list[dict[str, Any]]:
    """The contents of all `eval/STEP.json` of a run, in the order of steps."""
    folder = evaluations_folder(workdir)
    paths = [path for path in folder.iterdir() if path.stem.isdigit()] if folder.exists() else []
    return sorted((json.loads(path.read_text()) for path in paths), key=lambda one: one["step"])


def run_summary(history: Sequence[Mapping[str, Any]], chosen_by: str) -> dict[str, Any]:
    """The last mIoU of every network, the mean of the last five, and the best, in [0, 1].

    Args:
        history: contents of `eval/STEP.json`, in the order of steps.
        chosen_by: the network whose mIoU chooses the best checkpoint.

    Returns:
        `last`, `mean_of_last` and `best` by network, and `best_checkpoint`: the step with the
        highest mIoU of `chosen_by`, the later of equal ones, with the mIoU of both networks there.
        {} if there is no evaluation of `chosen_by`.
    """
    scores = {name: _scores(history, name) for name in NETWORKS}
    if not scores[chosen_by]:
        return {}
    split = history[-1]["split"]
    best_step = _best(scores[chosen_by])["step"]
    at_best = {name: dict(values).get(best_step) for name, values in scores.items()}
    return {
        "split": split,
        "protocol": history[-1].get("protocol", ""),
        "eval": history[-1].get("eval", {}),
        "evaluations": len(history),
        "best_chosen_on": split,
        **{name: _numbers(values) for name, values in scores.items() if values},
        "best_checkpoint": {"step": best_step, "chosen_by": chosen_by, "miou": at_best},
    }


def _scores(history: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """(step, mIoU) of a network, without evaluations that lack it."""
    pairs = [(result["step"], result.get(name, {}).get("miou")) for result in history]
    return [(step, miou) for step, miou in pairs if miou is not None]


def _numbers(scores: Sequence[tuple[int, float]]) -> dict[str, Any]:
    last = scores[-LAST:]
    return {
        "last": _named(scores[-1]),
        "mean_of_last": {
            "steps": [step for step, _ in last],
            "miou": sum(miou for _, miou in last) / len(last),
        },
        "best": _best(scores),
    }


def _best(scores: Sequence[tuple[int, float]]) -> dict[str, Any]:
    return _named(max(scores, key=lambda pair: (pair[1], pair[0])))


def _named(score: tuple[int, float]) -> dict[str, Any]:
    return {"step": score[0], "miou": score[1]}


def run_summary_table(found: Mapping[str, Any]) -> str:
    """The summary as a table in percent, one row for each network."""
    shown = [name for name in NETWORKS if name in found]
    count = len(found[shown[0]]["mean_of_last"]["steps"])
    lines = [f"  {'mIoU':<10}{'last':>8}{f'mean of last {count}':>20}{'best':>10}"]
    for name in shown:
        last, mean, best = (found[name][key] for key in ("last", "mean_of_last", "best"))
        lines.append(
            f"  {name:<10}{100 * last['miou']:>8.2f}{100 * mean['miou']:>20.2f}"
            f"{100 * best['miou']:>10.2f} at step {best['step']}"
        )
    split, checkpoint = found["best_chosen_on"], found["best_checkpoint"]
    lines.append(
        f"  'best' is chosen on split {split}, on which it is also measured, and is therefore too "
        f"high; the best checkpoint, by the {checkpoint['chosen_by']}, is step {checkpoint['step']}"
    )
    return "\n".join(lines)


def write_evaluation(
    workdir: AnyPath,
    step: int,
    split: str,
    results: Mapping[str, Any],
    protocol: str = "",
    about: Mapping[str, str] | None = None,
    *,
    apart: bool = False,
) -> pathlib.Path:
    """Writes `eval/STEP.json`; entries of networks that are not in `results` are kept.

    Args:
        workdir: folder of the run.
        step: step of the networks.
        split: name of the split, or the file that lists its records.
        results: network name → `summary`.
        protocol: name of the published label split, if the labeled images are one.
        about: `Evaluator.about()`.
        apart: True for results that are not the run's own evaluation: they are written to
            `eval/STEP-SPLIT-MODE-ABSENT.json`.

    Returns:
        The path of the file.
    """
    about = dict(about or {})
    parts = [str(step)] + [pathlib.PurePath(split).stem, *about.values()] * apart
    path = evaluation_path(workdir, "-".join(parts))
    path.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(path.read_text()) if path.exists() else {}
    facts = {"step": step, "split": split, "protocol": protocol, "eval": about}
    write_whole(path, json.dumps({**before, **facts, **results}, indent=2) + "\n")
    return path
