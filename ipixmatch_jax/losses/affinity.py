"""Relation `affinity`: how similar every pixel is to every other pixel of its image.

The teacher's affinity is A = P Pᵀ ∈ R^{N×N}, the student's B = Q Qᵀ, where the rows of P and Q are
the pixels' class probabilities (or feature vectors). Neither matrix is ever built. `mse` and `corr`
need only the C×C Gram matrices of P and of D = Q − P: time and memory linear in N, exact over all
N² pairs, and without cancellation where student and teacher nearly agree. `kl` has no closed form;
it visits the rows of A in blocks. docs/relations.md derives each formula.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ipixmatch_jax.losses.affinity_kl import row_divergence
from ipixmatch_jax.losses.closed_form_gradients import closed_form_gradient
from ipixmatch_jax.losses.pixel_sums import centered, einsum, pixel_products, pixel_sum
from ipixmatch_jax.losses.pixel_vectors import pixel_vectors

# An affinity varies when its standard deviation over all pairs exceeds this share of its root mean
# square; the float32 affinity of a constant map can seem to vary by about 1e-7 of it.
RELATIVE_STD = 1e-5
# Its variance must also exceed this one; below it the gradient would overflow float32.
SMALLEST_VARIANCE = 1e-30


def mse(
    student: jax.Array,
    teacher: jax.Array,
    keep: jax.Array,
    *,
    classes: jax.Array,
    on: str = "probs",
    cosine: bool = False,
    stride: int = 1,
) -> jax.Array:
    """Σᵢⱼ mᵢ mⱼ (Bᵢⱼ − Aᵢⱼ)² / n², with n = Σ m.

    Args:
        student, teacher: [B,H,W,C] float32, logits or (see `on`) features.
        keep: [B,H,W] float32 weights m; pixels of weight 0 must hold finite values.
        classes: [B,C] float32, 1 for classes that count, else 0.
        on: `probs` compares the softmax of the two maps, `features` the maps as they are.
        cosine: divides every pixel's vector by its length first, so that affinities are cosines.
        stride: pools both maps over windows of stride × stride pixels first.

    Returns:
        [B] float32.
    """
    p, q, d, weight = pixel_vectors(
        student, teacher, keep, classes=classes, on=on, cosine=cosine, stride=stride
    )
    return _square_gap(p, q, d, weight)


def corr(
    student: jax.Array,
    teacher: jax.Array,
    keep: jax.Array,
    *,
    classes: jax.Array,
    on: str = "probs",
    cosine: bool = False,
    stride: int = 1,
) -> jax.Array:
    """1 − ρ, ρ the weighted Pearson correlation of all N² entries of A and B.

    Computed as half the squared distance of the two standardized affinities, which does not cancel
    near ρ = 1. It is 0 where one of them has no variance: where the standard deviation of its
    entries is at most `RELATIVE_STD` times their root mean square (the variance at most
    `SMALLEST_VARIANCE`). For probabilities of all classes, not as cosines, these are the entries
    less 1/C, which is what two uniform vectors have.

    Args and returns: as `mse`.
    """
    p, q, d, weight = pixel_vectors(
        student, teacher, keep, classes=classes, on=on, cosine=cosine, stride=stride
    )
    return _correlation(p, q, d, weight)


def kl(
    student: jax.Array,
    teacher: jax.Array,
    keep: jax.Array,
    *,
    temperature: float,
    classes: jax.Array,
    on: str = "probs",
    cosine: bool = False,
    stride: int = 1,
    block: int | None = None,
) -> jax.Array:
    """T²·Σᵢ mᵢ KL( softmax_j(Aᵢⱼ/T + log mⱼ) ‖ softmax_j(Bᵢⱼ/T + log mⱼ) ) / n.

    Time grows with N², memory with N·block. `stride` 2 is 16 times cheaper.

    Args:
        temperature: T.
        block: rows of A that are held at once; None chooses from the shapes.
        others: as `mse`.

    Returns:
        [B] float32.
    """
    p, q, d, weight = pixel_vectors(
        student, teacher, keep, classes=classes, on=on, cosine=cosine, stride=stride
    )
    return temperature**2 * row_divergence(p, q, d, weight, temperature, block)


# A symmetric form K stands for the affinity Σ K_ab X_a X_bᵀ of two maps: of (P, D), or of (P, Q).
_TEACHER = np.array([[[1.0, 0.0], [0.0, 0.0]]], np.float32)
_STUDENT_BY_GAP = np.array([[[1.0, 1.0], [1.0, 1.0]]], np.float32)
_STUDENT = np.array([[[0.0, 0.0], [0.0, 1.0]]], np.float32)


class _Pair(NamedTuple):
    """Two maps in which both affinities are forms.

    The maps are P and D if D is small, else P and Q: P + D would cancel for a student whose map is
    nearly constant, and Q − P for one that agrees with the teacher.
    """

    maps: tuple[jax.Array, jax.Array]  # √M·X_a, each [B,N,C]
    grams: jax.Array  # X_aᵀ M X_b [B,2,2,C,C]
    student: jax.Array  # Q as Σ v_a X_a: v [B,2]
    form: jax.Array  # the student's affinity [B,2,2]

    def times(self, factors: jax.Array) -> jax.Array:
        """√M·Σ X_a F_a of factors [B,2,C,C], [B,N,C]."""
        first, second = self.maps
        return einsum("zni,zij->znj", first, factors[:, 0]) + einsum(
            "zni,zij->znj", second, factors[:, 1]
        )


def _pair(p: jax.Array, other: jax.Array, near: jax.Array, root: jax.Array) -> _Pair:
    """The pair of P and `other` [B,N,C], D if `near` [B,1,1] else Q; root weights √m [B,N,1]."""
    first, second = root * p, root * other
    cross = pixel_products(first, second)
    rows = [[pixel_products(first, first), cross], [cross.mT, pixel_products(second, second)]]
    grams = jnp.stack([jnp.stack(row, axis=1) for row in rows], axis=1)
    form = jnp.where(near, _STUDENT_BY_GAP, _STUDENT)
    return _Pair((first, second), grams, form[:, 1], form)


def _square(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Σ w·|x|² of maps [B,N,C] (or of means, with N = 1), [B,1,1]."""
    return jnp.sum(pixel_sum(weight * x * x), axis=-1, keepdims=True)


