"""Relation `class_map`: one class channel as a map over all pixels of an image.

Both distances need memory linear in the number of pixels N = H·W, and keep their accuracy in
float32 where teacher and student nearly agree, which is where training spends most of its time.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ipixmatch_jax.losses.closed_form_gradients import closed_form_gradient
from ipixmatch_jax.losses.pixel_sums import by_chunks, normalized, once, pixel_sum
from ipixmatch_jax.losses.softmax_pair import (
    FAR,
    balanced,
    change,
    difference,
    divergence,
    expm1,
    log_ratio,
    log_weights,
)

# A channel varies when its standard deviation exceeds this share of the root mean square of p(1−p),
# which is dp for one unit of logit: when its logit varies by more than this. In float32 the logits
# of a constant channel can seem to vary by about 1e-6.
RELATIVE_STD = 1e-5
# Below this standard deviation of p over its largest value, the gradient's 1/std³ overflows.
SMALLEST_STD = 1e-12


def kl(
    student_logits: jax.Array,
    teacher_logits: jax.Array,
    keep: jax.Array,
    *,
    temperature: float,
    classes: jax.Array,
) -> jax.Array:
    """T² times the class mean of KL(p_c ‖ q_c) between the two softmaxes over pixels.

    Args:
        student_logits: [B,H,W,C] float32.
        teacher_logits: [B,H,W,C] float32.
        keep: [B,H,W] float32 weights; pixels of weight 0 must hold finite logits.
        temperature: T.
        classes: [B,C] float32, 1 for classes that count, else 0.

    Returns:
        [B] float32.
    """
    student, teacher, weight = _by_pixel(student_logits, teacher_logits, keep)
    values = _divergence(student / temperature, teacher / temperature, weight)
    return temperature**2 * jnp.sum(_shares(classes) * values, axis=-1)


def corr(
    student_logits: jax.Array, teacher_logits: jax.Array, keep: jax.Array, *, classes: jax.Array
) -> jax.Array:
    """Class mean of 1 − ρ_c, the weighted Pearson correlation over pixels of P_c and Q_c.

    Computed as ½·Σ mᵢ(bᵢ − aᵢ)²/n of the two standardized channels a and b, which equals 1 − ρ and
    does not cancel near ρ = 1; where Q_c is near P_c, b − a comes from Q_c − P_c. A channel counts
    0 when it has no variance: when the standard deviation of P_c is at most `RELATIVE_STD` times
    the root mean square of P_c(1 − P_c), or so for Q_c (or at most `SMALLEST_STD` times its
    maximum). A channel that is nearly 0 or nearly 1 everywhere does count while its logit varies.

    Args:
        student_logits: [B,H,W,C] float32.
        teacher_logits: [B,H,W,C] float32.
        keep: [B,H,W] float32 weights; pixels of weight 0 must hold finite logits.
        classes: [B,C] float32, 1 for classes that count, else 0.

    Returns:
        [B] float32.
    """
    return _correlation(*_by_pixel(student_logits, teacher_logits, keep), classes)


def _shares(classes: jax.Array) -> jax.Array:
    """Weight of each class in a mean over classes, [B,C]: 1/n for the n that count, else 0."""
    return classes / jnp.maximum(jnp.sum(classes, axis=-1, keepdims=True), 1.0)


def _by_pixel(student, teacher, keep):
    """[B,H,W,C], [B,H,W,C], [B,H,W] -> [B,N,C], [B,N,C], [B,N,1]."""
    batch, height, width, classes = student.shape
    pixels = (batch, height * width, classes)
    return student.reshape(pixels), teacher.reshape(pixels), keep.reshape(*pixels[:2], 1)


@jax.custom_jvp
def _divergence(student: jax.Array, teacher: jax.Array, weight: jax.Array) -> jax.Array:
    """KL(p_c ‖ q_c) over pixels, [B,N,C], [B,N,C], [B,N,1] -> [B,C]; only the student has one."""
    return divergence(_log_p(teacher, weight), student - teacher, axis=1)[0]


@_divergence.defjvp
def _divergence_jvp(primals, tangents):
    student, teacher, weight = primals
    log_p = _log_p(teacher, weight)
    value, ratio = divergence(log_p, student - teacher, axis=1)
    # The difference q − p is the only array that has to wait for the backward pass.
    return value, pixel_sum(difference(log_p, ratio, axis=1) * tangents[0])[:, 0]


def _log_p(teacher: jax.Array, weight: jax.Array) -> jax.Array:
    """log of the teacher's softmax over pixels, [B,N,C]."""
    logits = teacher + log_weights(weight)
    logits = logits - jnp.max(logits, axis=1, keepdims=True)
    return logits - once(jnp.log(pixel_sum(jnp.exp(logits))))


