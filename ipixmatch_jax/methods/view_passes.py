"""Shared by the frameworks: CutMix pairs, and batch-norm passes of several views."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ipixmatch_jax.methods.base import (
    Batch,
    ConsistencyTerm,
    Method,
    Network,
    Prediction,
    Through,
    concatenated,
    one_of,
)
from ipixmatch_jax.views import Views, paste, resize_box

LABELERS = ("teacher", "student")
LABEL_NORMS = ("eval", "train", "ema")
MIXES = ("stream", "flip", "same")
RUNNING = ("labeled", "all")

Groups = tuple[tuple[str, ...], ...]

# For the frameworks with one strong view.
NORM_GROUPS: Mapping[str, Groups] = {
    "separate": (("labeled",), ("strong",)),
    "joint": (("labeled", "strong"),),
}


def check_choices(
    method: Method,
    norm_groups: Mapping[str, Groups] = NORM_GROUPS,
    label_norms: tuple[str, ...] = LABEL_NORMS,
) -> None:
    """Raises ConfigError if one of the shared choices has an unknown value."""
    known = {
        "labeler": LABELERS,
        "label_norm": label_norms,
        "mix": MIXES,
        "norm_groups": tuple(norm_groups),
        "running_statistics": RUNNING,
    }
    fields = {field.name for field in dataclasses.fields(method)}
    one_of(**{k: (getattr(method, k), v) for k, v in known.items() if k in fields})


def labeler(method: Method, student: Network, teacher: Network) -> Network:
    """The network that makes the pseudo-labels, `method.labeler`.

    With `method.label_norm` 'ema' it normalizes by the teacher's averaged running statistics.
    """
    network = teacher if method.labeler == "teacher" else student
    if method.label_norm == "ema":
        return network.replace(batch_stats=teacher.batch_stats)
    return network


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


def train_passes(
    student: Network,
    images: Mapping[str, jax.Array],
    groups: Groups,
    running_statistics: str,
    through: Mapping[str, Through] | None = None,
) -> tuple[dict[str, Prediction], Any]:
    """The student's predictions of several views, and its running batch statistics after them.

    Args:
        images: view name → [b,H,W,·].
        groups: the passes, in order: views of one pass are normalized together.
        running_statistics: the passes that update the running statistics: `all`, or only those
            with the `labeled` view.
        through: the last view of a pass → a function of its features. Rows that it adds come back
            under the view's name with '+'.
    """
    predictions, kept = {}, student.batch_stats
    for group in groups:
        parts = [images[name] for name in group]
        prediction, after = student.replace(batch_stats=kept).train(
            jnp.concatenate(parts), (through or {}).get(group[-1])
        )
        start = 0
        for name, part in zip(group, parts, strict=True):
            predictions[name] = prediction.rows(start, start + len(part))
            start += len(part)
        predictions[f"{group[-1]}+"] = prediction.rows(start, len(prediction.logits))
        if running_statistics == "all" or "labeled" in group:
            kept = after
    return predictions, kept