def _products(grams: jax.Array) -> jax.Array:
    """tr(G_bc G_da) as [B,a,b,c,d]: the inner products over all pairs of pixels of two forms."""
    # In two steps, because one long sum in float32 loses two digits at 150 classes.
    return jnp.sum(einsum("zbcij,zdaji->zabcdi", grams, grams), axis=-1)


def _inner(first: jax.Array, second: jax.Array, products: jax.Array) -> jax.Array:
    """Weighted inner product of the affinities of two forms [B or 1,2,2] -> [B]."""
    batched = (products.shape[0], 2, 2)
    first, second = (jnp.broadcast_to(form, batched) for form in (first, second))
    return einsum("zab,zcd,zabcd->z", first, second, products)


def _square_gap_and_gradient(p, q, d, weight):
    """Σᵢⱼ wᵢ wⱼ (Bᵢⱼ − Aᵢⱼ)² [B], and its gradient 4·M(B − A)MQ with respect to Q [B,N,C]."""
    root = jnp.sqrt(weight)
    near = _square(d, weight) < 0.25 * _square(p, weight)
    pair = _pair(p, jnp.where(near, d, q), near, root)
    gap = pair.form - _TEACHER
    value = _inner(gap, gap, _products(pair.grams))
    factors = einsum("zab,zbcij,zc->zaij", gap, pair.grams, pair.student)
    gradient = 4.0 * root * pair.times(factors)
    return jnp.maximum(value, 0.0), gradient


def _correlation_and_gradient(p, q, d, weight):
    """1 − ρ of all entries of A and B [B], and its gradient with respect to Q [B,N,C]."""
    root = jnp.sqrt(weight)
    mean_d = pixel_sum(weight * d)
    p, mean_p = centered(p, weight)
    near = _square(d, weight) - _square(mean_d, 1.0) < 0.25 * _square(p, weight)
    other, mean_other = centered(jnp.where(near, d, q), weight)
    pair = _pair(p, other, near, root)
    means = jnp.concatenate([mean_p, mean_other], axis=1)
    mean_q = jnp.where(near, mean_p + mean_d, mean_other)[:, 0]
    products = _products(pair.grams) + 2 * einsum("zai,zbcij,zdj->zabcd", means, pair.grams, means)
    variance_a = _inner(_TEACHER, _TEACHER, products)
    variance_b = _inner(pair.form, pair.form, products)
    varies = _varies(variance_a, mean_p[:, 0]) & _varies(variance_b, mean_q)
    variance_a, variance_b = (jnp.where(varies, v, 1.0) for v in (variance_a, variance_b))

    # B/σ_B − A/σ_A = (1/σ_B − 1/σ_A)·A + (B − A)/σ_B, here times σ_A.
    gap = pair.form - _TEACHER
    growth = _inner(gap, pair.form + _TEACHER, products)
    alike = jnp.abs(growth) < 0.5 * variance_a
    shrink = jnp.expm1(-0.5 * jnp.log1p(jnp.where(alike, growth / variance_a, 0.0)))
    ratio = jnp.where(alike, 1.0 + shrink, jnp.sqrt(variance_a / variance_b))
    shrink = jnp.where(alike, shrink, ratio - 1.0)
    form = shrink[:, None, None] * _TEACHER + ratio[:, None, None] * gap
    value = jnp.maximum(0.5 * _inner(form, form, products) / variance_a, 0.0)

    # By B it is T = (B/σ_B − A/σ_A − (1 − ρ)·B/σ_B)/σ_B, centered, and by Q it is 2·MTMQ.
    form = (form - (value * ratio)[:, None, None] * pair.form) * (ratio / variance_a)[:, None, None]
    factors = einsum("zab,zbcij,zc->zaij", form, pair.grams, pair.student)
    level = einsum("zai,zaij->zj", means, factors)
    factors += einsum("zab,zbi,zj->zaij", form, means, mean_q)
    gradient = 2.0 * root * (pair.times(factors) + root * level[:, None])
    return jnp.where(varies, value, 0.0), jnp.where(varies[:, None, None], gradient, 0.0)


def _varies(variance: jax.Array, mean: jax.Array) -> jax.Array:
    """True where an affinity of this variance [B], of vectors with this mean [B,C], varies: [B]."""
    mean = jnp.sum(mean**2, axis=1)
    return variance > jnp.maximum(RELATIVE_STD**2 * (variance + mean**2), SMALLEST_VARIANCE)


_square_gap = closed_form_gradient(_square_gap_and_gradient, argument=1)
_correlation = closed_form_gradient(_correlation_and_gradient, argument=1)
