"""The contract between teacher-student frameworks and losses."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import flax.linen as nn
import flax.struct
import jax

from ipixmatch_jax.models import named_features
from ipixmatch_jax.registry import Registry
from ipixmatch_jax.views import Views, paste, resize_box

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
        student_features, teacher_features: name → [B, h, w, ·], the feature maps that a relation
            asked for, of the same pixels, the teacher's without gradient and mixed by the same box.
    """

    student_logits: jax.Array
    teacher_logits: jax.Array
    valid: jax.Array
    weight: float = flax.struct.field(pytree_node=False, default=1.0)
    student_features: dict[str, jax.Array] = dataclasses.field(default_factory=dict)
    teacher_features: dict[str, jax.Array] = dataclasses.field(default_factory=dict)


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
class Prediction:
    """What a network says about a batch.

    Attributes:
        logits: [B, H, W, C].
        features: name → [B, h, w, ·], the feature maps that were asked for.
    """

    logits: jax.Array
    features: dict[str, jax.Array] = dataclasses.field(default_factory=dict)


@flax.struct.dataclass
class Network:
    """A model with the weights that it runs with, and the names of feature maps to give too."""

    model: nn.Module = flax.struct.field(pytree_node=False)
    params: Any
    batch_stats: Any
    feature_maps: tuple[str, ...] = flax.struct.field(pytree_node=False, default=())

    def predict(self, images: jax.Array) -> Prediction:
        """Under running batch statistics, without gradient."""
        prediction, _ = self._apply(images, train=False)
        return jax.lax.stop_gradient(prediction)

    def train(self, images: jax.Array) -> tuple[Prediction, Any]:
        """Under the batch's own statistics, and the running ones after it."""
        return self._apply(images, train=True)

    def _apply(self, images: jax.Array, train: bool) -> tuple[Prediction, Any]:
        variables = {"params": self.params, "batch_stats": self.batch_stats}
        mutable = ["batch_stats"] * train + ["intermediates"] * bool(self.feature_maps)
        logits, updated = self.model.apply(variables, images, train=train, mutable=mutable)
        found = named_features(updated.get("intermediates", {}))
        features = {name: found[name] for name in self.feature_maps}
        return Prediction(logits, features), updated.get("batch_stats", self.batch_stats)


def paste_prediction(box: jax.Array, inside: Prediction, outside: Prediction) -> Prediction:
    """`inside` where the box [B, H, W] is true, in the logits and, at their size, in features."""
    features = {
        name: paste(resize_box(box, value.shape[1:3]), value, outside.features[name])
        for name, value in inside.features.items()
    }
    return Prediction(paste(box, inside.logits, outside.logits), features)


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
