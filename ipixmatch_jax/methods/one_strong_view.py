"""The shared part of the frameworks with one strong view: six choices, and the two passes."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from ipixmatch_jax.methods.base import Batch, ConsistencyTerm, Method, Network, Prediction
from ipixmatch_jax.methods.cutmix_pairs import Pairs
from ipixmatch_jax.methods.view_passes import (
    NORM_GROUPS,
    Groups,
    check_choices,
    labeler,
    train_passes,
)
from ipixmatch_jax.views import Views


@dataclasses.dataclass(frozen=True)
class OneStrongView(Method):
    """The choices of FixMatch (Sohn et al., arXiv 2001.07685) and of the frameworks built on it.

    Attributes:
        confidence: pseudo-labels of at least this probability count.
        labeler: the network that makes the pseudo-labels, `teacher` (the EMA) or `student`.
        label_norm: batch norm of the labeler's pass: `eval` uses its running statistics, `train`
            the batch's own, `ema` the teacher's running statistics.
        mix: the CutMix partner: `stream`, another unlabeled image; `flip`, one of the same batch;
            `same`, another crop of the same image.
        norm_groups: `separate` gives labeled and strong images a batch-norm pass each; `joint`
            normalizes both in one pass, so that strong views shift the statistics of labeled ones.
        running_statistics: the passes that update the running statistics, which evaluation uses:
            those with `labeled` images, or `all` (labeled first, then strong).
    """

    confidence: float = 0.95
    labeler: str = "teacher"
    label_norm: str = "eval"
    mix: str = "stream"
    norm_groups: str = "separate"
    running_statistics: str = "labeled"

    groups_by_name: ClassVar[Mapping[str, Groups]] = NORM_GROUPS

    def __post_init__(self):
        check_choices(self, self.groups_by_name)

    def strong_pass(
        self, student: Network, teacher: Network, views: Views, batch: Batch, *feature_maps: str
    ) -> tuple[dict[str, Prediction], Any, Callable[..., ConsistencyTerm]]:
        """The passes of FixMatch: labels of weak views, and the student on one strong, mixed view.

        Args:
            feature_maps: the names of feature maps that the predictions hold in addition to those
                that relations ask for.

        Returns:
            The student's predictions of the `labeled` and `strong` images, its running batch
            statistics after them, and `term(prediction, weight=1.0, distance='pseudo_label')`,
            which compares a prediction of the strong view with the labels.
        """
        pairs = Pairs(views, batch, self.mix)
        box = pairs.box()
        maps = tuple({*student.feature_maps, *feature_maps})
        network = labeler(self, student, teacher).replace(feature_maps=maps)
        own, partner = pairs.labels(network, self.label_norm)
        images = {"labeled": views.weak(batch["labeled"]["image"]), "strong": pairs.mixed(box)}
        groups = self.groups_by_name[self.norm_groups]
        predictions, batch_stats = train_passes(
            student.replace(feature_maps=maps), images, groups, self.running_statistics
        )

        def term(prediction, weight=1.0, distance="pseudo_label"):
            return pairs.term(box, prediction, own, partner, weight, distance)

        return predictions, batch_stats, term
