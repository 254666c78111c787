"""The training loss: L = w_x·L_sup + w · Σ wₖ · (L_pseudo(termₖ) + Σ λᵣ · L_r(termₖ)) + extra."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ipixmatch_jax.engine.gradient_balance import SQUARES, scale, with_gradient
from ipixmatch_jax.engine.state import DATA_AXIS
from ipixmatch_jax.engine.weighted_relation import WeightedRelation, ramp_up
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.losses import (
    SOFT,
    class_thresholds,
    confidence_mask,
    consistency_loss,
    pseudo_label_statistics,
    supervised_loss,
    supervised_options,
)
from ipixmatch_jax.methods import ConsistencyTerm, MethodOutput, Ratio

THRESHOLDS = ("constant", "ramp", "class_adaptive")


@dataclasses.dataclass(frozen=True)
class Threshold:
    """The confidence threshold of pseudo-labels.

    Attributes:
        confidence: the threshold, in [0, 1]; 0 keeps every valid pixel.
        kind: `constant`; `ramp`, from `start` to the threshold over the first `steps` steps; or
            `class_adaptive`, lower for classes with a less confident teacher (`class_thresholds`).
        start, steps: first value and length of the ramp.
    """

    confidence: float = 0.95
    kind: str = "constant"
    start: float = 0.0
    steps: int = 0

    def __post_init__(self):
        if self.kind not in THRESHOLDS:
            raise ConfigError(
                f"method.threshold is {self.kind!r}; expected one of {', '.join(THRESHOLDS)}"
            )

    def keep(
        self, term: ConsistencyTerm, step: jax.Array, axis_name: str | None = None
    ) -> jax.Array:
        """1 at a term's valid pixels that are sure enough, else 0: [B,H,W] float32."""
        limit = self.confidence
        if self.kind == "ramp":
            limit = self.start + (limit - self.start) * ramp_up(step, 0, self.steps)
        elif self.kind == "class_adaptive":
            limit = class_thresholds(term.teacher_logits, term.valid, limit, axis_name)
        return confidence_mask(term.teacher_logits, term.valid, limit)


@dataclasses.dataclass(frozen=True)
class Supervised:
    """The loss of labeled images; the keys of `config.supervised`.

    Attributes:
        name: a name in `losses.SUPERVISED_LOSSES`.
        dice_weight: weight of an additional Dice loss.
        class_weights: one number per class, or empty.
        options: keyword arguments of the loss.
        weight: factor of all of it in the loss; the metric `loss_supervised` is without it.
    """

    name: str = "cross_entropy"
    dice_weight: float = 0.0
    class_weights: tuple[float, ...] = ()
    options: Mapping[str, float] = dataclasses.field(default_factory=dict)
    weight: float = 1.0

    def __post_init__(self):
        supervised_options(self.name, self.options)

    def parts(
        self, logits: jax.Array, mask: jax.Array, axis_name: str | None
    ) -> tuple[tuple[float, Ratio], ...]:
        """(weight, (total, count)) of each loss of one prediction [B,H,W,C]."""
        common = {"class_weights": self.class_weights, "axis_name": axis_name}
        options = supervised_options(self.name, self.options)
        parts = [(1.0, supervised_loss(self.name, logits, mask, **common, **options))]
        if self.dice_weight:
            parts.append((self.dice_weight, supervised_loss("dice", logits, mask, **common)))
        return tuple(parts)


@dataclasses.dataclass(frozen=True)
class _Part:
    """One ratio of the loss: metric `name` gets factor · total/count, the loss `weight` times that.

    A relation loss enters `loss_relation` and the loss `relation_weight` times. `squares`: the sum
    of squares of the total's gradient with respect to the logits, entry `place` of
    `TrainState.balance`.
    """

    name: str
    ratio: Ratio
    weight: float | jax.Array
    factor: float = 1.0
    relation_weight: jax.Array | None = None
    squares: jax.Array | None = None
    place: int = 0

    @property
    def total(self) -> jax.Array:
        return self.ratio[0]

    @property
    def count(self) -> jax.Array:
        return jax.lax.stop_gradient(self.ratio[1])


