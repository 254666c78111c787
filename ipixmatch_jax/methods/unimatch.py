"""UniMatch: two strong views, and a weak view with perturbed features."""

import dataclasses

import jax
import jax.numpy as jnp

from ipixmatch_jax.methods.base import (
    METHODS,
    Batch,
    ConsistencyTerm,
    Method,
    MethodOutput,
    Network,
    Through,
    option,
)
from ipixmatch_jax.methods.cutmix_pairs import Pairs
from ipixmatch_jax.methods.view_passes import check_choices, labeler, train_passes
from ipixmatch_jax.views import Views

NORM_GROUPS = {
    "source": (("labeled", "weak"), ("strong_0", "strong_1")),
    "separate": (("labeled",), ("weak",), ("strong_0", "strong_1")),
}


@METHODS.register("unimatch")
@dataclasses.dataclass(frozen=True)
class UniMatch(Method):
    """UniMatch V1 (Yang et al., arXiv 2208.09910), as its code does it.

    L = (L_sup + ¼·L_strong0 + ¼·L_strong1 + ½·L_features)/2. Each strong view has a box of its own,
    with the same view of the partner in it. The weak view's features are decoded a second time with
    half of their channels dropped (one mask for an image and a feature map, the rest times 2), in
    one batch-norm pass with the clean ones. Passes, of B labeled and U unlabeled images: student
    encoder B + 3·U, decoder 2·B + 4·U (B + 4·U with `separate`), forward and backward; labeler
    forward U (none with `mix='flip'`, 2·U when it is not the student in training mode).

    Attributes:
        confidence: pseudo-labels of at least this probability count (Cityscapes: 0).
        labeler: who makes the pseudo-labels, `student` or `teacher`.
        label_norm: `train` takes the student's own prediction of the weak view, from its training
            pass, and predicts the partners under running statistics, as the source; `eval` and
            `ema` predict both under running statistics, of the labeler or of the teacher.
        mix: the CutMix partner: `same`, another crop of the same image, as the source in fact does;
            `stream`, another image; `flip`, one of the same batch.
        norm_groups: `source` normalizes labeled and weak images together, `separate` by themselves.
        running_statistics: which passes feed the running statistics: `all`, as the source, or
            those with `labeled` images.
        drop_rate: share of the feature channels that are dropped.
    """

    confidence: float = 0.95
    labeler: str = "student"
    label_norm: str = "train"
    mix: str = "stream"
    norm_groups: str = "source"
    running_statistics: str = "all"
    drop_rate: float = option(0.5, least=0, most=0.99)

    def __post_init__(self):
        check_choices(self, NORM_GROUPS)

    def __call__(
        self, student: Network, teacher: Network, views: Views, batch: Batch
    ) -> MethodOutput:
        pairs = Pairs(views, batch, self.mix)
        boxes = [pairs.box(view) for view in (0, 1)]
        unlabeled = batch["unlabeled"]
        images = {
            "labeled": views.weak(batch["labeled"]["image"]),
            "weak": views.weak(unlabeled["image"]),
            "strong_0": pairs.mixed(boxes[0], 0),
            "strong_1": pairs.mixed(boxes[1], 1),
        }
        groups = NORM_GROUPS[self.norm_groups]
        keys = {"labeled": batch["labeled"]["key"], "weak": unlabeled["key"]}
        dropped = next(group for group in groups if "weak" in group)
        through = self._with_dropped(views, jnp.concatenate([keys[name] for name in dropped]))
        seen, batch_stats = train_passes(
            student, images, groups, self.running_statistics, {"weak": through}
        )
        of_dropped = seen["weak+"].rows(-len(unlabeled["key"]), None)

        network = labeler(self, student, teacher)
        if self.labeler == "student" and self.label_norm == "train":
            own = jax.lax.stop_gradient(seen["weak"])
            partner = pairs.partner_labels(network, own)
        else:
            own, partner = pairs.labels(network, self.label_norm)
        strong = (seen["strong_0"], seen["strong_1"])
        mixed = [
            pairs.term(box, view, own, partner, weight=0.125)
            for box, view in zip(boxes, strong, strict=True)
        ]
        features = ConsistencyTerm(
            student_logits=of_dropped.logits,
            teacher_logits=own.logits,
            valid=unlabeled["valid"],
            weight=0.25,
            student_features=of_dropped.features,
            teacher_features=own.features,
        )
        return MethodOutput(
            seen["labeled"].logits, (*mixed, features), batch_stats, labeled_weight=0.5
        )

    def _with_dropped(self, views: Views, keys: jax.Array) -> Through:
        """Every feature map twice, clean and with dropped channels."""

        def through(features):
            twice = []
            for level, clean in enumerate(features):
                kept = views.channels(keys, clean.shape[-1], 1.0 - self.drop_rate, view=level)
                scale = jnp.asarray(kept / (1.0 - self.drop_rate), clean.dtype)
                twice.append(jnp.concatenate([clean, clean * scale[:, None, None]]))
            return tuple(twice)

        return through
