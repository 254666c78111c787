"""The losses that are compared: those of the run, hard and soft labels, and relations."""

import ast
import dataclasses
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax

from ipixmatch_jax.diagnose.truth import true_term
from ipixmatch_jax.engine.objective import Objective, Supervised, Threshold
from ipixmatch_jax.engine.weighted_relation import WeightedRelation
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.losses import RELATION_OPTIONS, RELATIONS
from ipixmatch_jax.methods import ConsistencyTerm, MethodOutput
from ipixmatch_jax.registry import nearest

THRESHOLDS = (0.95, 0.9, 0.5, 0.0)
REGIONS = ("valid", "confident")
# `stride` is filled in: relations over all pairs of a large crop take too long.
RELATION_LIST = (
    "class_map/kl",
    "class_map/corr:classes=present",
    "affinity/kl:stride=auto",
    "affinity/mse",
    "affinity/corr",
)
# Temperatures by relation; the others have none.
_TEMPERATURES = {"class_map/kl": (1.0, 4.0), "affinity/kl": (0.1, 1.0)}
# Points a side, at most, of a relation with stride=auto.
_POINTS = 32
# Keys of a relation that a list of relations may set, besides its options.
_KEYS = ("temperature", "region", "min_pixels", "features")
# What a relation of the run sets in addition: no part of what it compares.
_NEUTRAL = {"weight": 1.0, "balance": "none", "ramp": "none", "ramp_start": 0, "ramp_steps": 0}


def _same(term: ConsistencyTerm) -> ConsistencyTerm:
    return term


@dataclasses.dataclass(frozen=True, eq=False)
class Loss:
    """One loss, as a metric of an objective. Equal to itself only, so that it may be a key.

    Attributes:
        name: its name in tables.
        kind: `run`, `hard`, `soft` or `relation`.
        objective: computes it; weights and ramps do not enter metrics of single losses.
        metric: the metric of the objective.
        change: changes every consistency term before that.
        own: true if the run has this loss.
        relation: the relation loss, if it is one.
    """

    name: str
    kind: str
    objective: Objective
    metric: str
    change: Callable[[ConsistencyTerm], ConsistencyTerm] = _same
    own: bool = False
    relation: WeightedRelation | None = None

    def __call__(
        self, output: MethodOutput, labeled: dict[str, jax.Array], step: jax.Array
    ) -> jax.Array:
        """The loss of a batch, float32 scalar; arguments as those of the objective."""
        changed = output.replace(terms=tuple(map(self.change, output.terms)))
        return self.objective(changed, labeled, step)[1][self.metric]


def supervised(objective: Objective) -> Loss:
    """The run's loss of labeled images."""
    bare = dataclasses.replace(objective, relations=())
    return Loss("supervised", "run", bare, "loss_supervised", own=True)


def pseudo_labels(objective: Objective) -> Loss:
    """The run's pseudo-label losses, over all of the method's terms."""
    bare = dataclasses.replace(objective, relations=())
    return Loss("pseudo-labels of the run", "run", bare, "loss_pseudo", own=True)


def true_labels(objective: Objective) -> Loss:
    """Cross-entropy with the true labels in the place of the pseudo-labels."""
    bare = dataclasses.replace(objective, relations=(), threshold=Threshold(0.0))
    return Loss("true labels", "run", bare, "loss_pseudo", true_term)


def cross_entropy(objective: Objective) -> Loss:
    """Cross-entropy of labeled images, whatever the run's loss of them is."""
    loss = objective.supervised
    if loss.name == "cross_entropy" and not loss.dice_weight and not loss.class_weights:
        return supervised(objective)
    bare = dataclasses.replace(objective, relations=(), supervised=Supervised())
    return Loss("cross-entropy", "run", bare, "loss_supervised")


def of_method(objective: Objective, names: Sequence[str]) -> list[Loss]:
    """Losses of the method's own, as U2PL's contrast."""
    bare = dataclasses.replace(objective, relations=())
    return [Loss(f"{name} of the method", "run", bare, f"loss_{name}", own=True) for name in names]


def hard_labels(objective: Objective, thresholds: Sequence[float]) -> list[Loss]:
    """Cross-entropy with the labeler's likeliest class, at several confidences."""

    def hard(term: ConsistencyTerm) -> ConsistencyTerm:
        return term.replace(distance="pseudo_label", keep=None)

    return [
        Loss(
            f"hard labels, confidence {threshold:g}",
            "hard",
            dataclasses.replace(objective, relations=(), threshold=Threshold(threshold)),
            "loss_pseudo",
            hard,
        )
        for threshold in sorted(set(thresholds), reverse=True)
    ]