@dataclasses.dataclass(frozen=True)
class Objective:
    """Weights and thresholds of the loss; the keys of `config.method` and `config.relation`.

    Attributes:
        threshold: which pseudo-labels count.
        supervised: the loss of labeled images.
        unlabeled_weight: weight of all consistency terms after the ramp.
        ramp_start, ramp_steps: the weight is 0 before step `ramp_start` and grows linearly over the
            next `ramp_steps`.
        relations: the relation losses; none gives the bare method.
        normalize: `global` divides by pixel counts over all devices, `per_device` averages each
            device's own mean, as PyTorch DDP code does.
    """

    threshold: Threshold = Threshold()
    supervised: Supervised = Supervised()
    unlabeled_weight: float = 1.0
    ramp_start: int = 0
    ramp_steps: int = 0
    relations: tuple[WeightedRelation, ...] = ()
    normalize: str = "global"

    def __post_init__(self):
        if self.normalize not in ("global", "per_device"):
            raise ConfigError(f"normalize is {self.normalize!r}; expected 'global' or 'per_device'")
        labels = [relation.label for relation in self.relations]
        for label in labels:
            if labels.count(label) > 1:
                raise ConfigError(f"{label} is given twice; give it once, with the summed weight")

    @property
    def feature_maps(self) -> tuple[str, ...]:
        """The feature maps that the relations compare."""
        names = {relation.feature_map for relation in self.relations}
        return tuple(sorted(name for name in names if name))

    @property
    def balanced(self) -> int:
        """Length of `TrainState.balance`: 0 if no relation is weighted by its gradient."""
        by_gradient = any(relation.balance == "gradient" for relation in self.relations)
        return 1 + len(self.relations) if by_gradient else 0

    def strengths(self, step: jax.Array, balance: Any = ()) -> list[jax.Array]:
        """λ of each relation at a step, float32 scalars.

        With `balance='gradient'` λ is `weight`, after the ramp, times the norm of the pseudo-label
        loss's gradient with respect to the student's logits over that of the relation's, both
        smoothed over the steps before this one. The norms are those of the losses of the whole
        batch; each term counts as logits of its own. λ is 0 in the first step.

        Args:
            step: int32 scalar.
            balance: `TrainState.balance`.

        Raises:
            ValueError: a state without the norms.
        """
        if self.balanced and getattr(balance, "shape", ()) != (self.balanced,):
            raise ValueError(
                f"the state's balance is {balance}; make it by create_state(…, "
                f"balanced={self.balanced})"
            )
        return [
            relation.weight_at(step) * scale(balance, index)
            if relation.balance == "gradient"
            else relation.weight_at(step)
            for index, relation in enumerate(self.relations)
        ]

    def ramp(self, step: jax.Array) -> jax.Array:
        """Weight of the consistency terms at a step, float32 scalar."""
        return self.unlabeled_weight * ramp_up(step, self.ramp_start, self.ramp_steps)

    def __call__(
        self,
        output: MethodOutput,
        labeled: dict[str, jax.Array],
        step: jax.Array,
        divisors: list[jax.Array] | None = None,
        balance: Any = (),
    ) -> tuple[jax.Array, dict[str, Any]]:
        """This device's share of the loss (shares add up over devices), and metrics.

        Args:
            output: the method's output.
            labeled: the labeled part of the batch, with `mask` uint8 [B, H, W].
            step: int32 scalar.
            divisors: if this is a part of the batch, the divisors of the whole batch: then shares
                add up over parts too.
            balance: `TrainState.balance`.

        Returns:
            The share, float32, and a dict of metrics: shares to add up over devices (`loss…`), and
            ratios to divide after adding up numerators and denominators. `loss_relation` is the
            weighted sum of the relation losses; each one is also given by name, unweighted. If
            relations are weighted by gradients, `gradient_squares` [1 + relations] is this share of
            the squared norms.
        """
        parts, rates = self._parts(output, labeled, step, balance)
        if divisors is None:
            divisors = self.divisors([part.count for part in parts])
        zero = jnp.zeros((), jnp.float32)
        metrics: dict[str, Any] = {"loss": zero, "loss_supervised": zero}
        if output.terms:
            metrics |= {"loss_pseudo": zero, "loss_relation": zero}
        if self.balanced:
            metrics[SQUARES] = jnp.zeros(self.balanced, jnp.float32)
        for part, divisor in zip(parts, divisors, strict=True):
            value = part.factor * part.total / divisor
            metrics[part.name] = metrics.get(part.name, zero) + value
            if part.relation_weight is not None:
                value = part.relation_weight * value
                metrics["loss_relation"] += value
            metrics["loss"] += part.weight * value
            if part.squares is not None:
                share = jnp.square(part.factor / divisor) * part.squares
                metrics[SQUARES] = metrics[SQUARES].at[part.place].add(share)
        return metrics["loss"], metrics | rates

    def counts(
        self, output: MethodOutput, labeled: dict[str, jax.Array], step: jax.Array
    ) -> list[jax.Array]:
        """The count of every ratio of the loss: float32 scalars that add up over parts of a batch.

        They depend on the student only where a loss chooses its pixels by the student's logits, so
        that a compiled program which wants nothing else leaves most of the passes out.
        """
        # The weights do not matter here.
        balance = jnp.zeros(self.balanced, jnp.float32)
        return [part.count for part in self._parts(output, labeled, step, balance)[0]]

    def divisors(self, counts: list[jax.Array]) -> list[jax.Array]:
        """The divisors of this device's totals, from its counts, so that shares add up."""
        if self.normalize == "global":
            return [jnp.maximum(count, 1.0) for count in jax.lax.psum(counts, DATA_AXIS)]
        devices = jax.lax.psum(1.0, DATA_AXIS)
        return [jnp.maximum(count, 1.0) * devices for count in counts]

    @property
    def _axis(self) -> str | None:
        """The axis over which a loss may combine the pixels of all devices, or None."""
        return DATA_AXIS if self.normalize == "global" else None

    def _parts(
        self, output: MethodOutput, labeled: dict[str, jax.Array], step: jax.Array, balance: Any
    ) -> tuple[list[_Part], dict[str, Ratio]]:
        """Every ratio of the loss, always in the same order, and the rates of the metrics."""
        mask = labeled["mask"].astype(jnp.int32)
        parts = self._supervised(output, mask)
        unlabeled_weight, strengths = self.ramp(step), self.strengths(step, balance)
        rates: dict[str, Ratio] = {}
        for term in output.terms:
            of_term, new = self._term(term, unlabeled_weight, strengths, step)
            parts += of_term
            # Several terms: numerators and denominators of rates add up.
            rates = jax.tree.map(jnp.add, rates, new) if rates else new
        for name, (weight, ratio) in output.extra.items():
            parts.append(_Part(f"loss_{name}", ratio, unlabeled_weight * weight))
        return parts, rates

    def _supervised(self, output: MethodOutput, mask: jax.Array) -> list[_Part]:
        """The losses of every prediction of the labeled images."""
        logits, total_weight = output.labeled_logits, output.labeled_weight * self.supervised.weight
        return [
            _Part("loss_supervised", ratio, total_weight, factor=weight)
            for prediction in jnp.split(logits, logits.shape[0] // mask.shape[0])
            for weight, ratio in self.supervised.parts(prediction, mask, self._axis)
        ]

    def _term(
        self,
        term: ConsistencyTerm,
        unlabeled_weight: jax.Array,
        strengths: list[jax.Array],
        step: jax.Array,
    ) -> tuple[list[_Part], dict[str, Ratio]]:
        student, teacher, valid = term.student_logits, term.teacher_logits, term.valid
        keep = self.threshold.keep(term, step, self._axis)
        rates = pseudo_label_statistics(student, teacher, valid, keep)
        # FixMatch divides by valid pixels, not by confident ones: while the teacher is unsure of
        # most of them, the loss is small.
        weight, counted = keep, valid.astype(jnp.float32)
        if term.keep is not None:
            weight = counted = term.keep
        elif term.distance in SOFT:
            weight = counted

        def pseudo(logits: jax.Array) -> Ratio:
            total = consistency_loss(logits, teacher, weight, term.distance)
            return total, jnp.sum(counted)

        ratio, squares = self._measured(pseudo, student)
        parts = [
            _Part("loss_pseudo", ratio, unlabeled_weight, term.weight, squares=squares, place=0)
        ]
        for place, (relation, strength) in enumerate(
            zip(self.relations, strengths, strict=True), start=1
        ):

            def related(logits: jax.Array, relation: WeightedRelation = relation) -> Ratio:
                return relation(term.replace(student_logits=logits), keep)

            if relation.balance == "gradient":
                ratio, squares = self._measured(related, student)
            else:
                ratio, squares = related(student), None
            parts.append(
                _Part(
                    relation.label, ratio, unlabeled_weight, term.weight, strength, squares, place
                )
            )
        return parts, rates

    def _measured(
        self, loss: Callable[[jax.Array], Ratio], logits: jax.Array
    ) -> tuple[Ratio, jax.Array | None]:
        """A loss, and the squares of its gradient if relations are weighted by gradients."""
        return with_gradient(loss, logits) if self.balanced else (loss(logits), None)
