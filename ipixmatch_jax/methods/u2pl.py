"""Unreliable pixels as negatives, in the manner of U2PL."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.losses import Ratio, pixel_entropy
from ipixmatch_jax.methods.base import (
    METHODS,
    Batch,
    ConsistencyTerm,
    MethodOutput,
    Network,
    concatenated,
    option,
)
from ipixmatch_jax.methods.grid import grid_points, grid_values, unit
from ipixmatch_jax.methods.one_strong_view import OneStrongView
from ipixmatch_jax.methods.view_passes import labeler
from ipixmatch_jax.views import Views


@METHODS.register("u2pl")
@dataclasses.dataclass(frozen=True)
class U2PL(OneStrongView):
    """Pseudo-labels by entropy, and a contrast with unreliable pixels (arXiv 2203.03884).

    Pixels whose entropy lies in the highest share α of the batch get no pseudo-label; α falls from
    `drop` to 0 over the run, and the loss is a mean over the pixels that are left. The entropy is
    that of the labeler's prediction of the images that the student sees, labeled and mixed, under
    the batch's own statistics; the labels are those of the unmixed weak views, as in `FixMatch`.

    The contrast compares points of a grid of decoder features, of unit length, in labeled and
    unlabeled images. A point is of class c by its label, or by a reliable pseudo-label. Points to
    which the labeler gives c a probability of `sure` are drawn to the mean of the class
    as the labeler sees it, and pushed from the class's negatives,
    L_c = −log(e^{f·g/τ} / (e^{f·g/τ} + negatives·mean e^{f·f⁻/τ})), a mean over points, then over
    classes. Negatives of c are unreliable points where c is neither among the `rank_low` likeliest
    classes nor beyond `rank_high`, and points with another label where c is among the `rank_low`
    likeliest.

    Deviations from the source: no representation head and no memory bank (the model and the
    state stay as they are), all points of the grid in place of random samples, statistics of each
    device's own batch. Its negatives follow the paper; the source's code takes those with a
    (pseudo-)label of c only. The source takes anchors from the share α of lowest entropy, here
    all reliable pixels can be anchors, as in the paper; it multiplies the mean over kept pixels by
    all pixels over kept ones, at most 1/(1 − `drop`); and it mixes all images of a batch or none,
    without changes of color. The recipes switch the latter off and take `norm_groups='joint'`, as
    the source. Passes as in `FixMatch`, and B + U more forward of the labeler.

    Attributes:
        confidence: of the pixels that relations see; the pseudo-labels are chosen by entropy.
        drop: α at the first step.
        contrast_weight: weight of the contrastive loss.
        sure: anchors are points whose class has at least this probability.
        rank_low, rank_high: ranks of a class, from 0 on, at which a point is its negative.
        negatives: how many the mean of the negatives counts for.
        temperature: τ.
        grid: points a side, at most, of the grid of the contrast; memory grows with its 4th power
            and with the square of the images of a device.
        others: as in `OneStrongView`.
    """

    confidence: float = 0.0
    drop: float = option(0.2, least=0, most=1)
    contrast_weight: float = option(1.0, least=0)
    sure: float = option(0.3, least=0, most=1)
    rank_low: int = option(3, least=0)
    rank_high: int = option(20, least=1)
    negatives: int = option(50, least=1)
    temperature: float = option(0.5, above=0)
    grid: int = option(16, least=1)

    def __post_init__(self):
        super().__post_init__()
        if self.rank_low >= self.rank_high:
            raise ConfigError(
                f"method.options.rank_low is {self.rank_low} and rank_high {self.rank_high}; "
                "expected rank_low < rank_high"
            )

    def passes(
        self, student: Network, teacher: Network, views: Views, batch: Batch
    ) -> MethodOutput:
        images = self.training_images(views, batch)
        seen, batch_stats, term_of = self.strong_pass(
            student, teacher, views, batch, "decoder", images=images
        )
        term = term_of(seen["strong"])
        network = labeler(self, student, teacher).replace(feature_maps=("decoder",))
        same = network.predict(jnp.concatenate([images["labeled"], images["strong"]]), "train")

        reliable = self._reliable(
            same.logits[len(images["labeled"]) :], term.valid, student.progress
        )
        both = concatenated(*(seen[name].features["decoder"] for name in ("labeled", "strong")))
        points = self._points(
            batch["labeled"]["mask"], term, reliable, both.shape[1:3], same.logits
        )
        contrast = self._contrast(both, same.features["decoder"], points)
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

    def _points(
        self,
        mask: jax.Array,
        term: ConsistencyTerm,
        reliable: jax.Array,
        features: tuple[int, int],
        logits: jax.Array,
    ) -> "_Points":
        """The points of the grid, first those of the labeled images.

        Args:
            mask: [B,H,W], labels of the labeled images.
            term: the labels of the mixed images.
            reliable: bool [U,H,W].
            features: height and width of the feature maps.
            logits: [B+U,H,W,C], the labeler's prediction of what the student sees.
        """
        size, classes = tuple(min(n, self.grid) for n in features), logits.shape[-1]

        def values(x: jax.Array) -> jax.Array:
            return grid_values(x, size).reshape(-1)

        truth = jnp.where(mask < classes, mask.astype(jnp.int32), -1)
        pseudo = jnp.argmax(term.teacher_logits, axis=-1).astype(jnp.int32)
        given, reliably = values(truth), values(jnp.where(reliable, pseudo, -1))
        unreliable = values(term.valid & ~reliable)

        is_class = jax.nn.one_hot(jnp.concatenate([given, reliably]), classes, dtype=bool)
        probs = jax.nn.softmax(grid_points(logits, size)).reshape(-1, classes)
        ranks = jnp.argsort(jnp.argsort(-probs, axis=-1), axis=-1)
        # With few classes the ranks that the source asks for do not exist.
        low = min(self.rank_low, classes - 1)
        confused = (given >= 0)[:, None] & ~is_class[: len(given)] & (ranks[: len(given)] < low)
        ranks = ranks[len(given) :]
        unlikely = unreliable[:, None] & (ranks >= low) & (ranks < self.rank_high)
        negative = jnp.concatenate([confused, unlikely])
        return _Points(size, is_class, is_class & (probs >= self.sure), negative)

    def _contrast(self, student: jax.Array, teacher: jax.Array, points: "_Points") -> Ratio:
        """Sum over classes of the mean loss of their anchors, and the number of classes.

        Args:
            student, teacher: [B+U,h,w,·], feature maps.
            points: the points of the grid.
        """
        query, key = (
            unit(grid_points(x, points.size).reshape(-1, x.shape[-1])) for x in (student, teacher)
        )
        anchor, negative, is_class = (
            x.astype(jnp.float32) for x in (points.anchor, points.negative, points.is_class)
        )
        centers = unit(jnp.einsum("nc,nd->cd", is_class, key))
        positive = jnp.einsum("nd,cd->nc", query, centers) / self.temperature
        exp = jnp.exp(jnp.einsum("nd,md->nm", query, key) / self.temperature)
        negatives, anchors = (jnp.sum(x, axis=0) for x in (negative, anchor))
        mean = negative / jnp.maximum(negatives, 1.0)[None]
        pushed = self.negatives * jnp.einsum("nm,mc->nc", exp, mean)
        losses = jnp.logaddexp(positive, jnp.log(pushed + 1e-12)) - positive
        of_class = jnp.sum(losses * anchor, axis=0) / jnp.maximum(anchors, 1.0)
        used = (anchors > 0) & (negatives > 0)
        return jnp.sum(jnp.where(used, of_class, 0.0)), jnp.sum(used, dtype=jnp.float32)


class _Points(NamedTuple):
    """The n points of a grid: its size, and bool [n,C] each."""

    size: tuple[int, int]
    is_class: jax.Array
    anchor: jax.Array
    negative: jax.Array