def soft_labels(objective: Objective) -> list[Loss]:
    """KL(p ‖ q) at a temperature T, times T², at all valid or at confident pixels."""
    bare = dataclasses.replace(objective, relations=())

    def soft(temperature: float, distance: str) -> Callable[[ConsistencyTerm], ConsistencyTerm]:
        return lambda term: term.replace(
            student_logits=term.student_logits / temperature,
            # `kl` counts confident pixels: by the labels as they are, so it has temperature 1 only.
            teacher_logits=term.teacher_logits / temperature,
            weight=term.weight * temperature**2,
            distance=distance,
            keep=None,
        )

    # Soft cross-entropy has the gradient of the divergence, and counts every valid pixel.
    kinds = ((1.0, "valid"), (2.0, "valid"), (1.0, "confident"))
    distances = {"valid": "soft_cross_entropy", "confident": "kl"}
    return [
        Loss(
            f"soft labels T {t:g}, {region}",
            "soft",
            bare,
            "loss_pseudo",
            soft(t, distances[region]),
        )
        for t, region in kinds
    ]


def relations(
    objective: Objective,
    wanted: Sequence[str],
    regions: Sequence[str],
    temperatures: Sequence[float],
    crop: Sequence[int],
) -> list[Loss]:
    """The run's relations, and those that are asked for, in every region and temperature.

    Args:
        wanted: `relation/distance`, or `relation/distance:key=value,…` with any options of it.
        regions: for relations whose text sets none.
        temperatures: likewise; empty for those of a default list.
        crop: height and width of the crops, for `stride=auto`.

    Raises:
        ConfigError: an unknown relation, key or value.
    """
    own = [dataclasses.replace(_complete(one), **_NEUTRAL) for one in objective.relations]
    asked = [
        _complete(relation)
        for text in wanted
        for relation in _built(text, regions, temperatures, crop)
    ]
    found = list(own)
    for relation in asked:
        if relation not in found:
            found.append(relation)
    return [
        Loss(
            title(relation),
            "relation",
            dataclasses.replace(objective, relations=(relation,)),
            relation.label,
            own=relation in own,
            relation=relation,
        )
        for relation in found
    ]


def title(relation: WeightedRelation) -> str:
    """A relation's name in tables, with its temperature, options and region."""
    words = [f"{relation.name}/{relation.distance}"]
    if _has_temperature(relation):
        words.append(f"T {relation.temperature:g}")
    for key, value in relation.options.items():
        if key == "on" and value == "features":
            words.append(relation.features)
        elif value != RELATION_OPTIONS.get(key):
            flag = key == "classes" or value is True
            words.append((str(value) if key == "classes" else key) if flag else f"{key} {value}")
    return f"{' '.join(words)}, {relation.region}"


def keys(relation: WeightedRelation) -> dict[str, Any]:
    """The keys of `config.relation` that choose a relation, without its weight."""
    chosen = {"name": relation.name, "distance": relation.distance, "region": relation.region}
    if _has_temperature(relation):
        chosen["temperature"] = relation.temperature
    for key, value in relation.options.items():
        if value != RELATION_OPTIONS.get(key):
            chosen[key if key in RELATION_OPTIONS else f"options.{key}"] = value
    if relation.feature_map:
        chosen["features"] = relation.features
    return chosen


def _has_temperature(relation: WeightedRelation) -> bool:
    return _takes_temperature(f"{relation.name}/{relation.distance}")


def _takes_temperature(name: str) -> bool:
    return "temperature" in inspect.signature(RELATIONS[name]).parameters


def _complete(relation: WeightedRelation) -> WeightedRelation:
    """The relation with all options, and without a temperature if it has none, to compare it."""
    temperature = relation.temperature if _has_temperature(relation) else 1.0
    options = RELATION_OPTIONS | dict(relation.options)
    return dataclasses.replace(relation, options=options, temperature=temperature)


def _built(
    text: str, regions: Sequence[str], temperatures: Sequence[float], crop: Sequence[int]
) -> list[WeightedRelation]:
    name, _, rest = text.partition(":")
    takes = _takes_temperature(name)  # an unknown name ends here
    given: dict[str, Any] = {}
    parameters = inspect.signature(RELATIONS[name]).parameters.values()
    known = {*_KEYS, *RELATION_OPTIONS}
    known |= {one.name for one in parameters if one.kind is one.KEYWORD_ONLY}
    for part in filter(None, rest.split(",")):
        key, is_set, value = part.partition("=")
        if not is_set or key not in known:
            raise ConfigError(
                f"--relations {text}: {part!r} is no option of {name}{nearest(key, known)}; "
                f"expected relation/distance:key=value,key=value"
            )
        given[key] = _value(value)
    if given.get("stride") == "auto":
        given["stride"] = max(1, math.ceil(math.sqrt(crop[0] * crop[1]) / _POINTS))
    fields = {key: given.pop(key) for key in _KEYS if key in given}
    defaults = temperatures or _TEMPERATURES.get(name, (1.0,))
    of_text = (fields.pop("temperature"),) if "temperature" in fields else defaults
    in_regions = (fields.pop("region"),) if "region" in fields else regions
    relation, distance = name.split("/", 1)
    return [
        WeightedRelation(
            relation, distance, temperature=t, region=region, options=dict(given), **fields
        )
        for t in (of_text if takes else (1.0,))
        for region in in_regions
    ]


def _value(text: str) -> Any:
    """A number or truth value, or the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
