"""The training loss: L = L_sup + Σ wₖ · (L_pseudo(termₖ) + λ · L_relation(termₖ))."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.losses import (
    RELATIONS,
    cross_entropy,
    pseudo_label_loss,
    pseudo_label_statistics,
    relation_loss,
)
from ipixmatch_jax.methods import ConsistencyTerm, MethodOutput

DATA_AXIS = "data"

# A loss or a rate as numerator and denominator: sums over pixels or images, so that devices add up.
Ratio = tuple[jax.Array, jax.Array]


@dataclasses.dataclass(frozen=True)
class Objective:
    """Weights and thresholds of the loss; the keys of `config.method` and `config.relation`.

    Attributes:
        confidence: pseudo-labels of at least this probability count.
        unlabeled_weight: weight of all consistency terms after the ramp.
        ramp_start, ramp_steps: the weight is 0 before step `ramp_start` and grows linearly over the
            next `ramp_steps`.
        relation, distance: the relation loss; relation `none` leaves it out.
        relation_weight: λ.
        temperature: of the relation's softmax.
        region: pixels that the relation sees: `confident` (and valid) ones, or all `valid` ones.
        min_pixels: images with fewer such pixels have no relation loss.
        normalize: `global` divides by pixel counts over all devices, `per_device` averages each
            device's own mean, as PyTorch DDP code does.
    """

    confidence: float = 0.95
    unlabeled_weight: float = 1.0
    ramp_start: int = 0
    ramp_steps: int = 0
    relation: str = "none"
    distance: str = "kl"
    relation_weight: float = 1.0
    temperature: float = 1.0
    region: str = "confident"
    min_pixels: int = 2
    normalize: str = "global"

    def __post_init__(self):
        if self.relation != "none":
            RELATIONS[f"{self.relation}/{self.distance}"]
        choices = {"region": ("confident", "valid"), "normalize": ("global", "per_device")}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}; expected {' or '.join(known)}"
                )

    def ramp(self, step: jax.Array) -> jax.Array:
        """Weight of the consistency terms at a step, float32 scalar."""
        progress = (step.astype(jnp.float32) - self.ramp_start + 1.0) / (self.ramp_steps + 1.0)
        return self.unlabeled_weight * jnp.clip(progress, 0.0, 1.0)

    def __call__(
        self, output: MethodOutput, labeled: dict[str, jax.Array], step: jax.Array
    ) -> tuple[jax.Array, dict[str, Any]]:
        """This device's share of the loss (shares add up over devices), and metrics.

        Args:
            output: of the method.
            labeled: the labeled part of the batch, with `mask` uint8 [B, H, W].
            step: int32 scalar.

        Returns:
            The share, float32, and a dict of metrics: shares to add up over devices (`loss…`), and
            ratios to divide after adding up numerators and denominators.
        """
        mask = labeled["mask"].astype(jnp.int32)
        supervised = self._share(cross_entropy(output.labeled_logits, mask))
        metrics: dict[str, Any] = {"loss_supervised": supervised}
        unlabeled_weight = self.ramp(step)
        loss = supervised
        for term in output.terms:
            pseudo, relation, statistics = self._term(term)
            loss = loss + unlabeled_weight * term.weight * (
                pseudo + self.relation_weight * relation
            )
            parts = {"loss_pseudo": pseudo * term.weight, "loss_relation": relation * term.weight}
            # Several terms: loss parts add up, numerators and denominators of rates too.
            for name, value in {**parts, **statistics}.items():
                seen = metrics.get(name)
                metrics[name] = value if seen is None else jax.tree.map(jnp.add, seen, value)
        metrics["loss"] = loss
        return loss, metrics

    def _term(self, term: ConsistencyTerm) -> tuple[jax.Array, jax.Array, dict[str, Ratio]]:
        student, teacher, valid = term.student_logits, term.teacher_logits, term.valid
        total, count, keep = pseudo_label_loss(student, teacher, valid, confidence=self.confidence)
        statistics = pseudo_label_statistics(student, teacher, valid, keep)
        relation = jnp.zeros((), jnp.float32)
        if self.relation != "none":
            region = keep if self.region == "confident" else valid.astype(jnp.float32)
            relation = self._share(
                relation_loss(
                    student,
                    teacher,
                    region,
                    relation=self.relation,
                    distance=self.distance,
                    temperature=self.temperature,
                    min_pixels=self.min_pixels,
                )
            )
        return self._share((total, count)), relation, statistics

    def _share(self, ratio: Ratio) -> jax.Array:
        total, count = ratio
        count = jax.lax.stop_gradient(count)
        if self.normalize == "global":
            return total / jnp.maximum(jax.lax.psum(count, DATA_AXIS), 1.0)
        return total / jnp.maximum(count, 1.0) / jax.lax.psum(1.0, DATA_AXIS)
