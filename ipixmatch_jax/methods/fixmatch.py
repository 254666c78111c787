"""FixMatch for segmentation: pseudo-labels of a weak view teach a strong, CutMixed view."""

import dataclasses
from typing import ClassVar

from ipixmatch_jax.methods.base import METHODS, Batch, MethodOutput, Network
from ipixmatch_jax.methods.view_passes import check_choices, strong_pass
from ipixmatch_jax.views import Views


@METHODS.register("fixmatch")
@dataclasses.dataclass(frozen=True)
class FixMatch:
    """One strong view of every unlabeled image (Sohn et al., arXiv 2001.07685, per pixel).

    The labeler predicts the weak views of the unlabeled image and of its CutMix partner. The
    student sees the strong view of the one with a box of the other; the labeler's soft map and the
    valid map get the same box. Passes, of B labeled and U unlabeled images: student forward and
    backward B + U, labeler forward 2·U (U with `mix='flip'`).

    Attributes:
        confidence: pseudo-labels of at least this probability count.
        labeler: who makes the pseudo-labels, `teacher` (the EMA) or `student` (itself).
        label_norm: batch norm of the labeler's pass: `eval` by its running statistics, `train` by
            the batch's own, `ema` by the teacher's running statistics.
        mix: the CutMix partner: `stream`, another unlabeled image; `flip`, one of the same batch;
            `same`, another crop of the same image.
        norm_groups: `separate` gives labeled and strong images a batch-norm pass each; `joint` puts
            both through one pass, as the FixMatch of the UniMatch family does. Strong views shift
            the statistics that labeled images are normalised by: on small data from scratch a joint
            pass cost 3 to 20 points of mIoU, so that `separate` is the default.
        running_statistics: which passes feed the running statistics that evaluation uses: those
            with `labeled` images, or `all` (labeled first, then strong).
        distance: of student and labeler, a name in `losses.CONSISTENCY`.
    """

    confidence: float = 0.95
    labeler: str = "teacher"
    label_norm: str = "eval"
    mix: str = "stream"
    norm_groups: str = "separate"
    running_statistics: str = "labeled"
    distance: str = "pseudo_label"

    uses_unlabeled: ClassVar[bool] = True
    networks: ClassVar[int] = 1

    def __post_init__(self):
        check_choices(self)

    def __call__(
        self, student: Network, teacher: Network, views: Views, batch: Batch
    ) -> MethodOutput:
        seen, batch_stats, term = strong_pass(self, student, teacher, views, batch)
        terms = (term(seen["strong"], distance=self.distance),)
        return MethodOutput(seen["labeled"].logits, terms, batch_stats)
