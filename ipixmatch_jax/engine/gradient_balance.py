"""Weights of relations by the norms of gradients with respect to the student's logits.

The gradient of a loss with respect to logits costs as much as the loss and needs no pass of the
network. The norms are those of the whole batch, over all devices and micro-batches. They are known
only after the last micro-batch, so a step uses the norms of the steps before it: moving averages in
the train state, which a checkpoint keeps.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ipixmatch_jax.losses import Ratio

# Of the moving averages of the norms, over about 100 steps.
DECAY = 0.99
# The key under which the objective returns squared norms, next to the metrics of a step.
SQUARES = "gradient_squares"


def with_gradient(loss: Callable[[jax.Array], Ratio], logits: jax.Array) -> tuple[Ratio, jax.Array]:
    """A loss, and the sum of squares of its total's gradient with respect to the logits.

    The gradient is computed once: differentiating the returned total uses it again.

    Args:
        loss: gives (total, count) of logits; only the total depends on them smoothly.
        logits: [B,H,W,C].

    Returns:
        (total, count), and a float32 scalar.
    """
    at = jax.lax.stop_gradient(logits)
    (total, count), gradient = jax.value_and_grad(loss, has_aux=True)(at)
    # The second term is 0, and its gradient is `gradient`.
    moved = total + jnp.sum(gradient * (logits - at), dtype=jnp.float32)
    return (moved, count), jnp.sum(jnp.square(gradient), dtype=jnp.float32)


def followed(balance: jax.Array, squares: jax.Array) -> jax.Array:
    """The moving averages [n] float32 of norms after a step with these squared norms [n].

    They start at 0. Ratios of two of them need no correction for that.
    """
    return DECAY * balance + (1.0 - DECAY) * jnp.sqrt(squares)


def scale(balance: jax.Array, index: int) -> jax.Array:
    """Norm of the pseudo-label loss's gradient over that of relation `index`, float32 scalar.

    0 before a step has measured both, and while the relation has no gradient.
    """
    pseudo, relation = balance[0], balance[1 + index]
    return jnp.where(relation > 0, pseudo / jnp.where(relation > 0, relation, 1.0), 0.0)
