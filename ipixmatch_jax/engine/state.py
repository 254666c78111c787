"""The train state: one pytree that a checkpoint saves whole."""

from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from ipixmatch_jax.models import completed, learned, matching

# The axis of devices, over which collectives run.
DATA_AXIS = "data"
NETWORKS = ("student", "teacher")


@flax.struct.dataclass
class TrainState:
    """Everything that a step reads and writes.

    Attributes:
        step: int32 scalar, steps taken.
        bad_steps: int32 scalar, non-finite steps in a row that were skipped.
        params, batch_stats: the student's weights and running batch statistics.
        opt_state: the optax state of `params`.
        teacher_params, teacher_batch_stats: their exponential moving averages. Frozen parameters
            are those of the student, and only there (see `models.learned`).
        balance: if relations are weighted by gradients, float32 [1 + relations]: moving averages of
            the gradients' norms, of the pseudo-label loss and of each relation (see
            `Objective.strengths`; 0 for one with a fixed weight); () otherwise.
    """

    step: jax.Array
    bad_steps: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    teacher_params: Any
    teacher_batch_stats: Any
    balance: Any = ()


def create_state(
    variables: Any,
    optimizer: optax.GradientTransformation,
    balanced: int = 0,
    frozen: Sequence[str] = (),
) -> TrainState:
    """The state before the first step; the teacher starts as a copy of the student.

    Call it inside `jax.jit`, so that student and teacher get buffers of their own (a donated state
    may not hold one buffer twice).

    Args:
        variables: `{'params': …, 'batch_stats': …}` of the model; without batch norm the second is
            absent.
        balanced: `Objective.balanced`, the length of `TrainState.balance`.
        frozen: modules without gradient, as in `models.is_frozen`.
    """
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        bad_steps=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        teacher_params=learned(params, frozen),
        teacher_batch_stats=batch_stats,
        balance=jnp.zeros(balanced, jnp.float32) if balanced else (),
    )


def held_teacher(params: Any, state: TrainState) -> Any:
    """Of a whole teacher's parameters, those that a state like `state` holds."""
    return matching(params, state.teacher_params)


def networks(state: TrainState) -> dict[str, Any]:
    """`student` and `teacher`, each as `{'params', 'batch_stats'}`."""
    teacher_params = completed(state.teacher_params, state.params)
    return {
        "student": {"params": state.params, "batch_stats": state.batch_stats},
        "teacher": {"params": teacher_params, "batch_stats": state.teacher_batch_stats},
    }
