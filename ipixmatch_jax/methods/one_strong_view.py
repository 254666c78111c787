"""The shared part of the frameworks with one strong view: six choices, and the two passes."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.methods.base import (
    Batch,
    ConsistencyTerm,
    Method,
    MethodOutput,
    Network,
    Prediction,
)
from ipixmatch_jax.methods.cutmix_pairs import Pairs
from ipixmatch_jax.methods.view_passes import (
    LABELERS,
    NORM_GROUPS,
    PEER,
    Groups,
    check_choices,
    labeler,
    train_passes,
)
from ipixmatch_jax.models import TWINS
from ipixmatch_jax.views import Views


@dataclasses.dataclass(frozen=True)
class OneStrongView(Method):
    """The choices of FixMatch (Sohn et al., arXiv 2001.07685) and of the frameworks built on it.

    A framework defines `passes`, those of one student; `__call__` runs them for each student. One
    that defines `__call__` itself has no `labeler='peer'`.

    With `labeler='peer'` two students with different first values are trained on the same views,
    each by the pseudo-labels (and, in relations, by the soft maps) of the other one's moving
    average. All losses of the two add up. The first is evaluated as student, its moving average as
    teacher. It costs twice the passes, the weights, the optimizer's state and the activations of
    `labeler='teacher'`; predictions cost the same.

    Attributes:
        confidence: pseudo-labels of at least this probability count.
        labeler: the network that makes the pseudo-labels, `teacher` (the EMA), `student`, or
            `peer`, the EMA of a second student.
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
        check_choices(self, self.groups_by_name, labelers=(*LABELERS, PEER))
        if self.labeler == PEER and type(self).__call__ is not OneStrongView.__call__:
            raise ConfigError(
                f"method.labeler is {PEER!r}, but {type(self).__name__} defines __call__; expected "
                "its method `passes`, which is run for each student: rename __call__ to it"
            )

    @property
    def networks(self) -> int:
        return 2 if self.labeler == PEER else 1

    @property
    def labeling_network(self) -> str:
        return "teacher" if self.labeler == PEER else self.labeler

    def passes(
        self, student: Network, teacher: Network, views: Views, batch: Batch
    ) -> MethodOutput:
        """The passes of a step for one student; arguments as in `Method.__call__`."""
        raise NotImplementedError(f"{type(self).__name__} defines neither passes nor __call__")

    def __call__(
        self, student: Network, teacher: Network, views: Views, batch: Batch
    ) -> MethodOutput:
        if self.labeler != PEER:
            return self.passes(student, teacher, views, batch)
        method = dataclasses.replace(self, labeler="teacher")
        outputs = {
            one: method.passes(student.part(one), teacher.part(other), views, batch)
            for one, other in (TWINS, reversed(TWINS))
        }
        first, second = outputs.values()
        extra = first.extra | {f"{name}_second": loss for name, loss in second.extra.items()}
        stats = {name: output.batch_stats for name, output in outputs.items()}
        return first.replace(
            labeled_logits=jnp.concatenate([first.labeled_logits, second.labeled_logits]),
            terms=first.terms + second.terms,
            # A model without batch norm has none in its state either.
            batch_stats=stats if student.batch_stats else {},
            extra=extra,
        )

    def training_images(self, views: Views, batch: Batch) -> dict[str, jax.Array]:
        """Weak views of the `labeled` images, and the `strong`, mixed views, [B,H,W,·] float32."""
        pairs = Pairs(views, batch, self.mix)
        return {
            "labeled": views.weak(batch["labeled"]["image"]),
            "strong": pairs.mixed(pairs.box()),
        }

    def strong_pass(
        self,
        student: Network,
        teacher: Network,
        views: Views,
        batch: Batch,
        *feature_maps: str,
        images: dict[str, jax.Array] | None = None,
    ) -> tuple[dict[str, Prediction], Any, Callable[..., ConsistencyTerm]]:
        """The passes of FixMatch: labels of weak views, and the student on one strong, mixed view.

        Args:
            feature_maps: the names of feature maps that the predictions hold in addition to those
                that relations ask for.
            images: `training_images`, if they are at hand.

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
        images = images or self.training_images(views, batch)
        groups = self.groups_by_name[self.norm_groups]
        predictions, batch_stats = train_passes(
            student.replace(feature_maps=maps), images, groups, self.running_statistics
        )

        def term(prediction, weight=1.0, distance="pseudo_label"):
            return pairs.term(box, prediction, own, partner, weight, distance)

        return predictions, batch_stats, term
