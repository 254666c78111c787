"""How a student is compared with its teacher's prediction of the same pixels."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ipixmatch_jax.losses.checks import check_map, check_pair
from ipixmatch_jax.losses.supervised import pixel_cross_entropy
from ipixmatch_jax.registry import Registry

CONSISTENCY: Registry[Callable[[jax.Array, jax.Array], jax.Array]] = Registry("consistency")

# These compare every valid pixel, whatever the teacher's confidence.
SOFT = ("mse", "soft_cross_entropy")


@CONSISTENCY.register("pseudo_label")
def hard_cross_entropy(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """−log q of the teacher's likeliest class (FixMatch, arXiv 2001.07685)."""
    return pixel_cross_entropy(student, jnp.argmax(teacher, axis=-1))


@CONSISTENCY.register("kl")
def divergence(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """KL(p ‖ q) of the two softmaxes, at confident pixels (CorrMatch, arXiv 2306.04300)."""
    log_p, log_q = jax.nn.log_softmax(teacher), jax.nn.log_softmax(student)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


@CONSISTENCY.register("mse")
def square_gap(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """Mean over classes of (q − p)² (Mean Teacher, arXiv 1703.01780)."""
    return jnp.mean((jax.nn.softmax(student) - jax.nn.softmax(teacher)) ** 2, axis=-1)


@CONSISTENCY.register("soft_cross_entropy")
def soft_cross_entropy(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """−Σ p·log q."""
    return -jnp.sum(jax.nn.softmax(teacher) * jax.nn.log_softmax(student), axis=-1)


def consistency_loss(
    student_logits: jax.Array, teacher_logits: jax.Array, weight: jax.Array, distance: str
) -> jax.Array:
    """Sum over pixels of a distance, times a weight.

    Args:
        student_logits: [B,H,W,C], any float dtype; computed in float32.
        teacher_logits: [B,H,W,C]; no gradient flows to it.
        weight: [B,H,W], at least 0; pixels of weight 0 change nothing, whatever their logits.
        distance: a name in `CONSISTENCY`: a function of two maps of logits [B,H,W,C] float32 that
            gives [B,H,W].

    Returns:
        float32 scalar.

    Raises:
        ConfigError: unknown distance.
        ValueError: shapes that do not fit together.
    """
    check_pair(student_logits, teacher_logits)
    check_map("weight", weight, student_logits)
    teacher_logits, weight = jax.lax.stop_gradient((teacher_logits, weight.astype(jnp.float32)))
    kept = weight > 0
    student, teacher = (
        jnp.where(kept[..., None], x.astype(jnp.float32), 0.0)
        for x in (student_logits, teacher_logits)
    )
    return jnp.sum(jnp.where(kept, weight * CONSISTENCY[distance](student, teacher), 0.0))
