"""Gradients of many losses by the student's parameters, from one forward pass each batch.

Every loss is a function of the student's predictions, so its gradient is that by the predictions,
which is cheap, taken through one backward pass. All passes of one kind share a compiled program.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ipixmatch_jax.devices.parallel import ShardMap
from ipixmatch_jax.diagnose.losses import Loss
from ipixmatch_jax.diagnose.truth import TRUTH, InformedNetwork
from ipixmatch_jax.methods import Batch, Method, MethodOutput, Network
from ipixmatch_jax.models import completed, learned
from ipixmatch_jax.views import Views

# What of a method's output depends on the student: the logits and features of every term, and the
# totals of losses of the method's own.
_Seen = tuple[tuple[tuple[jax.Array, dict[str, jax.Array]], ...], dict[str, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Step:
    """The parts of a run's train step that its gradients depend on.

    Attributes:
        model, method, views: the network, its framework, and its views.
        feature_maps: the feature maps that the losses compare.
        frozen: modules without gradient.
        progress: share of the run that is done.
        number: the step, int.
    """

    model: nn.Module
    method: Method
    views: Views
    feature_maps: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    progress: float = 0.0
    number: int = 0


class Gradients:
    """Gradients of losses of a batch, as vectors [P] float32 of all parameters, on one device.

    A batch has `labeled`, `unlabeled` and `mix` as training batches, but all of them with `mask`.
    The method is not given the masks of the last two: only `losses.true_labels` sees them.
    """

    def __init__(self, step: Step, networks: Mapping[str, Any]):
        self._step = step
        self._layout = ShardMap(jax.devices()[:1])
        self._networks = self._layout.replicate(dict(networks))
        self._forward = self._layout.distribute(self._seen_and_pullback)
        self._backward = self._layout.distribute(_pulled_back)
        self._by_loss: dict[Loss, Callable] = {}

    @property
    def parameters(self) -> int:
        """P, the number of parameters of the student."""
        return sum(leaf.size for leaf in jax.tree.leaves(self._networks["student"]["params"]))

    def own_losses(self, batch: Batch) -> tuple[str, ...]:
        """Names of the losses of the method's own; nothing is compiled."""
        output = jax.eval_shape(self._forward, self._networks, batch)[2]
        return tuple(sorted(output.extra))

    def labeled(self, loss: Loss, batch: Batch) -> jax.Array:
        """The gradient of a loss of the labeled images."""
        if loss not in self._by_loss:
            self._by_loss[loss] = self._layout.distribute(
                functools.partial(self._labeled_gradient, loss)
            )
        return self._by_loss[loss](self._networks, batch)

    def unlabeled(self, losses: Sequence[Loss], batch: Batch):
        """Yields the gradient of each loss of the consistency terms, from one forward pass."""
        seen, pullback, output = self._forward(self._networks, batch)
        for loss in losses:
            if loss not in self._by_loss:
                self._by_loss[loss] = self._layout.distribute(
                    functools.partial(self._by_predictions, loss)
                )
            slope = self._by_loss[loss](seen, output, batch["labeled"])
            yield self._backward(pullback, slope, {})

    def _output_of(self, networks: Any, params: Any, batch: Batch) -> MethodOutput:
        step = self._step
        known = [batch[name] for name in ("unlabeled", "mix")]
        truth = {
            "known": step.views.weak(jnp.concatenate([part["image"] for part in known])),
            "masks": jnp.concatenate([part["mask"] for part in known]),
        }

        def network(params: Any, batch_stats: Any) -> Network:
            return InformedNetwork(
                step.model, params, batch_stats, step.feature_maps, step.progress, **truth
            )

        student, teacher = networks["student"], networks["teacher"]
        unmasked = {
            name: {key: value for key, value in part.items() if name == "labeled" or key != "mask"}
            for name, part in batch.items()
        }
        # Frozen parameters get no gradient.
        params = completed(learned(params, step.frozen), jax.lax.stop_gradient(params))
        return step.method(
            network(params, student["batch_stats"]),
            network(teacher["params"], teacher["batch_stats"]),
            step.views,
            unmasked,
        )

    def _seen_and_pullback(self, networks: Any, batch: Batch) -> tuple[_Seen, Any, MethodOutput]:
        def passes(params: Any) -> tuple[_Seen, MethodOutput]:
            output = self._output_of(networks, params, batch)
            return _seen(output), output.replace(batch_stats={})

        return jax.vjp(passes, networks["student"]["params"], has_aux=True)

    def _labeled_gradient(self, loss: Loss, networks: Any, batch: Batch) -> jax.Array:
        def value(params: Any) -> jax.Array:
            output = self._output_of(networks, params, batch)
            return loss(output, batch["labeled"], jnp.int32(self._step.number))

        return _vector(jax.grad(value)(networks["student"]["params"]))

    def _by_predictions(
        self, loss: Loss, seen: _Seen, output: MethodOutput, labeled: dict[str, jax.Array]
    ) -> _Seen:
        def value(seen: _Seen) -> jax.Array:
            return loss(_with_seen(output, seen), labeled, jnp.int32(self._step.number))

        return jax.grad(value)(seen)


def _seen(output: MethodOutput) -> _Seen:
    terms = tuple(
        (term.student_logits, {n: x for n, x in term.student_features.items() if n != TRUTH})
        for term in output.terms
    )
    return terms, {name: total for name, (_, (total, _)) in output.extra.items()}


def _with_seen(output: MethodOutput, seen: _Seen) -> MethodOutput:
    terms, totals = seen
    return output.replace(
        terms=tuple(
            term.replace(student_logits=logits, student_features=features)
            for term, (logits, features) in zip(output.terms, terms, strict=True)
        ),
        extra={
            name: (weight, (totals[name], count))
            for name, (weight, (_, count)) in output.extra.items()
        },
    )


def _pulled_back(pullback: Any, slope: _Seen, _: Any) -> jax.Array:
    return _vector(pullback(slope)[0])


def _vector(gradient: Any) -> jax.Array:
    return ravel_pytree(jax.tree.map(lambda x: x.astype(jnp.float32), gradient))[0]


# Sums of a few hundred thousand numbers one after the other lose three digits; blocks keep them.
_BLOCK = 1024


@jax.jit
def products(basis: jax.Array, gradient: jax.Array) -> jax.Array:
    """Inner products of a gradient [P] with each of [n,P], and with itself: [n + 1] float32."""
    fill = -gradient.size % _BLOCK
    basis, gradient = (
        jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, fill)]).reshape(*x.shape[:-1], -1, _BLOCK)
        for x in (basis, gradient)
    )
    with_basis = jnp.sum(basis * gradient[None], axis=-1)
    with_itself = jnp.sum(gradient * gradient, axis=-1)
    return jnp.sum(jnp.concatenate([with_basis, with_itself[None]]), axis=-1)
