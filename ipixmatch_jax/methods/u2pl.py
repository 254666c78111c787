"""Unreliable pixels as negatives, in the manner of U2PL."""

import dataclasses

import jax
import jax.numpy as jnp

from ipixmatch_jax.losses import Ratio, pixel_entropy
from ipixmatch_jax.methods.base import METHODS, Batch, MethodOutput, Network, Prediction
from ipixmatch_jax.methods.grid import grid_points, unit
from ipixmatch_jax.methods.one_strong_view import OneStrongView
from ipixmatch_jax.views import Views


@METHODS.register("u2pl")
@dataclasses.dataclass(frozen=True)
class U2PL(OneStrongView):
    """Pseudo-labels by entropy, and a contrast with unreliable pixels (arXiv 2203.03884).

    Pixels whose entropy lies in the highest share α of the batch get no pseudo-label; α falls from
    `drop` to 0 over the run, and the loss is a mean over the pixels that are left. They serve as
    negatives instead: for class c, those where c is neither among the `rank_low` likeliest classes
    nor beyond `rank_high`. On a grid of decoder features, of unit length: every pixel that is
    surely of class c is drawn to the mean of such pixels, as the teacher sees them, and pushed from
    c's negatives, L_c = −log(e^{f·g/τ} / (e^{f·g/τ} + negatives·mean e^{f·f⁻/τ})).

    Deviations from the source: no representation head and no memory bank (the model and the
    state stay as they are), all pixels of the grid in place of random samples, statistics of each
    device's own batch. Passes as in `FixMatch`.

    Attributes:
        confidence: of the pixels that relations see; the pseudo-labels are chosen by entropy.
        drop: α at the first step.
        contrast_weight: of the contrastive loss.
        sure: anchors are pixels whose class has at least this probability.
        rank_low, rank_high: ranks of a class, from 0 on, at which a pixel is its negative.
        negatives: how many the mean of the negatives counts for.
        temperature: τ.
        grid: points a side, at most, of the grid of the contrast.
        others: as in `OneStrongView`.
    """

    confidence: float = 0.0
    drop: float = 0.2
    contrast_weight: float = 0.1
    sure: float = 0.3
    rank_low: int = 3
    rank_high: int = 20
    negatives: int = 50
    temperature: float = 0.5
    grid: int = 24

    def __call__(
        self, student: Network, teacher: Network, views: Views, batch: Batch
    ) -> MethodOutput:
        seen, batch_stats, term_of = self.strong_pass(student, teacher, views, batch, "decoder")
        term = term_of(seen["strong"])
        target = Prediction(term.teacher_logits, term.teacher_features)
        reliable = self._reliable(target.logits, term.valid, student.progress)
        contrast = self._contrast(seen["strong"], target, reliable, term.valid)
        return MethodOutput(
            seen["labeled"].logits,
            (term.replace(keep=reliable.astype(jnp.float32)),),
            batch_stats,
            extra={"contrast": (self.contrast_weight, contrast)},
        )

    def _reliable(self, logits: jax.Array, valid: jax.Array, progress: jax.Array) -> jax.Array:
        """Valid pixels except those of highest entropy, [B,H,W] bool."""
        entropy = pixel_entropy(logits)
        share = 1.0 - self.drop * (1.0 - jnp.clip(progress, 0.0, 1.0))
        limit = jnp.nanquantile(jnp.where(valid, entropy, jnp.nan), share)
        return valid & (entropy <= limit)

    def _contrast(
        self, student: Prediction, teacher: Prediction, reliable: jax.Array, valid: jax.Array
    ) -> Ratio:
        """Sum of the contrastive losses of the anchors, and how many they are."""
        size = tuple(min(n, self.grid) for n in student.features["decoder"].shape[1:3])

        def points(x: jax.Array) -> jax.Array:
            return grid_points(x, size).reshape(-1, x.shape[-1])

        query, key = (unit(points(x.features["decoder"])) for x in (student, teacher))
        probs = jax.nn.softmax(points(teacher.logits))
        of_reliable = points(reliable[..., None])[:, 0] > 0.5
        counted = points(valid[..., None])[:, 0] > 0.99
        classes = probs.shape[-1]
        label = jnp.argmax(probs, axis=-1)
        is_class = jax.nn.one_hot(label, classes)
        sure = of_reliable & counted & (jnp.max(probs, axis=-1) >= self.sure)
        anchor = jnp.where(sure[:, None], is_class, 0.0)
        ranks = jnp.argsort(jnp.argsort(-probs, axis=-1), axis=-1)
        # With few classes the ranks that the source asks for do not exist.
        low = min(self.rank_low, classes - 1)
        negative = (ranks >= low) & (ranks < self.rank_high) & (~of_reliable & counted)[:, None]
        negative = negative.astype(jnp.float32)

        centers = unit(jnp.einsum("nc,nd->cd", anchor, key))
        positive = jnp.einsum("nd,cd->nc", query, centers) / self.temperature
        exp = jnp.exp(jnp.einsum("nd,md->nm", query, key) / self.temperature)
        count = jnp.maximum(jnp.sum(negative, axis=0, keepdims=True), 1.0)
        pushed = self.negatives * jnp.einsum("nm,mc->nc", exp, negative / count)
        losses = jnp.logaddexp(positive, jnp.log(pushed + 1e-12)) - positive
        used = jnp.where(jnp.sum(negative, axis=0, keepdims=True) > 0, anchor, 0.0)
        return jnp.sum(losses * used), jnp.sum(used)
