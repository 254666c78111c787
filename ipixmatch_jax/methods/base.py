"""The contract between teacher-student frameworks and losses."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import flax.linen as nn
import flax.struct
import jax

from ipixmatch_jax.registry import Registry
from ipixmatch_jax.views import Views

Batch = Mapping[str, Mapping[str, jax.Array]]


@flax.struct.dataclass
class ConsistencyTerm:
    """One student prediction and the teacher's prediction of the same pixels.

    Attributes:
        student_logits: [B, H, W, C], carries the gradient.
        teacher_logits: [B, H, W, C], without gradient, mixed as a map by the same CutMix box as the
            student's image, so that soft targets and relations see one picture.
        valid: bool [B, H, W], false on padding; mixed by the same box.
        weight: factor of this term in the loss.
    """

    student_logits: jax.Array
    teacher_logits: jax.Array
    valid: jax.Array
    weight: float = flax.struct.field(pytree_node=False, default=1.0)


@flax.struct.dataclass
class MethodOutput:
    """What a method hands to the losses.

    Attributes:
        labeled_logits: [B, H, W, C] of the labeled images.
        terms: the consistency terms; empty for a supervised run.
        batch_stats: the student's running batch statistics after this step.
    """

    labeled_logits: jax.Array
    terms: tuple[ConsistencyTerm, ...]
    batch_stats: Any


@flax.struct.dataclass
class Network:
    """A model with the weights that it runs with."""

    model: nn.Module = flax.struct.field(pytree_node=False)
    params: Any
    batch_stats: Any

    def predict(self, images: jax.Array) -> jax.Array:
        """Logits [B, H, W, C] under running batch statistics, without gradient."""
        variables = {"params": self.params, "batch_stats": self.batch_stats}
        return jax.lax.stop_gradient(self.model.apply(variables, images, train=False))

    def train(self, images: jax.Array) -> tuple[jax.Array, Any]:
        """Logits [B, H, W, C] under the batch's own statistics, and the running ones after it."""
        variables = {"params": self.params, "batch_stats": self.batch_stats}
        logits, updated = self.model.apply(variables, images, train=True, mutable=["batch_stats"])
        return logits, updated.get("batch_stats", {})


class Method(Protocol):
    """A teacher-student framework: which views go through which network.

    Methods are frozen dataclasses: their fields are the keys of `config.method` that they read.
    """

    uses_unlabeled: ClassVar[bool]

    def __call__(
        self, student: Network, teacher: Network, views: Views, batch: Batch
    ) -> MethodOutput: ...


METHODS: Registry[type[Method]] = Registry("method")


def make_method(name: str, options: Mapping[str, Any]) -> Method:
    """The registered method with those of the options that it has a field for."""
    method = METHODS[name]
    fields = {field.name for field in dataclasses.fields(method)}
    return method(**{key: value for key, value in options.items() if key in fields})
