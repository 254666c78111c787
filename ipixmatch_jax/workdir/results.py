"""Summary of a run: last, mean of the last evaluations and best, of student and teacher."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ipixmatch_jax.engine.state import NETWORKS
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.workdir.evaluations import later_rows, measured_otherwise, read_evaluations
from ipixmatch_jax.workdir.folder import summary_path, write_whole

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
        later = later_rows(workdir)
        found |= {"evaluated_later": later} if later else {}
        path = summary_path(workdir)
        write_whole(path, json.dumps(found, indent=2) + "\n")
    return found


def run_summary(history: Sequence[Mapping[str, Any]], chosen_by: str) -> dict[str, Any]:
    """The last mIoU of every network, the mean of the last five, and the best, in [0, 1].

    Evaluations of other images than the last one's, from before a change of the data, are left out
    and counted as `of_other_images`.

    Args:
        history: contents of `eval/STEP.json`, in the order of steps.
        chosen_by: the network whose mIoU chooses the best checkpoint.

    Returns:
        `last`, `mean_of_last` and `best` by network, and `best_checkpoint`: the step with the
        highest mIoU of `chosen_by`, the later of equal ones, with the mIoU of both networks there.
        {} if there is no evaluation of `chosen_by`.
    """
    alike = [one for one in history if not measured_otherwise(history[-1], one)]
    left_out, history = len(history) - len(alike), alike
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
        **({"data": history[-1]["data"]} if "data" in history[-1] else {}),
        "evaluations": len(history),
        **({"of_other_images": left_out} if left_out else {}),
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
    if "of_other_images" in found:
        lines.append(
            f"  {found['of_other_images']} evaluations are of other images, from before a change "
            "of the data, and left out; the checkpoint kept as the best may be one of theirs"
        )
    return "\n".join(lines + later_lines(found.get("evaluated_later", ())))


def later_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of `later_rows`, which are not the run's own and may be of other images."""
    if not rows:
        return []
    lines = ["  evaluated later, not part of the numbers above:"]
    for row in rows:
        scores = ", ".join(f"{name} {100 * miou:.2f}" for name, miou in row["miou"].items())
        lines.append(f"    step {row['step']}, {row['split']}: {scores}; differs: {row['differs']}")
    return lines
