"""Relation `class_map`: one class channel as a map over all pixels of an image.

Both distances need memory linear in the number of pixels N = H·W, and keep their accuracy in
float32 where teacher and student nearly agree, which is where training spends most of its time.
"""

import jax
import jax.numpy as jnp

# A channel varies when its standard deviation exceeds this share of the root mean square of p(1−p),
# which is dp for one unit of logit: when its logit varies by more than this. In float32 the logits
# of a constant channel can seem to vary by about 1e-6.
RELATIVE_STD = 1e-5
# And below this one, of p over its largest value, the gradient's 1/std³ would leave float32.
SMALLEST_STD = 1e-12


def kl(
    student_logits: jax.Array, teacher_logits: jax.Array, keep: jax.Array, *, temperature: float
) -> jax.Array:
    r"""T² times the class mean of KL(p_c ‖ q_c) between the two softmaxes over pixels.

    With u = (Y_c − Z_c)/T, q_c ∝ p_c·exp(u), so that KL = log E_p[exp w] with w = u − E_p[u]. As
    E_p[w] = 0 that is log1p(E_p[exp w − 1 − w]), a sum of terms that are never negative: near
    agreement it loses nothing, where Σ p·(log p − log q) is left with the rounding of its logs.

    Args:
        student_logits: [B,H,W,C] float32.
        teacher_logits: [B,H,W,C] float32.
        keep: [B,H,W] float32 weights; pixels of weight 0 must hold finite logits.
        temperature: T.

    Returns:
        [B] float32.
    """
    student, teacher, weight = _by_pixel(student_logits, teacher_logits, keep)
    divergence = _divergence(student / temperature, teacher / temperature, weight)
    return temperature**2 * jnp.mean(divergence, axis=-1)


def corr(
    student_logits: jax.Array, teacher_logits: jax.Array, keep: jax.Array, *, temperature: float
) -> jax.Array:
    r"""Class mean of 1 − ρ_c, the weighted Pearson correlation over pixels of P_c and Q_c.

    Computed as ½·Σ mᵢ(aᵢ − bᵢ)²/n of the two standardised channels a and b, which equals 1 − ρ and
    does not cancel near ρ = 1. A channel counts 0 when it has no variance: when the standard
    deviation of P_c is at most `RELATIVE_STD` times the root mean square of P_c(1 − P_c), or so
    for Q_c (or at most `SMALLEST_STD` times its maximum). A channel that is nearly 0 or nearly 1
    everywhere does count while its logit varies.

    Args:
        student_logits: [B,H,W,C] float32.
        teacher_logits: [B,H,W,C] float32.
        keep: [B,H,W] float32 weights; pixels of weight 0 must hold finite logits.
        temperature: not used; the probabilities are compared at temperature 1.

    Returns:
        [B] float32.
    """
    del temperature
    student, teacher, weight = _by_pixel(student_logits, teacher_logits, keep)
    total = jnp.sum(weight, axis=1, keepdims=True)
    weight = weight / jnp.where(total > 0, total, 1.0)
    a, varies_a = _standardise(teacher, weight)
    b, varies_b = _standardise(student, weight)
    distance = 0.5 * jnp.sum(weight * (a - b) ** 2, axis=1)
    return jnp.mean(jnp.where(varies_a & varies_b, distance, 0.0), axis=-1)


# Far below every logit, yet finite, and still so after another logit is subtracted.
_FAR = float(jnp.finfo(jnp.float32).min) / 4


def _by_pixel(student, teacher, keep):
    """[B,H,W,C], [B,H,W,C], [B,H,W] -> [B,N,C], [B,N,C], [B,N,1]."""
    batch, height, width, classes = student.shape
    pixels = (batch, height * width, classes)
    return student.reshape(pixels), teacher.reshape(pixels), keep.reshape(*pixels[:2], 1)