def _correlation_and_gradient(student, teacher, weight, classes):
    """1 − ρ, mean over classes [B], and its gradient by the student's logits [B,N,C].

    Shapes of the arguments: [B,N,C], [B,N,C], [B,N,1] and [B,C].
    """
    weight = normalized(weight)
    log_p, log_q, ratio = by_chunks(_log_probs, student, teacher)
    peak_p, peak_q = _peak(log_p, weight), _peak(log_q, weight)
    scaled = functools.partial(_scaled, peak_p, peak_q)
    maps = by_chunks(scaled, log_p, log_q, ratio, weight)
    p, q, moved = maps
    teacher, student = _channel(p, log_p, peak_p, weight), _channel(q, log_q, peak_q, weight)
    gap = _gap(teacher, student, p, q, moved, weight)
    counts = jnp.where(teacher.varies & student.varies, 1.0, 0.0)
    distance = counts * 0.5 * pixel_sum(weight * gap(*maps) ** 2)
    share = _shares(classes)[:, None]

    def gradient(p, q, moved, log_q, weight):
        # By the chain rule: of ½Σ m(b − a)² by p/peak, by log p, and by the logits.
        pull = gap(p, q, moved) - distance * ((q - student.mean) * student.scale)
        pull = counts * share * weight * pull * student.scale * jnp.exp(log_q - peak_q)
        pull = pull - jnp.exp(log_q) * jnp.sum(pull, axis=-1, keepdims=True)
        return (balanced(jnp.where(weight > 0, pull, 0.0), log_q, axis=-1),)

    (gradients,) = by_chunks(gradient, *maps, log_q, weight)
    return jnp.sum(share * distance, axis=(1, 2)), gradients


_correlation = closed_form_gradient(_correlation_and_gradient, argument=0)


def _log_probs(student: jax.Array, teacher: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """log P, log Q and log Q/P over the last axis."""
    log_p, log_q = _log_softmax(teacher), _log_softmax(student)
    return log_p, log_q, log_ratio(log_p, log_q, student - teacher)


def _peak(log_probs: jax.Array, weight: jax.Array) -> jax.Array:
    """log of each channel's largest value over kept pixels [B,1,C].

    Pearson's correlation ignores scale and offset, so each channel is divided by its largest value:
    a channel far below float32's range still counts, and one of nearly 1 keeps its digits.
    """
    return jnp.max(jnp.where(weight > 0, log_probs, FAR), axis=1, keepdims=True)


def _scaled(peak_p, peak_q, log_p, log_q, ratio, weight):
    """P/peak − 1, Q/peak − 1 and (Q − P)/peak of P, [B,N,C], 0 where the weight is 0."""
    log_p = log_p - peak_p
    # The bound is reached only where nothing is near.
    maps = expm1(log_p), expm1(log_q - peak_q), change(jnp.minimum(log_p, 30.0 - ratio), ratio)
    return tuple(jnp.where(weight > 0, x, 0.0) for x in maps)


class _Channel(NamedTuple):
    """Statistics of the channels p/peak of one map, each [B,1,C]."""

    mean: jax.Array  # of p/peak − 1
    variance: jax.Array  # 1 where it does not vary
    scale: jax.Array  # 1/√variance
    varies: jax.Array


def _channel(x: jax.Array, log_probs: jax.Array, peak: jax.Array, weight: jax.Array) -> _Channel:
    mean = pixel_sum(weight * x)
    variance = pixel_sum(weight * (x - mean) ** 2)
    unit = pixel_sum(weight * ((1.0 + x) * expm1(log_probs)) ** 2)
    varies = variance > jnp.maximum(RELATIVE_STD**2 * unit, SMALLEST_STD**2)
    variance = jnp.where(varies, variance, 1.0)
    return _Channel(mean, variance, jax.lax.rsqrt(variance), varies)


def _gap(a: _Channel, b: _Channel, p, q, moved, weight) -> Callable[..., jax.Array]:
    """b − a of the channels at mean 0 and variance 1, as a function of p, q and moved [B,N,C].

    Exact where it is small.
    """
    mean = pixel_sum(weight * moved)
    near = pixel_sum(weight * (moved - mean) ** 2) < 0.25 * a.variance
    # b = (a·σ_A + moved)/σ_B, less a, without cancellation.
    growth = pixel_sum(weight * (moved - mean) * (2 * (p - a.mean) + (moved - mean)))
    shrink = jnp.expm1(-0.5 * jnp.log1p(jnp.where(near, growth / a.variance, 0.0)))

    def gap(p, q, moved):
        p, q, moved = p - a.mean, q - b.mean, moved - mean
        close = (p * shrink + moved * (1.0 + shrink)) * a.scale
        return jnp.where(near, close, q * b.scale - p * a.scale)

    return gap


def _log_softmax(logits: jax.Array) -> jax.Array:
    """log softmax over the last axis that keeps its digits at p all but 1."""
    is_top = jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=bool)
    top = jnp.sum(jnp.where(is_top, logits, 0.0), axis=-1, keepdims=True)
    logits = jnp.where(is_top, 0.0, logits - top)
    others = jnp.sum(jnp.where(is_top, 0.0, jnp.exp(logits)), axis=-1, keepdims=True)
    return logits - once(jnp.log1p(others))
