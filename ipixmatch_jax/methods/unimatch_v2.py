"""UniMatch V2: two strong views whose features lose complementary channels."""

import dataclasses

import jax.numpy as jnp

from ipixmatch_jax.methods.base import (
    METHODS,
    Batch,
    Method,
    MethodOutput,
    Network,
    Through,
    option,
)
from ipixmatch_jax.methods.cutmix_pairs import Pairs
from ipixmatch_jax.methods.view_passes import check_choices, labeler, train_passes
from ipixmatch_jax.views import Views

NORM_GROUPS = {"source": (("labeled",), ("strong_0", "strong_1"))}


@METHODS.register("unimatch_v2")
@dataclasses.dataclass(frozen=True)
class UniMatchV2(Method):
    """UniMatch V2 (Yang et al., arXiv 2410.10777), as its code does it; made for DINOv2 with DPT.

    L = (L_sup + (L_strong0 + L_strong1)/2)/2. Half of the images lose a random half of their
    feature channels in the first strong view and the other half in the second, the rest times 2,
    the same channels at all levels. Passes, of B labeled and U unlabeled images: student B + 2·U
    forward and backward, teacher U forward (2·U unless `mix='flip'`).

    One deviation: the source leaves exactly ⌊U/2⌋ images of a device's batch as they are; here
    each does so with probability ½, by its own key, so that results do not depend on the layout.
    Feature maps of one width share their channels; maps of another width draw their own.

    Attributes:
        confidence: pseudo-labels of at least this probability count (Cityscapes: 0).
        labeler: who makes the pseudo-labels, `teacher` or `student`.
        label_norm: batch norm of the labeler's pass, `eval`, `train` or `ema`; of no effect on
            models without batch norm.
        mix: the CutMix partner: `flip`, one of the same batch in the same strong view, as the
            source; `stream`, another image; `same`, another crop of the same image.
        running_statistics: which passes feed the running statistics: `all` or `labeled`.
        whole_rate: share of the images that keep all channels.
    """

    confidence: float = 0.95
    labeler: str = "teacher"
    label_norm: str = "eval"
    mix: str = "flip"
    norm_groups: str = "source"
    running_statistics: str = "all"
    whole_rate: float = option(0.5, least=0, most=1)

    def __post_init__(self):
        check_choices(self, NORM_GROUPS)

    def __call__(
        self, student: Network, teacher: Network, views: Views, batch: Batch
    ) -> MethodOutput:
        pairs = Pairs(views, batch, self.mix)
        boxes = [pairs.box(view) for view in (0, 1)]
        own, partner = pairs.labels(labeler(self, student, teacher), self.label_norm)
        images = {
            "labeled": views.weak(batch["labeled"]["image"]),
            "strong_0": pairs.mixed(boxes[0], 0),
            "strong_1": pairs.mixed(boxes[1], 1),
        }
        through = {"strong_1": self._complementary(views, batch["unlabeled"]["key"])}
        groups = NORM_GROUPS[self.norm_groups]
        seen, batch_stats = train_passes(student, images, groups, self.running_statistics, through)
        terms = tuple(
            pairs.term(box, seen[f"strong_{view}"], own, partner, weight=0.25)
            for view, box in enumerate(boxes)
        )
        return MethodOutput(seen["labeled"].logits, terms, batch_stats, labeled_weight=0.5)

    def _complementary(self, views: Views, keys) -> Through:
        """Features of both views, [2·U,h,w,·], each times 2 or 0 in a channel, or whole."""
        whole = views.channels(keys, 1, self.whole_rate, view=1)

        def through(features):
            dropped = []
            for x in features:
                first = 2.0 * views.channels(keys, x.shape[-1], 0.5)
                scale = jnp.concatenate(
                    [jnp.where(whole > 0, 1.0, first), jnp.where(whole > 0, 1.0, 2.0 - first)]
                )
                dropped.append(x * jnp.asarray(scale[:, None, None], x.dtype))
            return tuple(dropped)

        return through
