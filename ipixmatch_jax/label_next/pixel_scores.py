"""What a label of an image would teach, from the pixels of two predictions: on the device."""

import jax
import jax.numpy as jnp


def uncertainty(logits: jax.Array, valid: jax.Array) -> jax.Array:
    """Mean entropy of the predicted class over valid pixels, as a share of its maximum log C.

    Entropy sampling (Settles 2009, Active Learning Literature Survey, section 3.1), averaged over
    the pixels: mean of -sum_c p_c log p_c / log C.

    Args:
        logits: [B,H,W,C] float32.
        valid: bool [B,H,W].

    Returns:
        float32 [B] in [0, 1]; 0 for an image without a valid pixel.
    """
    return _mean(_entropy(jax.nn.log_softmax(logits)), valid) / jnp.log(logits.shape[-1])


def disagreement(student: jax.Array, teacher: jax.Array, valid: jax.Array) -> jax.Array:
    """Mean Jensen-Shannon divergence of two predictions over valid pixels, as a share of log 2.

    Query by committee with two members: the mean Kullback-Leibler divergence to the mean of the
    committee (McCallum and Nigam 1998, Employing EM and Pool-Based Active Learning for Text
    Classification). With m = (p + q) / 2 it is H(m) - (H(p) + H(q)) / 2.

    Args:
        student, teacher: logits [B,H,W,C] float32.
        valid: bool [B,H,W].

    Returns:
        float32 [B] in [0, 1]; 0 for an image without a valid pixel.
    """
    one, other = jax.nn.log_softmax(student), jax.nn.log_softmax(teacher)
    middle = jnp.logaddexp(one, other) - jnp.log(2.0)
    divergence = _entropy(middle) - (_entropy(one) + _entropy(other)) / 2
    return jnp.maximum(_mean(divergence, valid), 0.0) / jnp.log(2.0)


def class_pixels(logits: jax.Array, valid: jax.Array) -> jax.Array:
    """Valid pixels of each predicted class: float32 [B,C], exact up to 2^24 pixels an image."""
    predicted = jax.nn.one_hot(logits.argmax(-1), logits.shape[-1], dtype=jnp.float32)
    return jnp.einsum("bhwc,bhw->bc", predicted, valid.astype(jnp.float32))


def pooled(features: jax.Array) -> jax.Array:
    """The mean of a feature map over its positions: [B,h,w,D] to float32 [B,D]."""
    return features.astype(jnp.float32).mean((1, 2))


def _entropy(log_probs: jax.Array) -> jax.Array:
    # A probability of 0 contributes 0, not 0 times infinity.
    finite = jnp.maximum(log_probs, jnp.finfo(log_probs.dtype).min)
    return -jnp.sum(jnp.exp(log_probs) * finite, -1)


def _mean(values: jax.Array, valid: jax.Array) -> jax.Array:
    weights = valid.astype(values.dtype)
    return jnp.sum(values * weights, (1, 2)) / jnp.maximum(jnp.sum(weights, (1, 2)), 1.0)
