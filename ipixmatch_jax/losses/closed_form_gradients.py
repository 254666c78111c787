"""Losses whose slope is known in closed form."""

from collections.abc import Callable
from typing import Any

import jax


def by_slope(
    with_slope: Callable[..., tuple[jax.Array, jax.Array]],
    argument: int,
    value: Callable[..., jax.Array] | None = None,
) -> Callable[..., jax.Array]:
    """A function of several arrays whose backward pass scales a slope that was computed with it.

    Nothing but the slope has to wait for the backward pass. Reverse mode only.

    Args:
        with_slope: its values [B], and their slope by one of the arguments [B,N,C].
        argument: which; the others get no gradient.
        value: the values alone, where that is less work.
    """
    function = jax.custom_vjp(value or (lambda *arrays: with_slope(*arrays)[0]))

    def forward(*arrays: jax.Array) -> tuple[jax.Array, Any]:
        values, slope = with_slope(*arrays)
        return values, (slope, (None,) * len(arrays))

    def backward(kept: Any, cotangent: jax.Array) -> tuple[Any, ...]:
        slope, gradients = kept
        scaled = slope * cotangent[:, None, None]
        return (*gradients[:argument], scaled, *gradients[argument + 1 :])

    function.defvjp(forward, backward)
    return function
