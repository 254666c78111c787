"""Cross-entropy against the teacher's confident pseudo-labels, and their statistics."""

import jax
import jax.numpy as jnp

from ipixmatch_jax.losses.checks import check_logits, check_map, check_pair
from ipixmatch_jax.losses.consistency import consistency_loss


def confidence_mask(
    teacher_logits: jax.Array, valid: jax.Array, confidence: float | jax.Array
) -> jax.Array:
    """1 at valid pixels whose largest teacher probability reaches `confidence`, else 0.

    Args:
        teacher_logits: [B,H,W,C], any float dtype.
        valid: [B,H,W] bool, false on padding.
        confidence: threshold in [0, 1], or one for each pixel [B,H,W]; 0 keeps every valid pixel.

    Returns:
        keep, [B,H,W] float32. No gradient flows to the teacher.

    Raises:
        ValueError: shapes that do not fit together.
    """
    check_logits("teacher_logits", teacher_logits)
    check_map("valid", valid, teacher_logits)
    confident = _max_prob(teacher_logits) >= confidence
    return (valid.astype(bool) & confident).astype(jnp.float32)


def pixel_entropy(logits: jax.Array) -> jax.Array:
    """Entropy of each pixel's class probabilities in nats, [B,H,W,C] -> [B,H,W] float32."""
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


def pseudo_label_loss(
    student_logits: jax.Array,
    teacher_logits: jax.Array,
    valid: jax.Array,
    *,
    confidence: float | jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sum of the student's cross-entropy against the teacher's hard, confident labels.

    The loss of a batch is `total / count`, and count is the number of *valid* pixels, not of
    confident ones: while the teacher is unsure the loss is small, as in FixMatch (arXiv 2001.07685)
    and UniMatch (arXiv 2208.09910).

    Args:
        student_logits: [B,H,W,C], any float dtype; computed in float32.
        teacher_logits: [B,H,W,C]; no gradient flows to it.
        valid: [B,H,W] bool, false on padding.
        confidence: threshold on the largest teacher probability, in [0, 1].

    Returns:
        (total, count, keep): float32 scalars, and `confidence_mask` [B,H,W] float32.

    Raises:
        ValueError: shapes that do not fit together.

    Example:
        >>> teacher = jnp.array([[[[4.0, 0.0], [0.1, 0.0]]]])  # [B=1, H=1, W=2, C=2]
        >>> valid = jnp.ones((1, 1, 2), bool)
        >>> total, count, keep = pseudo_label_loss(0 * teacher, teacher, valid, confidence=0.95)
        >>> print(f'{total / count:.4f}', keep)
        0.3466 [[[1. 0.]]]
    """
    check_pair(student_logits, teacher_logits)
    keep = confidence_mask(teacher_logits, valid, confidence)
    total = consistency_loss(student_logits, teacher_logits, keep, "pseudo_label")
    return total, jnp.sum(valid.astype(bool), dtype=jnp.float32), keep


def class_thresholds(
    teacher_logits: jax.Array,
    valid: jax.Array,
    confidence: float | jax.Array,
    axis_name: str | None = None,
) -> jax.Array:
    """A threshold for each pixel by its class, lower for classes that the teacher is unsure of.

    τ_c = τ·m_c / max m, m_c the teacher's mean confidence at the batch's valid pixels that it gives
    class c: the relative rule of FlexMatch (arXiv 2110.08263) and FreeMatch (arXiv 2205.07246),
    without memory of earlier batches. A class without a pixel has τ.

    Args:
        teacher_logits: [B,H,W,C].
        valid: [B,H,W] bool.
        confidence: τ, the largest threshold.
        axis_name: the mapped axis over whose devices the means are taken; None: this one's.

    Returns:
        [B,H,W] float32, without gradient.
    """
    classes = teacher_logits.shape[-1]
    label = jnp.argmax(teacher_logits, axis=-1)
    of_class = jax.nn.one_hot(label, classes, dtype=jnp.float32)
    of_class = jnp.where(valid[..., None], of_class, 0.0)
    sure = jnp.sum(of_class * _max_prob(teacher_logits)[..., None], axis=(0, 1, 2))
    count = jnp.sum(of_class, axis=(0, 1, 2))
    if axis_name is not None:
        sure, count = jax.lax.psum((sure, count), axis_name)
    mean = sure / jnp.maximum(count, 1.0)
    share = jnp.where(count > 0, mean / jnp.maximum(jnp.max(mean), 1e-12), 1.0)
    return (confidence * share)[label]


def pseudo_label_statistics(
    student_logits: jax.Array, teacher_logits: jax.Array, valid: jax.Array, keep: jax.Array
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Statistics of a batch's pseudo-labels as totals and counts; sum both, then divide.

    - `confident_share`: kept pixels over valid pixels.
    - `agreement`: valid pixels where student and teacher choose the same class, over valid pixels.
    - `mean_confidence`: the teacher's largest probability, summed over valid pixels, over them.
    - `class_acceptance`: for each class, kept pixels over valid pixels that the teacher gives it.

    Args:
        student_logits: [B,H,W,C], any float dtype.
        teacher_logits: [B,H,W,C].
        valid: [B,H,W] bool, false on padding.
        keep: [B,H,W] from `confidence_mask` or `pseudo_label_loss`.

    Returns:
        name -> (total, count): float32 scalars, vectors [C] for `class_acceptance`. No gradient.

    Raises:
        ValueError: shapes that do not fit together.
    """
    check_pair(student_logits, teacher_logits)
    check_map("valid", valid, teacher_logits)
    check_map("keep", keep, teacher_logits)
    student_logits, keep = jax.lax.stop_gradient((student_logits, keep))
    valid = valid.astype(bool)
    pixels = jnp.sum(valid, dtype=jnp.float32)
    accepted = jnp.where(valid, keep.astype(jnp.float32), 0.0)
    label = jnp.argmax(teacher_logits, axis=-1)
    agree = valid & (jnp.argmax(student_logits, axis=-1) == label)
    of_class = (label[..., None] == jnp.arange(teacher_logits.shape[-1])[None, None, None]) & (
        valid[..., None]
    )
    per_class = (0, 1, 2)
    return {
        "confident_share": (jnp.sum(accepted), pixels),
        "agreement": (jnp.sum(agree, dtype=jnp.float32), pixels),
        "mean_confidence": (jnp.sum(jnp.where(valid, _max_prob(teacher_logits), 0.0)), pixels),
        "class_acceptance": (
            jnp.sum(jnp.where(of_class, accepted[..., None], 0.0), axis=per_class),
            jnp.sum(of_class, axis=per_class, dtype=jnp.float32),
        ),
    }


def _max_prob(logits: jax.Array) -> jax.Array:
    """Largest probability of each pixel, [B,H,W] float32, without gradient."""
    logits = jax.lax.stop_gradient(logits).astype(jnp.float32)
    return jnp.max(jax.nn.softmax(logits, axis=-1), axis=-1)
