"""The contract between teacher-student frameworks and losses."""

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.keys import Key
from ipixmatch_jax.losses import Ratio
from ipixmatch_jax.models import named_features
from ipixmatch_jax.models.extent import Extent
from ipixmatch_jax.registry import Registry, imported, nearest
from ipixmatch_jax.views import Views

Batch = Mapping[str, Mapping[str, jax.Array]]


@flax.struct.dataclass
class ConsistencyTerm:
    """One student prediction and the teacher's prediction of the same pixels.

    Attributes:
        student_logits: [B, H, W, C], carries the gradient.
        teacher_logits: [B, H, W, C], without gradient, mixed as a map by the same CutMix box as the
            student's image, so that soft targets and relations compare the same pixels.
        valid: bool [B, H, W], false on padding; mixed by the same box.
        weight: factor of this term in the loss.
        distance: how the student is compared, a name in `losses.CONSISTENCY`.
        keep: float32 [B, H, W], the pixels that the pseudo-label loss averages over, if the method
            chooses them itself; None: confident pixels count, and the mean is over valid ones.
        student_features, teacher_features: name → [B, h, w, ·], the feature maps that a relation
            asked for, of the same pixels, the teacher's without gradient and mixed by the same box.
    """

    student_logits: jax.Array
    teacher_logits: jax.Array
    valid: jax.Array
    weight: float = flax.struct.field(pytree_node=False, default=1.0)
    distance: str = flax.struct.field(pytree_node=False, default="pseudo_label")
    keep: jax.Array | None = None
    student_features: dict[str, jax.Array] = dataclasses.field(default_factory=dict)
    teacher_features: dict[str, jax.Array] = dataclasses.field(default_factory=dict)


@flax.struct.dataclass
class MethodOutput:
    """The predictions and terms that a method passes to the losses.

    Attributes:
        labeled_logits: [k·B, H, W, C], k predictions of the labeled images, concatenated; their
            losses add up.
        terms: the consistency terms; empty for a supervised run.
        batch_stats: the student's running batch statistics after this step.
        labeled_weight: factor of the supervised loss.
        extra: name → (weight, (total, count)), losses of the method's own.
    """

    labeled_logits: jax.Array
    terms: tuple[ConsistencyTerm, ...]
    batch_stats: Any
    labeled_weight: float = flax.struct.field(pytree_node=False, default=1.0)
    extra: dict[str, tuple[float, Ratio]] = dataclasses.field(default_factory=dict)


@flax.struct.dataclass
class Prediction:
    """The predictions of a network for a batch.

    Attributes:
        logits: [B, H, W, C].
        features: name → [B, h, w, ·], the feature maps that were asked for.
    """

    logits: jax.Array
    features: dict[str, jax.Array] = dataclasses.field(default_factory=dict)

    def rows(self, start: int, stop: int) -> "Prediction":
        """The predictions of images start … stop − 1."""
        return jax.tree.map(lambda x: x[start:stop], self)


Through = Callable[[tuple[jax.Array, ...]], tuple[jax.Array, ...]]


@flax.struct.dataclass
class Network:
    """A model together with its weights.

    Attributes:
        model, params, batch_stats: as `model.apply` takes them.
        feature_maps: names of the feature maps that predictions include.
        progress: float32 scalar, the share of the run that is done, for a method's own schedules.
    """

    model: nn.Module = flax.struct.field(pytree_node=False)
    params: Any
    batch_stats: Any
    feature_maps: tuple[str, ...] = flax.struct.field(pytree_node=False, default=())
    progress: jax.Array | float = 0.0

    def predict(self, images: jax.Array, batch_norm: str = "eval") -> Prediction:
        """Predictions without gradient, under running statistics or (`train`) the batch's own."""
        prediction, _ = self._apply(images, batch_norm == "train", None)
        return jax.lax.stop_gradient(prediction)

    def within(self, extent: Extent) -> "Network":
        """The network for images in a frame, of a model that has a `frame_multiple`."""
        return self.replace(model=self.model.within(extent))

    def train(self, images: jax.Array, through: Through | None = None) -> tuple[Prediction, Any]:
        """Predictions under the batch's own statistics, and the running statistics after it.

        `through` changes the encoder's features before the decoder. It may lengthen the batch: then
        decoding perturbed features costs no second pass of the encoder.
        """
        return self._apply(images, True, through)

    def part(self, name: str) -> "Network":
        """One network of a model that holds several, such as `models.Twins`."""
        stats = self.batch_stats.get(name, {})
        return self.replace(
            model=getattr(self.model, name), params=self.params[name], batch_stats=stats
        )

    def _apply(
        self, images: jax.Array, train: bool, through: Through | None
    ) -> tuple[Prediction, Any]:
        variables = {"params": self.params, "batch_stats": self.batch_stats}
        mutable = ["batch_stats"] * train + ["intermediates"] * bool(self.feature_maps)

        def forward(model: nn.Module, images: jax.Array) -> jax.Array:
            if through is None:
                return model(images, train=train)
            features = through(model.encode(images, train))
            return model.decode(features, images.shape[1:3], train)

        logits, updated = self.model.apply(variables, images, method=forward, mutable=mutable)
        found = named_features(updated.get("intermediates", {}))
        features = {name: found[name] for name in self.feature_maps}
        return Prediction(logits, features), updated.get("batch_stats", self.batch_stats)


