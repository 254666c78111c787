"""Recommends a relation, its region, temperature and weight, or says that none is beyond noise."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from ipixmatch_jax.diagnose.losses import keys
from ipixmatch_jax.diagnose.measure import Measured

# The weight of a recommended relation makes its gradient this share of the pseudo-labels'.
SHARE = 0.5


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """The conclusion of a measurement.

    Attributes:
        lines: sentences.
        keys: keys of `config` with their values; empty if nothing is recommended.
    """

    lines: tuple[str, ...]
    keys: dict[str, Any] = dataclasses.field(default_factory=dict)


def recommend(
    measured: Sequence[Measured], share: float = SHARE, weights: Sequence[float | None] = ()
) -> Recommendation:
    """The relation with the largest extra that is beyond noise, and other findings.

    A relation is beyond noise if the 95 % interval of its extra with the true labels of the same
    views lies above 0, for all relations together, and its extra with the true labels of other
    images is positive. Among these, the largest sum of the two is recommended.

    Args:
        measured: `measure`'s result.
        share: the norm of the relation's gradient, with the weight, over the pseudo-labels'.
        weights: λ of the run's own relations, in their order; None for one without a fixed weight.
    """
    relations = [one for one in measured if one.loss.relation is not None]
    beyond = [one for one in relations if _beyond(one, len(relations))]
    own = [one for one in relations if one.loss.own]
    lines = [
        _own_line(one, weight, one in beyond) for one, weight in zip(own, weights, strict=True)
    ]
    lines += _labels_line(measured)
    if not relations:
        return Recommendation((*lines, "No relation was measured."))
    if not beyond:
        text = (
            f"None of the {len(relations)} relations is beyond noise: no 95 % interval of extra "
            "truth lies above 0 with a positive extra others. No relation is recommended."
        )
        return Recommendation((*lines, text))
    best = max(beyond, key=_gain)
    alignment = best.alignment
    chosen = {f"relation.{key}": value for key, value in keys(best.loss.relation).items()}
    text = (
        f"{len(beyond)} of {len(relations)} relations are beyond noise; the best is "
        f"{best.loss.name}: extra truth {_number(alignment.extra_truth)}, extra others "
        f"{_number(alignment.extra_other)}."
    )
    ratio = alignment.norm.value
    if not ratio > 0:
        text += " The pseudo-labels have no gradient here, so that no weight can be given."
        return Recommendation((*lines, text), chosen)
    weight = float(f"{share / ratio:.2g}")
    chosen["relation.weight"] = weight
    text += (
        f" Weight {weight:g} makes its gradient {share:g} times the pseudo-labels'. This says "
        "where the gradient points, not that training ends better: compare two runs."
    )
    return Recommendation((*lines, text), chosen)


def _beyond(one: Measured, comparisons: int) -> bool:
    alignment = one.alignment
    return alignment.extra_truth.low(comparisons) > 0 and alignment.extra_other.value > 0


def _gain(one: Measured) -> float:
    return one.alignment.extra_truth.value + one.alignment.extra_other.value


def _own_line(one: Measured, weight: float | None, beyond: bool) -> str:
    text = f"The run's {one.loss.name} is {'beyond' if beyond else 'not beyond'} noise"
    ratio = one.alignment.norm.value
    if weight is not None and not math.isnan(ratio):
        text += f"; its weight {weight:g} makes its gradient {weight * ratio:.2g} times the "
        text += "pseudo-labels'"
    return f"{text}."


def _labels_line(measured: Sequence[Measured]) -> list[str]:
    """The labels that point closer to the true ones than the run's, if any."""
    run = next(one for one in measured if one.loss.metric == "loss_pseudo").alignment.truth
    labels = [one for one in measured if one.loss.kind in ("hard", "soft")]
    better = [one for one in labels if one.alignment.truth.minus(run).low(len(labels)) > 0]
    if not better:
        return []
    best = max(better, key=lambda one: one.alignment.truth.value)
    return [
        f"{best.loss.name[0].upper()}{best.loss.name[1:]} point closer to the true labels than "
        f"the run's pseudo-labels: {_number(best.alignment.truth)} against {_number(run)}."
    ]


def _number(estimate) -> str:
    return f"{estimate.value:.2f} ± {estimate.error:.2f}"
