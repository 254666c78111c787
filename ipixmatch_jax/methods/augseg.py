"""AugSeg: simple but strong augmentations, with labels injected where the teacher is unsure."""

import dataclasses

import jax
import jax.numpy as jnp

from ipixmatch_jax.losses import pixel_entropy
from ipixmatch_jax.methods.base import (
    METHODS,
    Batch,
    ConsistencyTerm,
    MethodOutput,
    Network,
    Prediction,
)
from ipixmatch_jax.methods.cutmix_pairs import Pairs, flipped, paste_prediction
from ipixmatch_jax.methods.one_strong_view import OneStrongView
from ipixmatch_jax.methods.view_passes import labeler, train_passes
from ipixmatch_jax.views import Views, paste

# Logit of the true class, of 0 for the others: certain, and finite.
CERTAIN = 30.0


@METHODS.register("augseg")
@dataclasses.dataclass(frozen=True)
class AugSeg(OneStrongView):
    """AugSeg (Zhao et al., CVPR 2023, arXiv 2212.04976): L = L_sup + L_unsup.

    The strong view of an unlabeled image goes through one to three intensity operations drawn from
    a list (`views.intensity`). With a probability of 1 − s, s the teacher's confidence in it (mean
    of max p·(1 − H/log C) over valid pixels), a box of a labeled image, in its strong view and with
    its labels, is pasted first; then a box of its CutMix partner. The unlabeled loss is a mean over
    valid pixels. Passes, of B labeled and U unlabeled images: student forward and backward B + U,
    labeler forward 2·U (U with `mix='flip'`).

    Deviations: boxes are placed uniformly wherever they fit, the source lets them stick out and
    cuts them off; labeled partners follow the order of the batch, image i gets labeled image
    i mod B.

    Attributes:
        confidence: pseudo-labels of at least this probability count; 0 for all (Cityscapes).
        labeled_beta: law of the labeled box's complement, Beta(a, b): the box's area is 1 − λ.
        unlabeled_beta: likewise of the partner's box.
        others: as in `OneStrongView`.
    """

    labeled_beta: tuple[float, float] = (8.0, 2.0)
    unlabeled_beta: tuple[float, float] = (4.0, 4.0)

    def __call__(
        self, student: Network, teacher: Network, views: Views, batch: Batch
    ) -> MethodOutput:
        pairs = Pairs(views, batch, self.mix)
        own, partner = pairs.labels(labeler(self, student, teacher), self.label_norm)
        unlabeled, labeled = batch["unlabeled"], batch["labeled"]
        sides = unlabeled["image"].shape[1:3]

        image, prediction, valid = self._with_labels(views, batch, own)
        box = views.beta_box(unlabeled["key"], *sides, self.unlabeled_beta, view=1)
        if self.mix == "flip":
            other, other_valid, partner = flipped((image, valid, prediction))
        else:
            other = views.intensity(batch["mix"]["image"], batch["mix"]["key"])
            other_valid = batch["mix"]["valid"]
        images = {
            "labeled": views.weak(labeled["image"]),
            "strong": paste(box, other, image),
        }
        seen, batch_stats = train_passes(
            student, images, self.groups_by_name[self.norm_groups], self.running_statistics
        )
        target = paste_prediction(box, partner, prediction)
        term = ConsistencyTerm(
            student_logits=seen["strong"].logits,
            teacher_logits=target.logits,
            valid=paste(box, other_valid, valid),
            student_features=seen["strong"].features,
            teacher_features=target.features,
        )
        return MethodOutput(seen["labeled"].logits, (term,), batch_stats)

    def _with_labels(
        self, views: Views, batch: Batch, own: Prediction
    ) -> tuple[jax.Array, Prediction, jax.Array]:
        """Strong views, predictions and valid maps with boxes of labeled images in unsure ones."""
        unlabeled = batch["unlabeled"]
        count, *sides = unlabeled["image"].shape[:3]
        order = jnp.arange(count) % len(batch["labeled"]["image"])
        labeled = {key: value[order] for key, value in batch["labeled"].items()}
        unsure = views.chance(unlabeled["key"]) > certainty(own.logits, unlabeled["valid"])
        box = views.beta_box(unlabeled["key"], *sides, self.labeled_beta, view=0)
        box = box & unsure[:, None, None]
        strong = paste(
            box,
            views.intensity(labeled["image"], labeled["key"]),
            views.intensity(unlabeled["image"], unlabeled["key"]),
        )
        known = labeled["mask"] < own.logits.shape[-1]
        truth = CERTAIN * jax.nn.one_hot(labeled["mask"], own.logits.shape[-1], dtype=jnp.float32)
        logits = paste(box, truth, own.logits.astype(jnp.float32))
        # Labels have no feature map; the teacher's own stands in, of what the box covers.
        valid = paste(box, known, unlabeled["valid"])
        return strong, Prediction(logits, own.features), valid


def certainty(logits: jax.Array, valid: jax.Array) -> jax.Array:
    """Mean over valid pixels of max p·(1 − H(p)/log C): [B,H,W,C], bool [B,H,W] -> [B] float32."""
    entropy = pixel_entropy(logits) / jnp.log(float(logits.shape[-1]))
    confidence = jnp.max(jax.nn.softmax(logits.astype(jnp.float32)), axis=-1)
    sure = confidence * (1.0 - entropy)
    pixels = jnp.sum(valid, axis=(1, 2), dtype=jnp.float32)
    return jnp.sum(jnp.where(valid, sure, 0.0), axis=(1, 2)) / jnp.maximum(pixels, 1.0)
