"""The training loss: L = L_sup + w · Σ wₖ · (L_pseudo(termₖ) + Σ λᵣ · L_r(termₖ))."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from ipixmatch_jax.engine.relations import WeightedRelation, ramp_up
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.losses import cross_entropy, pseudo_label_loss, pseudo_label_statistics
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
        relations: the relation losses; none gives the bare method.
        normalize: `global` divides by pixel counts over all devices, `per_device` averages each
            device's own mean, as PyTorch DDP code does.
    """

    confidence: float = 0.95
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
                raise ConfigError(f"{label} is there twice; give it once, with the summed weight")

    @property
    def feature_maps(self) -> tuple[str, ...]:
        """The feature maps that the relations compare."""
        names = {relation.feature_map for relation in self.relations}
        return tuple(sorted(name for name in names if name))

    def ramp(self, step: jax.Array) -> jax.Array:
        """Weight of the consistency terms at a step, float32 scalar."""
        return self.unlabeled_weight * ramp_up(step, self.ramp_start, self.ramp_steps)

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
            ratios to divide after adding up numerators and denominators. `loss_relation` is the
            weighted sum of the relation losses, and each one is there by its own name, unweighted.
        """
        mask = labeled["mask"].astype(jnp.int32)
        supervised = self._share(cross_entropy(output.labeled_logits, mask))
        metrics: dict[str, Any] = {"loss_supervised": supervised}
        unlabeled_weight = self.ramp(step)
        loss = supervised
        for term in output.terms:
            parts, rates = self._term(term, step)
            loss = loss + unlabeled_weight * (parts["loss_pseudo"] + parts["loss_relation"])
            # Several terms: loss parts add up, numerators and denominators of rates too.
            for name, value in {**parts, **rates}.items():
                seen = metrics.get(name)
                metrics[name] = value if seen is None else jax.tree.map(jnp.add, seen, value)
        metrics["loss"] = loss
        return loss, metrics

    def _term(
        self, term: ConsistencyTerm, step: jax.Array
    ) -> tuple[dict[str, jax.Array], dict[str, Ratio]]:
        student, teacher, valid = term.student_logits, term.teacher_logits, term.valid
        total, count, keep = pseudo_label_loss(student, teacher, valid, confidence=self.confidence)
        rates = pseudo_label_statistics(student, teacher, valid, keep)
        parts = {
            "loss_pseudo": term.weight * self._share((total, count)),
            "loss_relation": jnp.zeros((), jnp.float32),
        }
        for relation in self.relations:
            value = term.weight * self._share(relation(term, keep))
            parts[relation.label] = value
            parts["loss_relation"] += relation.weight_at(step) * value
        return parts, rates

    def _share(self, ratio: Ratio) -> jax.Array:
        total, count = ratio
        count = jax.lax.stop_gradient(count)
        if self.normalize == "global":
            return total / jnp.maximum(jax.lax.psum(count, DATA_AXIS), 1.0)
        return total / jnp.maximum(count, 1.0) / jax.lax.psum(1.0, DATA_AXIS)
