"""FixMatch for segmentation: pseudo-labels of a weak view teach a strong, CutMixed view."""

import dataclasses

from ipixmatch_jax.losses import CONSISTENCY
from ipixmatch_jax.methods.base import METHODS, Batch, MethodOutput, Network, option
from ipixmatch_jax.methods.one_strong_view import OneStrongView
from ipixmatch_jax.views import Views


@METHODS.register("fixmatch")
@dataclasses.dataclass(frozen=True)
class FixMatch(OneStrongView):
    """One strong view of every unlabeled image (Sohn et al., arXiv 2001.07685, per pixel).

    L = L_sup + w·L_pseudo, w `method.unlabeled_weight`. The labeler predicts the weak views of the
    unlabeled image and of its CutMix partner. The student sees the strong view of the
    one with a box of the other pasted; the labeler's soft map and the valid map get the same box.
    UniMatch's code for FixMatch takes (L_sup + L_pseudo)/2, as the recipes do with
    `supervised.weight` and w 0.5. Passes, of B labeled and U unlabeled images: student forward and
    backward B + U, labeler forward 2·U (U with `mix='flip'`).

    Attributes:
        distance: of student and labeler, a name in `losses.CONSISTENCY`.
        others: as in `OneStrongView`.
    """

    distance: str = option("pseudo_label", choices=CONSISTENCY.names)

    def passes(
        self, student: Network, teacher: Network, views: Views, batch: Batch
    ) -> MethodOutput:
        seen, batch_stats, term = self.strong_pass(student, teacher, views, batch)
        terms = (term(seen["strong"], distance=self.distance),)
        return MethodOutput(seen["labeled"].logits, terms, batch_stats)
