"""Losses whose gradient is known in closed form."""

from collections.abc import Callable
from typing import Any

import jax


def closed_form_gradient(
    value_and_gradient: Callable[..., tuple[jax.Array, jax.Array]],
    argument: int,
    value: Callable[..., jax.Array] | None = None,
) -> Callable[..., jax.Array]:
    """A function of several arrays whose gradient is computed together with its value.

    The forward pass keeps nothing but the gradient; the backward pass only scales it. Reverse mode
    only.

    Args:
        value_and_gradient: gives the values [B] and their gradient with respect to one of the
            arguments, [B,N,C].
        argument: the index of that argument; the others get no gradient.
        value: gives the values alone, if that is cheaper.
    """
    function = jax.custom_vjp(value or (lambda *arrays: value_and_gradient(*arrays)[0]))

    def forward(*arrays: jax.Array) -> tuple[jax.Array, Any]:
        values, gradient = value_and_gradient(*arrays)
        return values, (gradient, (None,) * len(arrays))

    def backward(kept: Any, cotangent: jax.Array) -> tuple[Any, ...]:
        gradient, others = kept
        scaled = gradient * cotangent[:, None, None]
        return (*others[:argument], scaled, *others[argument + 1 :])

    function.defvjp(forward, backward)
    return function
