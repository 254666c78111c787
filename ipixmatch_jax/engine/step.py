"""The per-device train step; `devices.parallel` runs it on all devices, over the axis `data`."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from ipixmatch_jax.engine.gradient_balance import SQUARES, followed
from ipixmatch_jax.engine.objective import Objective
from ipixmatch_jax.engine.state import DATA_AXIS, TrainState, networks
from ipixmatch_jax.methods import Batch, Method, Network
from ipixmatch_jax.models import completed, learned, matching
from ipixmatch_jax.registry import Registry
from ipixmatch_jax.views import Views

Metrics = dict[str, jax.Array]

TEACHERS: Registry[Callable[[jax.Array, float], jax.Array]] = Registry("teacher kind")


@TEACHERS.register("ema")
def ema_decay(step: jax.Array, decay: float) -> jax.Array:
    """min(1 − 1/(k+1), d) after step k: a plain mean at first, then a moving one."""
    return jnp.minimum(1.0 - 1.0 / (step.astype(jnp.float32) + 1.0), decay)


@TEACHERS.register("student")
def no_decay(step: jax.Array, decay: float) -> jax.Array:
    """The teacher is the student of the step before."""
    return jnp.zeros((), jnp.float32)


@flax.struct.dataclass
class Gradients:
    """The gradients and statistics of a batch, the same on every device.

    Attributes:
        grads: of the student's parameters, without frozen ones.
        batch_stats: the student's running batch statistics after the batch.
        metrics: name → float32 scalar.
        squares: float32 [1 + relations], squared norms of gradients with respect to the logits, as
            `TrainState.balance` follows them; () if that is.
    """

    grads: Any
    batch_stats: Any
    metrics: Metrics
    squares: Any = ()


@dataclasses.dataclass(frozen=True)
class TrainStep:
    """The pure step `(state, batch) -> (state, metrics)` of one device, under an axis `data`.

    The batch holds this device's records. Gradients, counts and statistics are summed over the
    axis, so that every device returns the same state. A step whose loss or gradient is not finite
    changes nothing but the counters.

    Attributes:
        gradients: `(state, batch) -> Gradients`; all collectives are here.
        update: `(state, Gradients) -> (state, metrics)`; elementwise arithmetic on whole arrays
            except for the gradient's norm, so that a compiler may split it over devices.
    """

    gradients: Callable[[TrainState, Batch], Gradients]
    update: Callable[[TrainState, Gradients], tuple[TrainState, Metrics]]

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        return self.update(state, self.gradients(state, batch))


def make_train_step(
    model: nn.Module,
    method: Method,
    views: Views,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    *,
    teacher_kind: str = "ema",
    teacher_decay: float = 0.996,
    total_steps: int = 1,
    frozen: Sequence[str] = (),
    accumulate_steps: int = 1,
) -> TrainStep:
    """The train step of a method.

    Args:
        model, method, views, objective: the network, its framework and the loss.
        optimizer, schedule: for the student's parameters.
        teacher_kind, teacher_decay: a name in `TEACHERS`, and its decay.
        total_steps: length of the run, in steps.
        frozen: modules without gradient, as in `models.is_frozen`.
        accumulate_steps: number of micro-batches per device, which run one after the other in the
            memory of one. Losses are divided by the counts of the whole batch, so that the sum of
            the parts' gradients is the gradient of the whole batch. Only what combines records is
            limited to its part: batch norm (whose running statistics move once a part), CutMix
            partners of `mix='flip'`, and losses or thresholds that rank pixels over the batch.
    """
    decay_at = TEACHERS[teacher_kind]
    return TrainStep(
        _gradients_of(model, method, views, objective, total_steps, frozen, accumulate_steps),
        _update_by(objective, optimizer, schedule, decay_at, teacher_decay),
    )


def _gradients_of(
    model: nn.Module,
    method: Method,
    views: Views,
    objective: Objective,
    total_steps: int,
    frozen: Sequence[str],
    accumulate_steps: int,
) -> Callable[[TrainState, Batch], Gradients]:
    maps = objective.feature_maps

    def output_of(state, params, batch_stats, batch):
        progress = state.step.astype(jnp.float32) / total_steps
        teacher = Network(model, feature_maps=maps, progress=progress, **networks(state)["teacher"])
        student = Network(model, completed(params, state.params), batch_stats, maps, progress)
        return method(student, teacher, views, batch)

    def part_gradients(state, batch_stats, batch, divisors=None):
        def loss_share(params):
            output = output_of(state, params, batch_stats, batch)
            share, metrics = objective(
                output, batch["labeled"], state.step, divisors, state.balance
            )
            return share, (metrics, output.batch_stats)

        trained = learned(state.params, frozen)
        grads, (metrics, batch_stats) = jax.grad(loss_share, has_aux=True)(trained)
        return (grads, metrics), batch_stats

    def part_counts(state, batch):
        output = output_of(state, state.params, state.batch_stats, batch)
        return objective.counts(output, batch["labeled"], state.step)

    def gradients(state: TrainState, batch: Batch) -> Gradients:
        if accumulate_steps == 1:
            sums, batch_stats = part_gradients(state, state.batch_stats, batch)
        else:
            parts = _in_parts(batch, accumulate_steps)
            counts, _ = _scan_sum(lambda _, part: (part_counts(state, part), ()), (), parts)
            divisors = objective.divisors(counts)
            sums, batch_stats = _scan_sum(
                lambda stats, part: part_gradients(state, stats, part, divisors),
                state.batch_stats,
                parts,
            )
        grads, metrics = jax.lax.psum(sums, DATA_AXIS)
        squares = metrics.pop(SQUARES, ())
        metrics = {name: _divided(value) for name, value in metrics.items()}
        return Gradients(grads, batch_stats, metrics, squares)

    return gradients


def _update_by(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    decay_at: Callable[[jax.Array, float], jax.Array],
    teacher_decay: float,
) -> Callable[[TrainState, Gradients], tuple[TrainState, Metrics]]:
    def update(state: TrainState, found: Gradients) -> tuple[TrainState, Metrics]:
        grad_norm = optax.tree.norm(found.grads)
        # The optimizer knows what is frozen; it leaves these zeros as they are.
        zeros = functools.partial(jax.tree.map, jnp.zeros_like)
        grads = completed(found.grads, state.params, zeros)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        decay = decay_at(state.step, teacher_decay)
        teacher_params, teacher_batch_stats = optax.incremental_update(
            (matching(params, state.teacher_params), found.batch_stats),
            (state.teacher_params, state.teacher_batch_stats),
            1.0 - decay,
        )
        new_state = state.replace(
            params=params,
            batch_stats=found.batch_stats,
            opt_state=opt_state,
            teacher_params=teacher_params,
            teacher_batch_stats=teacher_batch_stats,
            balance=followed(state.balance, found.squares) if objective.balanced else (),
        )
        finite = jnp.isfinite(found.metrics["loss"]) & jnp.isfinite(grad_norm)
        new_state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), new_state, state)
        new_state = new_state.replace(
            step=state.step + 1, bad_steps=jnp.where(finite, 0, state.bad_steps + 1)
        )
        metrics = found.metrics | {
            "grad_norm": grad_norm,
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
            "unlabeled_weight": objective.ramp(state.step),
            "teacher_decay": decay,
            "bad_steps": new_state.bad_steps,
        }
        if objective.balanced:
            strengths = objective.strengths(state.step, state.balance)
            for relation, strength in zip(objective.relations, strengths, strict=True):
                metrics[relation.label.replace("relation", "relation_weight", 1)] = strength
        return new_state, metrics

    return update


def _in_parts(batch: Batch, parts: int) -> Batch:
    """Records [b, ...] as [parts, b / parts, ...]."""
    return jax.tree.map(lambda leaf: leaf.reshape(parts, -1, *leaf.shape[1:]), batch)


def _scan_sum(take: Callable, carry: Any, parts: Batch) -> tuple[Any, Any]:
    """Sum of the first results of `take(carry, part) -> (result, carry)`, and the last carry."""

    def add(so_far, part):
        total, carry = so_far
        result, carry = take(carry, part)
        return (jax.tree.map(jnp.add, total, result), carry), None

    first = jax.tree.map(lambda leaf: leaf[0], parts)
    shapes, _ = jax.eval_shape(take, carry, first)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.scan(add, (zeros, carry), parts)[0]


def _divided(value: Any) -> jax.Array:
    """Shares as they are; numerator over denominator, 0 if nothing was counted."""
    if not isinstance(value, tuple):
        return value
    total, count = value
    return jnp.where(count > 0, total / jnp.maximum(count, 1e-12), 0.0)
