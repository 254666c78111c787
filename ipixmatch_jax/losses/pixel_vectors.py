"""One vector for each pixel, the teacher's and the student's, as relations of pixels need them."""

import jax
import jax.numpy as jnp

from ipixmatch_jax.losses.pixel_sums import by_chunks, normalized, once, pad_to_blocks
from ipixmatch_jax.losses.softmax_pair import balanced, expm1


def pixel_vectors(
    student: jax.Array,
    teacher: jax.Array,
    keep: jax.Array,
    *,
    classes: jax.Array,
    on: str,
    cosine: bool,
    stride: int,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The teacher's vectors P, the student's Q, their difference D = Q − P, and pixel weights.

    D is computed from the difference of the logits, so that it keeps its digits where student and
    teacher nearly agree. From probabilities of all classes 1/C is taken: rows of P and Q sum to 1,
    so both affinities lose the constant 1/C, to which no distance is sensitive, and keep their
    digits where a map is nearly uniform.

    Args:
        student, teacher: [B,H,W,C] float32, logits or features.
        keep: [B,H,W] float32 weights; pixels of weight 0 must hold finite values.
        classes: [B,C] float32; the channels of classes with 0 are left out.
        on: `probs` (softmax over classes) or `features` (as they are).
        cosine: divides every vector by its length; a vector of length 0 stays 0.
        stride: 1, or s for the weighted means over windows of s × s pixels, with mean weights.

    Returns:
        P, Q, D [B,N,C] and weights [B,N,1] that sum to 1 (or 0 when all are 0), float32. N is
        padded with pixels of weight 0 to whole blocks of `pixel_sums`.
    """
    if on == "probs":
        p, q, d = _probabilities(student, teacher)
        whole = jnp.all(classes > 0, axis=-1)[:, None, None, None]
        taken = jnp.where(whole & (not cosine), 0.0, 1.0 / p.shape[-1])
        p, q = p + taken, q + taken
    else:
        p, q, d = teacher, student, student - teacher
    maps = [x * classes[:, None, None] for x in (p, q, d)]
    weight = keep[..., None]
    if stride != 1:
        maps, weight = _pool(maps, weight, stride)
    if cosine:
        maps = _cosine(*maps)
    p, q, d, weight = (
        pad_to_blocks(x.reshape(x.shape[0], -1, x.shape[-1])) for x in (*maps, weight)
    )
    return p, q, d, normalized(weight)


# exp of more, times a probability that is not 0, might leave float32.
FARTHEST = 60.0

Triple = tuple[jax.Array, jax.Array, jax.Array]


@jax.custom_jvp
def _probabilities(student: jax.Array, teacher: jax.Array) -> Triple:
    """P − 1/C, Q − 1/C and Q − P of logits, over the last axis; only the student has a gradient."""
    return _probabilities_with_q(student, teacher)[:3]


@_probabilities.defjvp
def _probabilities_jvp(primals, tangents):
    *triple, q = _probabilities_with_q(*primals)
    moved = q * (tangents[0] - jnp.sum(q * tangents[0], axis=-1, keepdims=True))
    moved = balanced(moved, primals[0], axis=-1)
    return tuple(triple), (jnp.zeros_like(moved), moved, moved)


def _probabilities_with_q(student: jax.Array, teacher: jax.Array) -> tuple[jax.Array, ...]:
    by_pixel = (x.reshape(x.shape[0], -1, x.shape[-1]) for x in (student, teacher))
    return tuple(x.reshape(student.shape) for x in by_chunks(_probabilities_of_pixels, *by_pixel))


def _probabilities_of_pixels(student: jax.Array, teacher: jax.Array) -> tuple[jax.Array, ...]:
    """P − 1/C, Q − 1/C, Q − P and Q of logits [B,N,C], with three exponentials an entry."""
    p, above_p, is_top = _softmax(teacher)
    q, above_q, _ = _softmax(student)
    gap = student - teacher
    w = gap - once(jnp.sum(p * gap, axis=-1, keepdims=True))
    # With e = exp w − 1 for any shift of w, Q/P = (1 + e)/(1 + E_p[e]).
    far = once(jnp.max(w, axis=-1, keepdims=True)) > FARTHEST
    e = expm1(jnp.where(far, 0.0, w))
    mean = once(jnp.sum(p * e, axis=-1, keepdims=True))
    moved = jnp.where(far, q - p, p * (e - mean) / (1.0 + mean))
    # The change of a probability that is all but 1 is lost in rounding, those of others are not.
    moved = moved - jnp.where(is_top, once(jnp.sum(moved, axis=-1, keepdims=True)), 0.0)
    return above_p, above_q, moved, q


def _softmax(logits: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """P, P − 1/C with its digits where P is nearly uniform, and where P is largest."""
    logits = logits - once(jnp.max(logits, axis=-1, keepdims=True))
    whole = jnp.exp(logits)
    above = expm1(logits)
    total = once(jnp.sum(whole, axis=-1, keepdims=True))
    above = above - once(jnp.mean(above, axis=-1, keepdims=True))
    return whole / total, above / total, logits == 0.0


def _pool(
    maps: list[jax.Array], weight: jax.Array, stride: int
) -> tuple[list[jax.Array], jax.Array]:
    total = _window_sum(weight, stride)
    safe = jnp.where(total > 0, total, 1.0)
    return [_window_sum(x * weight, stride) / safe for x in maps], total / stride**2


def _window_sum(x: jax.Array, stride: int) -> jax.Array:
    """[B,H,W,C] -> [B,⌈H/s⌉,⌈W/s⌉,C]; windows at the far borders may be smaller."""
    height, width = (-(-n // stride) * stride for n in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (0, height - x.shape[1]), (0, width - x.shape[2]), (0, 0)))
    windows = (x.shape[0], height // stride, stride, width // stride, stride, x.shape[-1])
    return jnp.sum(x.reshape(windows), axis=(2, 4))


def _cosine(p: jax.Array, q: jax.Array, d: jax.Array) -> Triple:
    """Unit vectors of P and Q, and their difference without cancellation."""
    length_p, length_q = _length(p), _length(q)
    safe_p, safe_q = (jnp.where(x > 0, x, 1.0) for x in (length_p, length_q))
    unit_p, unit_q = p / safe_p, q / safe_q
    # ‖Q‖ − ‖P‖ = D·(P + Q) / (‖P‖ + ‖Q‖)
    longer = jnp.sum(d * (p + q), axis=-1, keepdims=True) / (safe_p + safe_q)
    both = (length_p > 0) & (length_q > 0)
    return unit_p, unit_q, jnp.where(both, (d - unit_p * longer) / safe_q, unit_q - unit_p)


def _length(x: jax.Array) -> jax.Array:
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
