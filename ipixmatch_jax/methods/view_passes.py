"""What the frameworks share: CutMix pairs, and batch-norm passes of several views."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ipixmatch_jax.methods.base import (
    Batch,
    ConsistencyTerm,
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

# Of the frameworks with one strong view.
NORM_GROUPS: Mapping[str, Groups] = {
    "separate": (("labeled",), ("strong",)),
    "joint": (("labeled", "strong"),),
}


def check_choices(
    method: Any,
    norm_groups: Mapping[str, Groups] = NORM_GROUPS,
    label_norms: tuple[str, ...] = LABEL_NORMS,
) -> None:
    """ConfigError for a choice that the frameworks share and that cannot be."""
    known = {
        "labeler": LABELERS,
        "label_norm": label_norms,
        "mix": MIXES,
        "norm_groups": tuple(norm_groups),
        "running_statistics": RUNNING,
    }
    one_of(**{k: (getattr(method, k), v) for k, v in known.items() if hasattr(method, k)})


def labeler(method: Any, student: Network, teacher: Network) -> Network:
    """The network that makes the pseudo-labels, `method.labeler`.

    With `method.label_norm` 'ema' it normalises by the teacher's averaged running statistics.
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
        """Predictions of the partners alone, for a method that has those of the images, `own`."""
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
        """The student's prediction of a mixed view beside the labels, mixed by the same box."""
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


def strong_pass(
    method: Any,
    student: Network,
    teacher: Network,
    views: Views,
    batch: Batch,
    *feature_maps: str,
) -> tuple[dict[str, Prediction], Any, Callable[..., ConsistencyTerm]]:
    """The passes of FixMatch: labels of weak views, and the student on one strong, mixed view.

    Args:
        method: with the fields `labeler`, `label_norm`, `mix`, `norm_groups` and
            `running_statistics`.
        feature_maps: that the predictions hold beside those which relations ask for.

    Returns:
        The student's predictions of `labeled` and `strong` images, its running batch statistics
        after them, and `term(prediction, weight=1.0, distance='pseudo_label')`: a prediction of the
        strong view beside the labels.
    """
    pairs = Pairs(views, batch, method.mix)
    box = pairs.box()
    maps = tuple({*student.feature_maps, *feature_maps})
    network = labeler(method, student, teacher).replace(feature_maps=maps)
    own, partner = pairs.labels(network, method.label_norm)
    images = {"labeled": views.weak(batch["labeled"]["image"]), "strong": pairs.mixed(box)}
    groups = NORM_GROUPS[method.norm_groups]
    seen, batch_stats = train_passes(
        student.replace(feature_maps=maps), images, groups, method.running_statistics
    )

    def term(prediction, weight=1.0, distance="pseudo_label"):
        return pairs.term(box, prediction, own, partner, weight, distance)

    return seen, batch_stats, term


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
        groups: the passes, in order: views of one pass are normalised together.
        running_statistics: `all` passes feed the running statistics, or those with the `labeled`
            view alone.
        through: the last view of a pass → what its features go through. Rows that it adds come
            back under the name with '+': twice the images of the pass, for example.
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
