"""The per-device train step. `parallel` spreads it; the axis over devices is called `data`."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from ipixmatch_jax.engine.objective import DATA_AXIS, Objective
from ipixmatch_jax.engine.state import TrainState
from ipixmatch_jax.methods import Batch, Method, Network
from ipixmatch_jax.models import stop_frozen
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
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """The pure step `(state, batch) -> (state, metrics)` of one device, under an axis `data`.

    The batch holds this device's records. Gradients, counts and statistics are summed over the
    axis, so that every device returns the same state. A step whose loss or gradient is not finite
    changes nothing but the counters.
    """
    decay_at = TEACHERS[teacher_kind]
    maps = objective.feature_maps

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        progress = state.step.astype(jnp.float32) / total_steps
        teacher = Network(model, state.teacher_params, state.teacher_batch_stats, maps, progress)

        def loss_share(params):
            params = stop_frozen(params, frozen)
            student = Network(model, params, state.batch_stats, maps, progress)
            output = method(student, teacher, views, batch)
            share, metrics = objective(output, batch["labeled"], state.step)
            return share, (metrics, output.batch_stats)

        grads, (metrics, batch_stats) = jax.grad(loss_share, has_aux=True)(state.params)
        grads, metrics = jax.lax.psum((grads, metrics), DATA_AXIS)
        metrics = {name: _divided(value) for name, value in metrics.items()}
        grad_norm = optax.tree.norm(grads)

        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        decay = decay_at(state.step, teacher_decay)
        teacher_params, teacher_batch_stats = optax.incremental_update(
            (params, batch_stats), (state.teacher_params, state.teacher_batch_stats), 1.0 - decay
        )
        new_state = state.replace(
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            teacher_params=teacher_params,
            teacher_batch_stats=teacher_batch_stats,
        )
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(grad_norm)
        new_state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), new_state, state)
        new_state = new_state.replace(
            step=state.step + 1, bad_steps=jnp.where(finite, 0, state.bad_steps + 1)
        )
        metrics |= {
            "grad_norm": grad_norm,
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
            "unlabeled_weight": objective.ramp(state.step),
            "teacher_decay": decay,
            "bad_steps": new_state.bad_steps,
        }
        return new_state, metrics

    return train_step


def _divided(value: Any) -> jax.Array:
    """Shares as they are; numerator and denominator divided, 0 where there was nothing to count."""
    if not isinstance(value, tuple):
        return value
    total, count = value
    return jnp.where(count > 0, total / jnp.maximum(count, 1e-12), 0.0)
