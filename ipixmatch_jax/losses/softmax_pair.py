"""Two softmaxes p and q that nearly agree: their divergence and their difference.

A student that follows its teacher spends most of training where log p − log q and q − p are as
small as the rounding of a float32 softmax. Both functions start from the difference of the logits
instead, where nothing has been rounded yet.
"""

import math

import jax
import jax.numpy as jnp

from ipixmatch_jax.losses.pixel_sums import once, total

# Far below every logit, yet finite, and still so after another logit is subtracted.
FAR = float(jnp.finfo(jnp.float32).min) / 4


def log_weights(weight: jax.Array) -> jax.Array:
    """log of weights >= 0, and `FAR` where the weight is 0."""
    kept = weight > 0
    return once(jnp.where(kept, jnp.log(jnp.where(kept, weight, 1.0)), FAR))


def divergence(log_p: jax.Array, gap: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """KL(p ‖ q) and log(q/p) for q ∝ p·exp(gap).

    KL = log E_p[exp w] with w = gap − E_p[gap]. As E_p[w] = 0 that is log1p(E_p[exp w − 1 − w]), a
    sum of terms that are never negative: near agreement it loses nothing, where Σ p·(log p − log q)
    is left with the rounding of its logs.

    Args:
        log_p: float32, a log-softmax over `axis`.
        gap: of log_p's shape, logits of q minus logits of p.
        axis: of both softmaxes, the last, or 1 of [B,N,C] for pixels.

    Returns:
        KL without `axis`, and log(q/p) of log_p's shape.
    """
    p = jnp.exp(log_p)
    w = gap - total(p * gap, axis)
    log_q = log_p + w
    shift = jnp.maximum(jnp.max(log_q, axis=axis, keepdims=True), 0.0)
    q = jnp.exp(log_q - shift)
    large = shift + jnp.log(total(q, axis))
    # Where the divergence is large exp could overflow, and the plain form is accurate.
    excess = _excess(p, q * jnp.exp(jnp.minimum(shift, 2.0)), w)
    value = jnp.where(large < 1.0, jnp.log1p(total(excess, axis)), large)
    return jnp.squeeze(value, axis), w - value


def difference(log_p: jax.Array, log_ratio: jax.Array, axis: int) -> jax.Array:
    """q − p of log p and log(q/p), without cancellation where they agree, summing to 0."""
    return balanced(change(log_p, log_ratio), log_p + jnp.maximum(log_ratio, 0.0), axis)


def change(log_p: jax.Array, log_ratio: jax.Array) -> jax.Array:
    """q − p of log p and log(q/p), each entry to its last digits.

    It is ± max(p, q)·(1 − exp(−|log(q/p)|)).
    """
    larger = jnp.exp(log_p + jnp.maximum(log_ratio, 0.0))
    return -jnp.sign(log_ratio) * larger * expm1(-jnp.abs(log_ratio))


def log_ratio(log_p: jax.Array, log_q: jax.Array, gap: jax.Array) -> jax.Array:
    """log(q/p) over the last axis, from the gap of the logits where that is small.

    The same as `divergence` gives, but cheaper if the divergence itself is not needed.
    """
    p = once(jnp.exp(log_p))
    w = once(gap - once(jnp.sum(p * gap, axis=-1, keepdims=True)))
    small = jnp.max(jnp.abs(w), axis=-1, keepdims=True) < 16.0
    w = jnp.where(small, w, 0.0)
    exact = w - once(jnp.log1p(jnp.sum(p * expm1(w), axis=-1, keepdims=True)))
    return jnp.where(small, exact, log_q - log_p)


def balanced(moved: jax.Array, logits: jax.Array, axis: int) -> jax.Array:
    """A change of probabilities with that of the top class made from those of the others.

    Their sum is 0. The change of a probability that is all but 1 is lost in rounding; those of the
    others are not.
    """
    # Not `moved` less its sum: a compiler may round `moved` otherwise where it sums it. Where
    # several classes are top, none is nearly 1, and nothing is lost.
    is_top = logits == jnp.max(logits, axis=axis, keepdims=True)
    single = jnp.sum(is_top, axis=axis, keepdims=True) == 1
    others = total(jnp.where(is_top, 0.0, moved), axis)
    return jnp.where(is_top & single, -others, moved)


# 1/(n + 1)!, from n = 8 down to 0: exp x − 1 = x · Σ xⁿ/(n + 1)!
_EXPM1 = tuple(1.0 / math.factorial(n + 1) for n in range(8, -1, -1))


def expm1(x: jax.Array) -> jax.Array:
    """exp x − 1 to 2e-7, in half the time that XLA's CPU backend takes for its own."""
    near = jnp.abs(x) < 0.5
    v = jnp.where(near, x, 0.0)
    return jnp.where(near, v * _horner(_EXPM1, v), jnp.exp(x) - 1.0)


def _horner(coefficients: tuple[float, ...], x: jax.Array) -> jax.Array:
    value = jnp.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


# 2/(n + 2)!, from n = 7 down to 0: exp w − 1 − w = w²/2 · Σ 2wⁿ/(n + 2)!
_SERIES = tuple(2.0 / math.factorial(n + 2) for n in range(7, -1, -1))


def _excess(p: jax.Array, p_exp_w: jax.Array, w: jax.Array) -> jax.Array:
    """p·(exp w − 1 − w), without cancellation at small w or underflow of p at large w."""
    near = jnp.abs(w) < 0.5
    v = jnp.where(near, w, 0.0)
    return jnp.where(near, p * (0.5 * v * v) * _horner(_SERIES, v), p_exp_w - p * (1.0 + w))
