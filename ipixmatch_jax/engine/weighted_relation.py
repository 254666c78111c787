"""A relation loss of a run with its weight, its pixels and its ramp."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.losses import relation_loss, relation_options
from ipixmatch_jax.methods import ConsistencyTerm

RAMPS = ("none", "linear", "sigmoid")
BALANCES = ("none", "gradient")


def ramp_up(step: jax.Array, start: int, steps: int, kind: str = "linear") -> jax.Array:
    """A factor that grows from 0 before step `start` to 1 at step `start + steps`.

    Args:
        step: int scalar.
        start, steps: whole numbers.
        kind: `linear`; `sigmoid`, exp(−5(1 − t)²) of the linear t in (0, 1] (Laine and Aila, arXiv
            1610.02242); `none` is 1 at every step.

    Returns:
        float32 scalar in [0, 1].
    """
    if kind == "none":
        return jnp.ones((), jnp.float32)
    progress = jnp.clip((step.astype(jnp.float32) - start + 1.0) / (steps + 1.0), 0.0, 1.0)
    if kind == "linear":
        return progress
    return jnp.where(progress > 0, jnp.exp(-5.0 * (1.0 - progress) ** 2), 0.0)


@dataclasses.dataclass(frozen=True)
class WeightedRelation:
    """One inter-pixel relation loss; the keys of `config.relation`.

    Attributes:
        name, distance: the relation loss.
        weight: λ, after the ramp; or see `balance`.
        balance: `none`: λ is `weight`. `gradient`: λ is set in every step, so that the relation's
            gradient with respect to the student's logits has `weight` times the norm of the
            pseudo-label loss's (see `Objective.strengths`).
        temperature: temperature of the relation's softmax.
        region: the pixels that the relation compares: `confident` and valid ones, or all `valid`.
        min_pixels: images with fewer such pixels have no relation loss.
        ramp, ramp_start, ramp_steps: the ramp of λ, see `ramp_up`; it multiplies the ramp of all
            consistency terms.
        features: the model's feature map that is compared when the option `on` is 'features'.
        options: of the relation, as `inter_pixel_loss` says.
    """

    name: str
    distance: str
    weight: float = 1.0
    balance: str = "none"
    temperature: float = 1.0
    region: str = "confident"
    min_pixels: int = 2
    ramp: str = "none"
    ramp_start: int = 0
    ramp_steps: int = 0
    features: str = "decoder"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        relation_options(
            self.name, self.distance, {"temperature": self.temperature, **self.options}
        )
        choices = {"region": ("confident", "valid"), "ramp": RAMPS, "balance": BALANCES}
        for key, known in choices.items():
            if getattr(self, key) not in known:
                raise ConfigError(
                    f"relation.{key} is {getattr(self, key)!r}; expected {' or '.join(known)}"
                )
        if self.balance == "gradient" and self.feature_map:
            raise ConfigError(
                "relation.balance='gradient' compares gradients with respect to the logits; with "
                "relation.on='features' there are none. Set relation.balance='none'"
            )
        if self.ramp == "none" and (self.ramp_start or self.ramp_steps):
            raise ConfigError(
                "relation.ramp_start and relation.ramp_steps need relation.ramp='linear' or "
                "'sigmoid'; it is 'none'"
            )

    @property
    def feature_map(self) -> str | None:
        """The feature map that this relation needs, or None when it compares probabilities."""
        return self.features if self.options.get("on") == "features" else None

    @property
    def label(self) -> str:
        """The name of this loss in the metrics."""
        label = f"relation/{self.name}/{self.distance}"
        return f"{label}/{self.feature_map}" if self.feature_map else label

    def weight_at(self, step: jax.Array) -> jax.Array:
        """`weight` at a step, after the ramp, float32 scalar."""
        return self.weight * ramp_up(step, self.ramp_start, self.ramp_steps, self.ramp)

    def __call__(self, term: ConsistencyTerm, keep: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Sum over images, and how many they are, as `relation_loss`; keep [B,H,W] float32."""
        student, teacher = term.student_logits, term.teacher_logits
        if self.region == "valid":
            keep = term.valid.astype(jnp.float32)
        if self.feature_map:
            student = term.student_features[self.feature_map]
            teacher = term.teacher_features[self.feature_map]
            # A feature's weight is the share of its pixels that are kept.
            keep = jax.image.resize(keep, student.shape[:3], "linear", antialias=True)
        return relation_loss(
            student,
            teacher,
            keep,
            relation=self.name,
            distance=self.distance,
            temperature=self.temperature,
            min_pixels=self.min_pixels,
            **self.options,
        )
