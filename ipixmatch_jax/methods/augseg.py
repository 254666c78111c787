"""AugSeg: simple but strong augmentations, with labels injected where the teacher is unsure."""

import dataclasses
from collections.abc import Mapping

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
    option,
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
    a list (`views.intensity`), and gets a box of its CutMix partner. Into the partner, before that,
    a box of a labeled image with its labels is pasted, in its weak view, with a probability of
    1 − s, s the teacher's confidence in the partner (mean of max p·(1 − H/log C) over valid
    pixels). The unlabeled loss is a mean over valid pixels. Passes, of B labeled and U unlabeled
    images: student forward and backward B + U, labeler forward 2·U (U with `mix='flip'`).

    Deviations: boxes are placed uniformly wherever they fit, the source lets them stick out and
    cuts them off; labeled partners follow the order of the batch, image i gets labeled image
    i mod B; λ is drawn for each image, the source draws one per batch. `norm_groups='joint'` is the
    source's, as in the recipes.

    Attributes:
        confidence: pseudo-labels of at least this probability count; 0 for all (Cityscapes).
        labeled_beta: law of the labeled box's complement, Beta(a, b): the box's area is 1 − λ.
        unlabeled_beta: likewise of the partner's box.
        others: as in `OneStrongView`.
    """

    labeled_beta: tuple[float, float] = option((8.0, 2.0), length=2, above=0)
    unlabeled_beta: tuple[float, float] = option((4.0, 4.0), length=2, above=0)

    def passes(
        self, student: Network, teacher: Network, views: Views, batch: Batch
    ) -> MethodOutput:
        pairs = Pairs(views, batch, self.mix)
        own, partner = pairs.labels(labeler(self, student, teacher), self.label_norm)
        unlabeled, labeled = batch["unlabeled"], batch["labeled"]
        sides = unlabeled["image"].shape[1:3]

        image = views.intensity(unlabeled["image"], unlabeled["key"])
        box = views.beta_box(unlabeled["key"], *sides, self.unlabeled_beta, view=1)
        if self.mix == "flip":
            clean = (image, own, unlabeled["valid"])
            injected = flipped(self._with_labels(views, labeled, unlabeled["key"], *clean))
        else:
            records = batch["mix"]
            clean = (views.intensity(records["image"], records["key"]), partner, records["valid"])
            injected = self._with_labels(views, labeled, records["key"], *clean)
        other, other_labels, other_valid = injected
        images = {
            "labeled": views.weak(labeled["image"]),
            "strong": paste(box, other, image),
        }
        seen, batch_stats = train_passes(
            student, images, self.groups_by_name[self.norm_groups], self.running_statistics
        )
        own = Prediction(own.logits.astype(jnp.float32), own.features)
        target = paste_prediction(box, other_labels, own)
        term = ConsistencyTerm(
            student_logits=seen["strong"].logits,
            teacher_logits=target.logits,
            valid=paste(box, other_valid, unlabeled["valid"]),
            student_features=seen["strong"].features,
            teacher_features=target.features,
        )
        return MethodOutput(seen["labeled"].logits, (term,), batch_stats)

    def _with_labels(
        self,
        views: Views,
        labeled: Mapping[str, jax.Array],
        keys: jax.Array,
        strong: jax.Array,
        prediction: Prediction,
        valid: jax.Array,
    ) -> tuple[jax.Array, Prediction, jax.Array]:
        """Strong views, predictions and valid maps with boxes of labeled images in unsure ones.

        Args:
            labeled: the labeled part of the batch.
            keys, strong, prediction, valid: of the U unlabeled images: keys [U,2], images
                [U,H,W,3], the labeler's predictions, and bool [U,H,W].
        """
        count, *sides = valid.shape
        order = jnp.arange(count) % len(labeled["image"])
        image, mask = labeled["image"][order], labeled["mask"][order]
        unsure = views.chance(keys) > certainty(prediction.logits, valid)
        box = views.beta_box(keys, *sides, self.labeled_beta, view=0) & unsure[:, None, None]
        classes = prediction.logits.shape[-1]
        truth = CERTAIN * jax.nn.one_hot(mask, classes, dtype=jnp.float32)
        logits = paste(box, truth, prediction.logits.astype(jnp.float32))
        # Labels have no feature map; the teacher's own stands in, of what the box covers.
        injected = Prediction(logits, prediction.features)
        return (
            paste(box, views.weak(image), strong),
            injected,
            paste(box, mask < classes, valid),
        )


def certainty(logits: jax.Array, valid: jax.Array) -> jax.Array:
    """Mean over valid pixels of max p·(1 − H(p)/log C): [B,H,W,C], bool [B,H,W] -> [B] float32."""
    entropy = pixel_entropy(logits) / jnp.log(float(logits.shape[-1]))
    confidence = jnp.max(jax.nn.softmax(logits.astype(jnp.float32)), axis=-1)
    sure = confidence * (1.0 - entropy)
    pixels = jnp.sum(valid, axis=(1, 2), dtype=jnp.float32)
    return jnp.sum(jnp.where(valid, sure, 0.0), axis=(1, 2)) / jnp.maximum(pixels, 1.0)
