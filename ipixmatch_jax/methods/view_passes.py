"""Shared by the frameworks: choices, the labeler, and batch-norm passes of several views."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ipixmatch_jax.methods.base import Method, Network, Prediction, Through, one_of
from ipixmatch_jax.methods.cutmix_pairs import MIXES

LABELERS = ("teacher", "student")
# For the frameworks with one strong view.
PEER = "peer"
LABEL_NORMS = ("eval", "train", "ema")
RUNNING = ("labeled", "all")

Groups = tuple[tuple[str, ...], ...]

# For the frameworks with one strong view.
NORM_GROUPS: Mapping[str, Groups] = {
    "separate": (("labeled",), ("strong",)),
    "joint": (("labeled", "strong"),),
}


def check_choices(
    method: Method,
    norm_groups: Mapping[str, Groups] = NORM_GROUPS,
    label_norms: tuple[str, ...] = LABEL_NORMS,
    labelers: tuple[str, ...] = LABELERS,
) -> None:
    """Raises ConfigError if one of the shared choices has an unknown value."""
    known = {
        "labeler": labelers,
        "label_norm": label_norms,
        "mix": MIXES,
        "norm_groups": tuple(norm_groups),
        "running_statistics": RUNNING,
    }
    fields = {field.name for field in dataclasses.fields(method)}
    one_of(**{k: (getattr(method, k), v) for k, v in known.items() if k in fields})


def labeler(method: Method, student: Network, teacher: Network) -> Network:
    """The network that makes the pseudo-labels, `method.labeler`.

    With `method.label_norm` 'ema' it normalizes by the teacher's averaged running statistics.
    """
    network = teacher if method.labeler == "teacher" else student
    if method.label_norm == "ema":
        return network.replace(batch_stats=teacher.batch_stats)
    return network


def train_passes(
    student: Network,
    images: Mapping[str, jax.Array],
    groups: Groups,
    running_statistics: str,
    through: Mapping[str, Through] | None = None,
) -> tuple[dict[str, Prediction], Any]:
    """The student's predictions of several views, and its running batch statistics after them.

    Args:
        images: view name → [b,H,W,·].
        groups: the passes, in order: views of one pass are normalized together.
        running_statistics: the passes that update the running statistics: `all`, or only those
            with the `labeled` view.
        through: the last view of a pass → a function of its features. Rows that it adds come back
            under the view's name with '+'.
    """
    predictions, kept = {}, student.batch_stats
    for group in groups:
        parts = [images[name] for name in group]
        prediction, after = student.replace(batch_stats=kept).train(
            jnp.concatenate(parts), (through or {}).get(group[-1])
        )
        start = 0
        for name, part in zip(group, parts, strict=True):
            predictions[name] = prediction.rows(start, start + len(part))
            start += len(part)
        predictions[f"{group[-1]}+"] = prediction.rows(start, len(prediction.logits))
        if running_statistics == "all" or "labeled" in group:
            kept = after
    return predictions, kept
