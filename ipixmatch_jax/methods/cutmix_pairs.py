"""Picks the CutMix partner of each unlabeled image, and mixes images and labels by one box."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from ipixmatch_jax.methods.base import Batch, ConsistencyTerm, Network, Prediction, concatenated
from ipixmatch_jax.views import Views, paste, resize_box

MIXES = ("stream", "flip", "same")


@dataclasses.dataclass(frozen=True)
class Pairs:
    """The unlabeled images of a batch and the CutMix partner of each.

    By `stream` and `same` the partners are the batch's stream `mix` (which `same` fills with other
    crops of the same images), by `flip` the images of the device's own batch in reverse order.
    """

    views: Views
    batch: Batch
    mix: str = "stream"

    def box(self, view: int = 0) -> jax.Array:
        """CutMix boxes of the unlabeled images, [B,H,W] bool."""
        records = self.batch["unlabeled"]
        return self.views.box(records["key"], *records["image"].shape[1:3], view=view)

    def strong(self, view: int = 0) -> tuple[jax.Array, jax.Array]:
        """Strong views of the images and of their partners, [B,H,W,·] float32."""
        records = self.batch["unlabeled"]
        if self.mix == "flip":
            own = self.views.strong(records["image"], records["key"], view=view)
            return own, flipped(own)
        both = concatenated(
            *({key: self.batch[n][key] for key in ("image", "key")} for n in ("unlabeled", "mix"))
        )
        return tuple(jnp.split(self.views.strong(both["image"], both["key"], view=view), 2))

    def mixed(self, box: jax.Array, view: int = 0) -> jax.Array:
        """Strong views of the images with the box of their partners'."""
        own, partner = self.strong(view)
        return paste(box, partner, own)

    def valid(self, box: jax.Array) -> jax.Array:
        """The mixed map of valid pixels, [B,H,W] bool."""
        own = self.batch["unlabeled"]["valid"]
        partner = flipped(own) if self.mix == "flip" else self.batch["mix"]["valid"]
        return paste(box, partner, own)

    def labels(self, network: Network, norm: str) -> tuple[Prediction, Prediction]:
        """Predictions of the weak views of the images and of their partners, in one pass."""
        batch_norm = "train" if norm == "train" else "eval"
        own = self.batch["unlabeled"]["image"]
        if self.mix == "flip":
            prediction = network.predict(self.views.weak(own), batch_norm)
            return prediction, flipped(prediction)
        images = jnp.concatenate([own, self.batch["mix"]["image"]])
        both = network.predict(self.views.weak(images), batch_norm)
        return both.rows(0, len(own)), both.rows(len(own), 2 * len(own))

    def partner_labels(self, network: Network, own: Prediction) -> Prediction:
        """Predictions of the partners, for a method that already has those of the images, `own`."""
        if self.mix == "flip":
            return flipped(own)
        return network.predict(self.views.weak(self.batch["mix"]["image"]))

    def term(
        self,
        box: jax.Array,
        student: Prediction,
        own: Prediction,
        partner: Prediction,
        weight: float = 1.0,
        distance: str = "pseudo_label",
    ) -> ConsistencyTerm:
        """The student's prediction of a mixed view, and the labels mixed by the same box."""
        teacher = paste_prediction(box, partner, own)
        return ConsistencyTerm(
            student_logits=student.logits,
            teacher_logits=teacher.logits,
            valid=self.valid(box),
            weight=weight,
            distance=distance,
            student_features=student.features,
            teacher_features=teacher.features,
        )


def flipped(batch: Any) -> Any:
    """A batch's arrays in reverse order."""
    return jax.tree.map(lambda x: x[::-1], batch)


def paste_prediction(box: jax.Array, inside: Prediction, outside: Prediction) -> Prediction:
    """`inside` where the box [B, H, W] is true, in the logits and, at their size, in features."""
    features = {
        name: paste(resize_box(box, value.shape[1:3]), value, outside.features[name])
        for name, value in inside.features.items()
    }
    return Prediction(paste(box, inside.logits, outside.logits), features)