class Method(abc.ABC):
    """A teacher-student framework: which views go through which network.

    Methods are frozen dataclasses: their fields are the keys of `config.method` that they read. The
    training loop and the evaluator read the attributes below; a method that has no choice of one
    leaves it out.

    Attributes:
        uses_unlabeled: true if it reads the streams `unlabeled` and `mix`.
        networks: the number of networks that are trained together; 2 gives it `models.Twins`.
        confidence: pseudo-labels of at least this probability count.
        mix: the CutMix partner; by `same` the loader fills the stream `mix` with other crops of the
            images in `unlabeled`, else with other images.
        labeler: the network that makes the pseudo-labels, `teacher` or `student`; empty where that
            is no choice: then the teacher does, or of two networks each other's.
    """

    uses_unlabeled: ClassVar[bool] = True
    networks: ClassVar[int] = 1
    confidence: float = 0.95
    mix: str = "stream"
    labeler: str = ""

    @abc.abstractmethod
    def __call__(
        self, student: Network, teacher: Network, views: Views, batch: Batch
    ) -> MethodOutput:
        """The passes of one step.

        Args:
            student, teacher: the networks before the step.
            views: makes weak and strong views, and CutMix boxes.
            batch: `labeled` with image, mask, valid and key; `unlabeled` and `mix` without mask.
        """

    @property
    def labeling_network(self) -> str:
        """The network whose predictions are the pseudo-labels, to evaluate them; '' without any.

        Of two students that label each other, the first is evaluated, as the student.
        """
        if not self.uses_unlabeled:
            return ""
        return self.labeler or ("student" if self.networks == 2 else "teacher")


def option(default: Any, **limits: Any) -> Any:
    """A field of a method whose values have limits, given as the arguments of `keys.Key`."""
    return dataclasses.field(default=default, metadata={"key": Key(default, "", **limits)})


METHODS: Registry[type[Method]] = Registry("method")


def find_method(name: str) -> type[Method]:
    """The registered method of this name, or the class that `package.module:Class` names.

    Raises:
        ConfigError: no such method, module or class.
    """
    if ":" not in name:
        return METHODS[name]
    found = imported("method.name", name, "package.module:Class")
    if not (dataclasses.is_dataclass(found) and callable(found)):
        raise ConfigError(f"method.name is {name!r}, which is not a dataclass; see docs/methods.md")
    return found if issubclass(found, Method) else _with_defaults(found)


@functools.cache
def _with_defaults(found: type) -> type[Method]:
    """A class that does not inherit from `Method`, with the attributes that it leaves out."""
    return type(found.__name__, (found, Method), {"__module__": found.__module__})


def make_method(name: str, options: Mapping[str, Any]) -> Method:
    """The method, built from the options that it has a field for; None leaves a field's default.

    Raises:
        ConfigError: an unknown method, an invalid value, or a key of `options` (the group for
            fields of your own method) that it has no field for.
    """
    method = find_method(name)
    fields = {field.name for field in dataclasses.fields(method)}
    own = dict(options.get("options", {}))
    for key in own:
        if key not in fields:
            raise ConfigError(
                f"method.options.{key} is not a field of method {name!r}{nearest(key, fields)}"
            )
    for field in dataclasses.fields(method):
        limits = field.metadata.get("key")
        if limits and field.name in own:
            problem = limits.problem(f"method.options.{field.name}", own[field.name])
            if problem:
                raise ConfigError(problem)
    given = {key: value for key, value in options.items() if key in fields and value is not None}
    return method(**given, **own)


def one_of(**choices: tuple[Any, tuple[Any, ...]]) -> None:
    """Raises ConfigError if a value, the first of a pair, is not one of the second."""
    for name, (value, known) in choices.items():
        if value not in known:
            expected = ", ".join(map(str, known))
            raise ConfigError(f"method.{name} is {value!r}; expected one of {expected}")


def concatenated(*parts: Any) -> Any:
    """Pytrees of arrays, joined along the batch."""
    return jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts)
