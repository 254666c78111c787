"""Correlation propagation in the manner of CorrMatch, with static shapes."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from ipixmatch_jax.methods.base import METHODS, Batch, MethodOutput, Network, Prediction
from ipixmatch_jax.methods.passes import Pairs, check_choices, labeler, train_passes
from ipixmatch_jax.models.layers import resize_logits
from ipixmatch_jax.views import Views

NORM_GROUPS = {
    "separate": (("labeled",), ("strong",)),
    "joint": (("labeled", "strong"),),
}


@METHODS.register("corrmatch")
@dataclasses.dataclass(frozen=True)
class CorrMatch:
    """Labels that spread along the correlation of features (Sun et al., arXiv 2306.04300).

    Beside FixMatch's loss, the student's prediction is propagated over a grid of the decoder's
    features: p'ᵢ = Σⱼ softmax_j(fᵢ·fⱼ/τ)·pⱼ with unit vectors f, and p' is trained by the same
    pseudo-labels (and, on labeled images, by the labels). A third term is the soft KL of the strong
    view, its target mixed by the box as a map. L = L_sup/2 + L_corr_sup/2 + (L_hard + L_KL +
    L_corr)/3·w, w `method.unlabeled_weight`.

    What is left out of the source: its extra projections (a method here leaves the model as it is),
    and the growing of pseudo-labels by connected regions, whose shapes depend on the data. Its
    moving threshold is `threshold='class_adaptive'`, without memory. Passes as in `FixMatch`.

    Attributes:
        confidence, labeler, label_norm, mix, norm_groups, running_statistics: as in `FixMatch`.
        grid: points a side, at most, of the grid that is correlated; memory grows with grid⁴.
        temperature: τ.
    """

    confidence: float = 0.95
    labeler: str = "student"
    label_norm: str = "eval"
    mix: str = "stream"
    norm_groups: str = "separate"
    running_statistics: str = "labeled"
    grid: int = 32
    temperature: float = 0.1

    uses_unlabeled: ClassVar[bool] = True
    networks: ClassVar[int] = 1

    def __post_init__(self):
        check_choices(self, tuple(NORM_GROUPS))

    def __call__(
        self, student: Network, teacher: Network, views: Views, batch: Batch
    ) -> MethodOutput:
        pairs = Pairs(views, batch, self.mix)
        box = pairs.box()
        own, partner = pairs.labels(labeler(self, student, teacher), self.label_norm)
        images = {"labeled": views.weak(batch["labeled"]["image"]), "strong": pairs.mixed(box)}
        seeing = student.replace(feature_maps=tuple({*student.feature_maps, "decoder"}))
        seen, batch_stats = train_passes(
            seeing, images, NORM_GROUPS[self.norm_groups], self.running_statistics
        )
        spread = {name: self._propagated(seen[name]) for name in ("labeled", "strong")}
        third = 1.0 / 3.0
        terms = (
            pairs.term(box, seen["strong"], own, partner, third),
            pairs.term(box, seen["strong"], own, partner, third, distance="kl"),
            pairs.term(box, spread["strong"], own, partner, third),
        )
        labeled = jnp.concatenate([seen["labeled"].logits, spread["labeled"].logits])
        return MethodOutput(labeled, terms, batch_stats, labeled_weight=0.5)

    def _propagated(self, prediction: Prediction) -> Prediction:
        """The prediction after one step along the correlation of its decoder features."""
        features = prediction.features["decoder"].astype(jnp.float32)
        batch, height, width = prediction.logits.shape[:3]
        rows, columns = (min(n, self.grid) for n in features.shape[1:3])
        features = _at_grid(features, (rows, columns))
        probs = jax.nn.softmax(_at_grid(prediction.logits.astype(jnp.float32), (rows, columns)))
        square = jnp.sum(features**2, axis=-1, keepdims=True)
        features = features * jax.lax.rsqrt(jnp.maximum(square, 1e-12))
        similarity = jnp.einsum("bic,bjc->bij", features, features) / self.temperature
        spread = jnp.einsum("bij,bjc->bic", jax.nn.softmax(similarity), probs)
        logits = jnp.log(jnp.maximum(spread, 1e-8)).reshape(batch, rows, columns, -1)
        return prediction.replace(logits=resize_logits(logits, (height, width)))


def _at_grid(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """[B,H,W,C] -> [B,rows·columns,C], averaged where it is coarser."""
    shape = (x.shape[0], *size, x.shape[-1])
    if x.shape != shape:
        x = jax.image.resize(x, shape, "linear", antialias=True)
    return x.reshape(x.shape[0], -1, x.shape[-1])
