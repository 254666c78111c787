"""FixMatch for segmentation: pseudo-labels of a weak view teach a strong, CutMixed view."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.methods.base import (
    METHODS,
    Batch,
    ConsistencyTerm,
    MethodOutput,
    Network,
    Prediction,
    paste_prediction,
)
from ipixmatch_jax.views import Views, paste


@METHODS.register("fixmatch")
@dataclasses.dataclass(frozen=True)
class FixMatch:
    """One strong view of every unlabeled image (Sohn et al., arXiv 2001.07685, per pixel).

    The labeler predicts the weak views of the unlabeled image and of its CutMix partner, with
    running batch statistics. The student sees the strong view of the one with a box of the other;
    the labeler's soft map and the valid map get the same box.

    Attributes:
        labeler: who makes the pseudo-labels, `teacher` (the EMA) or `student` (itself).
        batch_norm: `separate` gives labeled and strong images a batch-norm pass each; `joint` puts
            both through one pass. Strong views shift the statistics that labeled images are
            normalised by: on small data a joint pass cost 3 to 20 points of mIoU.
        running_statistics: which passes feed the running statistics that evaluation uses:
            `labeled`, or `all` (labeled first, then strong). A joint pass can only feed `all`.
    """

    labeler: str = "teacher"
    batch_norm: str = "separate"
    running_statistics: str = "labeled"

    uses_unlabeled: ClassVar[bool] = True

    def __post_init__(self):
        choices = {
            "labeler": ("teacher", "student"),
            "batch_norm": ("separate", "joint"),
            "running_statistics": ("labeled", "all"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"method.{name} is {getattr(self, name)!r}; expected one of {', '.join(known)}"
                )
        if self.batch_norm == "joint" and self.running_statistics == "labeled":
            raise ConfigError(
                "method.batch_norm='joint' normalises labeled and strong images together, so its "
                "running statistics cannot be those of labeled images alone; "
                "set method.running_statistics='all' or method.batch_norm='separate'"
            )

    def __call__(
        self, student: Network, teacher: Network, views: Views, batch: Batch
    ) -> MethodOutput:
        unlabeled, mix = batch["unlabeled"], batch["mix"]
        box = views.box(unlabeled["key"], *unlabeled["image"].shape[1:3])

        # One pass for both streams: half the operations to compile and to launch.
        images = jnp.concatenate([unlabeled["image"], mix["image"]])
        keys = jnp.concatenate([unlabeled["key"], mix["key"]])
        labeler = teacher if self.labeler == "teacher" else student
        unlabeled_weak, mix_weak = _split(labeler.predict(views.weak(images)), unlabeled["key"])
        unlabeled_strong, mix_strong = jnp.split(views.strong(images, keys), 2)

        labeled = views.weak(batch["labeled"]["image"])
        labeled_prediction, strong, batch_stats = self._student(
            student, labeled, paste(box, mix_strong, unlabeled_strong)
        )
        pseudo = paste_prediction(box, mix_weak, unlabeled_weak)
        term = ConsistencyTerm(
            student_logits=strong.logits,
            teacher_logits=pseudo.logits,
            valid=paste(box, mix["valid"], unlabeled["valid"]),
            student_features=strong.features,
            teacher_features=pseudo.features,
        )
        return MethodOutput(labeled_prediction.logits, (term,), batch_stats)

    def _student(
        self, student: Network, labeled: jax.Array, strong: jax.Array
    ) -> tuple[Prediction, Prediction, Any]:
        if self.batch_norm == "joint":
            both, batch_stats = student.train(jnp.concatenate([labeled, strong]))
            return *_split(both, labeled), batch_stats
        of_labeled, batch_stats = student.train(labeled)
        of_strong, after_strong = student.replace(batch_stats=batch_stats).train(strong)
        if self.running_statistics == "all":
            batch_stats = after_strong
        return of_labeled, of_strong, batch_stats


def _split(prediction: Prediction, first: jax.Array) -> tuple[Prediction, Prediction]:
    """The first len(first) images and the others."""
    return (
        jax.tree.map(lambda x: x[: first.shape[0]], prediction),
        jax.tree.map(lambda x: x[first.shape[0] :], prediction),
    )
