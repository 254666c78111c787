"""The baseline: labeled images only."""

import dataclasses
from typing import ClassVar

from ipixmatch_jax.methods.base import METHODS, Batch, Method, MethodOutput, Network
from ipixmatch_jax.views import Views


@METHODS.register("supervised")
@dataclasses.dataclass(frozen=True)
class Supervised(Method):
    """Trains on the labeled images; the unlabeled ones are not even read. One pass, of B images.

    Attributes:
        confidence: there is none to choose; a key that every method has.
    """

    confidence: float = 0.95

    uses_unlabeled: ClassVar[bool] = False

    def __call__(
        self, student: Network, teacher: Network, views: Views, batch: Batch
    ) -> MethodOutput:
        labeled, batch_stats = student.train(views.weak(batch["labeled"]["image"]))
        return MethodOutput(labeled_logits=labeled.logits, terms=(), batch_stats=batch_stats)