@jax.custom_jvp
def _divergence(student: jax.Array, teacher: jax.Array, weight: jax.Array) -> jax.Array:
    """KL(p_c ‖ q_c) over pixels, [B,N,C], [B,N,C], [B,N,1] -> [B,C]; only the student has one."""
    return _divergence_parts(student, teacher, weight)[0]


@_divergence.defjvp
def _divergence_jvp(primals, tangents):
    divergence, log_p, w = _divergence_parts(*primals)
    log_ratio = w - divergence[:, None]
    near = jnp.abs(log_ratio) < 1.0
    p = jnp.exp(log_p)
    # q − p without cancellation, and the only array that has to wait for the backward pass.
    slope = jnp.where(
        near, p * jnp.expm1(jnp.where(near, log_ratio, 0.0)), jnp.exp(log_p + log_ratio) - p
    )
    return divergence, jnp.sum(slope * tangents[0], axis=1)


def _divergence_parts(student, teacher, weight):
    kept = weight > 0
    log_weight = jnp.where(kept, jnp.log(jnp.where(kept, weight, 1.0)), _FAR)
    log_p = jax.nn.log_softmax(jnp.where(kept, teacher, 0.0) + log_weight, axis=1)
    p = jnp.exp(log_p)
    u = student - teacher
    w = u - jnp.sum(p * u, axis=1, keepdims=True)
    large = jax.nn.logsumexp(log_p + w, axis=1)
    # Where the divergence is large exp could overflow, and the plain form is accurate.
    small = jnp.log1p(jnp.sum(_excess(log_p, p, w), axis=1))
    return jnp.where(large < 1.0, small, large), log_p, w


def _excess(log_p: jax.Array, p: jax.Array, w: jax.Array) -> jax.Array:
    """p·(exp w − 1 − w), without cancellation at small w or underflow of p at large w."""
    near = jnp.abs(w) < 0.5
    v = jnp.where(near, w, 0.0)
    series = 1.0 + v / 9
    for n in (8, 7, 6, 5, 4, 3):
        series = 1.0 + v / n * series
    # The bound is reached only where the caller takes its other form.
    direct = jnp.exp(jnp.minimum(log_p + w, 2.0)) - p * (1.0 + w)
    return jnp.where(near, p * v * v / 2 * series, direct)


def _log_softmax(logits: jax.Array) -> jax.Array:
    """log softmax over the last axis; it and its gradient keep their digits at p all but 1."""
    is_top = jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=bool)
    top = jnp.sum(jnp.where(is_top, logits, 0.0), axis=-1, keepdims=True)
    logits = jnp.where(is_top, 0.0, logits - top)
    others = jnp.sum(jnp.where(is_top, 0.0, jnp.exp(logits)), axis=-1, keepdims=True)
    return logits - jnp.log1p(others)


def _standardise(logits: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Class channels with weighted mean 0 and variance 1 [B,N,C], and which vary at all [B,C]."""
    log_probs = _log_softmax(logits)
    kept = weight > 0
    peak = jnp.max(jnp.where(kept, log_probs, _FAR), axis=1, keepdims=True)
    # Pearson sees neither scale nor offset, so p/peak − 1 serves for p: a channel far below
    # float32's range still counts, and one that is all but 1 keeps its digits.
    scaled = jnp.where(kept, log_probs - jax.lax.stop_gradient(peak), 0.0)
    channel = jnp.expm1(scaled)
    centred = channel - jnp.sum(weight * channel, axis=1, keepdims=True)
    # Once more, because the mean of many pixels carries the rounding of a long sum.
    centred = centred - jnp.sum(weight * centred, axis=1, keepdims=True)
    variance = jnp.sum(weight * centred**2, axis=1, keepdims=True)
    unit = jnp.exp(scaled) * jnp.expm1(log_probs)
    unit = jnp.sum(weight * unit**2, axis=1, keepdims=True)
    varies = variance > jnp.maximum(RELATIVE_STD**2 * unit, SMALLEST_STD**2)
    return centred * jax.lax.rsqrt(jnp.where(varies, variance, 1.0)), varies[:, 0]
