"""Cross pseudo supervision: two students, each the other's teacher."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from ipixmatch_jax.methods.base import METHODS, Batch, Method, MethodOutput, Network, option
from ipixmatch_jax.methods.cutmix_pairs import Pairs
from ipixmatch_jax.methods.view_passes import NORM_GROUPS, check_choices, train_passes
from ipixmatch_jax.views import Views


@METHODS.register("cps")
@dataclasses.dataclass(frozen=True)
class CPS(Method):
    """CPS with CutMix (Chen et al., arXiv 2106.01226): L = L_sup1 + L_sup2 + w·(L_12 + L_21).

    Two networks of one architecture with different first values see the same mixed images; each is
    trained by the other's hard labels of the images before mixing. w is `method.unlabeled_weight`,
    1.5 in the source. What is evaluated as student is the first network, as teacher its moving
    average. Passes, of B labeled and U unlabeled images: 2·(B + U) forward and backward, 4·U
    forward for labels (2·U with `mix='flip'`), twice the weights.

    Attributes:
        confidence: labels of at least this probability count; 0, all of them, in the source.
        label_norm: batch norm of the labels' pass: `train`, the batch's own statistics, as the
            source; `eval`, each network's running ones.
        mix: the CutMix partner, as in `FixMatch`; `views.cutmix_probability = 0` is CPS without.
        strength: of the mixed view, `weak` as the source, or `strong`.
        norm_groups, running_statistics: as in `FixMatch`; the source has separate passes.
    """

    confidence: float = 0.0
    label_norm: str = "train"
    mix: str = "stream"
    strength: str = option("weak", choices=("weak", "strong"))
    norm_groups: str = "separate"
    running_statistics: str = "all"

    networks: ClassVar[int] = 2

    def __post_init__(self):
        check_choices(self, label_norms=("train", "eval"))

    def __call__(
        self, student: Network, teacher: Network, views: Views, batch: Batch
    ) -> MethodOutput:
        pairs = Pairs(views, batch, self.mix)
        box = pairs.box()
        if self.strength == "weak":
            pairs = dataclasses.replace(pairs, views=views.without_intensity())
        images = {"labeled": views.weak(batch["labeled"]["image"]), "strong": pairs.mixed(box)}
        names = ("first", "second")
        labels, seen, batch_stats = {}, {}, {}
        for name in names:
            network = student.part(name)
            labels[name] = pairs.labels(network, self.label_norm)
            seen[name], batch_stats[name] = train_passes(
                network, images, NORM_GROUPS[self.norm_groups], self.running_statistics
            )
        terms = tuple(
            pairs.term(box, seen[one]["strong"], *labels[other])
            for one, other in (names, reversed(names))
        )
        labeled = jnp.concatenate([seen[name]["labeled"].logits for name in names])
        # A model without batch norm has none in its state either.
        return MethodOutput(labeled, terms, batch_stats if student.batch_stats else {})
