"""KL divergence between the row softmaxes of two N×N affinities, by blocks of rows."""

import functools

import jax
import jax.numpy as jnp

from ipixmatch_jax.losses.closed_form_gradients import closed_form_gradient
from ipixmatch_jax.losses.pixel_sums import einsum
from ipixmatch_jax.losses.softmax_pair import difference, divergence, log_weights


def row_divergence(
    p: jax.Array,
    q: jax.Array,
    d: jax.Array,
    weight: jax.Array,
    temperature: float,
    block: int | None = None,
) -> jax.Array:
    """Σᵢ wᵢ KL( softmax_j(Aᵢⱼ/T + log wⱼ) ‖ softmax_j(Bᵢⱼ/T + log wⱼ) ), A = P Pᵀ, B = Q Qᵀ.

    A scan over blocks of rows; each block holds its rows whole, so one visit gives the log-sum-exp,
    the divergence and, when a gradient is asked for, its gradient too: the backward pass only
    scales it. Reverse-mode differentiation with respect to `q` only, of which `d` is a function.

    Args:
        p: [B,N,C] float32, the teacher's vectors.
        q: [B,N,C] float32, the student's.
        d: [B,N,C] float32, q − p, accurate where they nearly agree.
        weight: [B,N,1] float32, w ≥ 0, summing to 1.
        temperature: T.
        block: rows at once; None chooses from the shapes.

    Returns:
        [B] float32.
    """
    rows = min(block or block_size(p.shape[-1]), p.shape[1])
    value_and_gradient = functools.partial(_scan, rows, with_gradient=True)

    def value(*arrays):
        return _scan(rows, *arrays, with_gradient=False)[0]

    temperature = jnp.asarray(temperature, p.dtype)
    return closed_form_gradient(value_and_gradient, argument=1, value=value)(
        p, q, d, weight, temperature
    )


def block_size(channels: int) -> int:
    """Rows for which a block of an affinity takes about as much memory as one map of logits."""
    return max(8, min(512, channels // 8 * 8))


def _scan(rows, p, q, d, weight, temperature, *, with_gradient: bool):
    """The divergence [B], and its gradient with respect to q [B,N,C] (or None)."""
    pixels = p.shape[1]
    log_weight = log_weights(weight[..., 0])[:, None]
    blocks = -(-pixels // rows)
    # The last block may begin earlier to be full; rows seen before then have weight 0.
    starts = jnp.minimum(jnp.arange(blocks) * rows, pixels - rows)
    seen = jnp.arange(blocks) * rows - starts

    def visit(carry, at):
        total, gradient = carry
        start, skip = at

        def cut(x):
            return jax.lax.dynamic_slice_in_dim(x, start, rows, axis=1)

        w = jnp.where(jnp.arange(rows)[None] < skip, 0.0, cut(weight)[..., 0])
        affinity = einsum("zic,zjc->zij", cut(p), p) / temperature
        # B − A without cancellation: D Qᵀ + P Dᵀ
        gap = einsum("zic,zjc->zij", cut(d), q) + einsum("zic,zjc->zij", cut(p), d)
        log_p = jax.nn.log_softmax(affinity + log_weight, axis=-1)
        value, log_ratio = divergence(log_p, gap / temperature, axis=-1)
        total = total + jnp.sum(w * value, axis=-1)
        if with_gradient:
            pull = difference(log_p, log_ratio, axis=-1) * (w[..., None] / temperature)
            gradient = gradient + einsum("zij,zic->zjc", pull, cut(q))
            own = cut(gradient) + einsum("zij,zjc->zic", pull, q)
            gradient = jax.lax.dynamic_update_slice_in_dim(gradient, own, start, axis=1)
        return (total, gradient), None

    # Zeros that vary over devices as p does, which shard_map asks of a scan's carry.
    zeros = p * 0.0
    start = (jnp.sum(zeros, axis=(1, 2)), zeros if with_gradient else None)
    (total, gradient), _ = jax.lax.scan(visit, start, (starts, seen))
    return total, gradient
