"""What a train step needs of a device's memory, said before the compiler runs.

The estimate walks the traced step: arrays live from where they are made to where they are last
needed, and what a compiler can compute on the fly, inside of what consumes it, takes no room. Real
programs need more, by what compilers copy and keep: XLA on a CPU 1.0 to 2.1 times the estimate of
the step (bench/memory.py).
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.core import Jaxpr, Literal, jaxprs_in_params

from ipixmatch_jax.devices.parallel import Parallel
from ipixmatch_jax.engine.state import DATA_AXIS, TrainState
from ipixmatch_jax.engine.step import TrainStep
from ipixmatch_jax.errors import ConfigError

# These read whole arrays from memory, and write one.
_WHOLE = ("conv_general_dilated", "dot_general", "sort", "gather", "concatenate", "cumsum", "psum")
_WHOLE_KINDS = ("scatter", "select_and_", "reduce_window", "dynamic_", "all_", "top_k")
# Their inner programs run as if they stood in the outer one.
_CALLS = ("pjit", "jit", "closed_call", "remat", "checkpoint", "custom_jvp_call", "custom_vjp_call")
_ADVICE = (
    "lower batch_size and unlabeled_batch_size or data.crop_size, or set accumulate_steps=2 (or "
    "more), model.remat=True, model.dtype='bfloat16', or parallel='zero1' on several devices"
)


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of one device.

    Attributes:
        state: parameters of both networks, statistics and the optimizer's state.
        step: at most at once beside it: gradients, activations, views.
        device: what it has; None where the platform does not say.
    """

    state: int
    step: int
    device: int | None

    def __str__(self) -> str:
        has = f" of {_size(self.device)}" if self.device else ""
        return (
            f"memory of a device: at least {_size(self.state + self.step)}{has} "
            f"(state {_size(self.state)}, step {_size(self.step)})"
        )


def estimate(step: TrainStep, state: TrainState, batch: Any, parallel: Parallel) -> Memory:
    """The memory of a train step, without compiling it.

    Args:
        state, batch: arrays or their shapes; the batch of all devices, [B, ...].
    """
    devices = len(parallel.devices)

    def share(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((leaf.shape[0] // devices, *leaf.shape[1:]), leaf.dtype)

    traced = jax.make_jaxpr(step, axis_env=[(DATA_AXIS, devices)])
    needed = peak_bytes(traced(state, jax.tree.map(share, batch)).jaxpr)
    shardings = jax.tree.leaves(parallel.state_shardings(state))
    held = sum(
        _bytes(jax.ShapeDtypeStruct(sharding.shard_shape(leaf.shape), leaf.dtype))
        for leaf, sharding in zip(jax.tree.leaves(state), shardings, strict=True)
    )
    return Memory(held, needed, device_memory())


def device_memory() -> int | None:
    """Bytes of a device of this process; None where the platform does not say."""
    return (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")


@contextlib.contextmanager
def explained(memory: Memory | None) -> Iterator[None]:
    """ConfigError with a way out, where a device's allocator gives up."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        asked = str(error).split("\n")[0].partition("RESOURCE_EXHAUSTED: ")[2]
        known = f"{memory}; " if memory else ""
        raise ConfigError(
            f"the device's memory is too small: {asked[:200]}; {known}{_ADVICE}"
        ) from None


@dataclasses.dataclass
class _Operation:
    """`inside`: what it needs beside its inputs and outputs while it runs."""

    whole_inputs: bool
    whole_outputs: bool
    inputs: list[int]
    outputs: list[int]
    inside: int = 0


def peak_bytes(jaxpr: Jaxpr) -> int:
    """Most bytes that a traced program's arrays, but for its arguments, take at once."""
    sizes: list[int] = []
    operations: list[_Operation] = []
    places = {var: _new(sizes, 0) for var in (*jaxpr.invars, *jaxpr.constvars)}
    _list(jaxpr, places, sizes, operations)
    results = {places[var] for var in jaxpr.outvars if not isinstance(var, Literal)}

    written = set(results)
    for operation in operations:
        written.update(operation.inputs * operation.whole_inputs)
        written.update(operation.outputs * operation.whole_outputs)
    needed_until = dict.fromkeys(results, len(operations))
    for index, operation in reversed(list(enumerate(operations))):
        # What is computed on the fly needs its inputs for as long as it is needed itself.
        on_the_fly = [needed_until.get(v, index) for v in operation.outputs if v not in written]
        until = max([index, *on_the_fly])
        for place in operation.inputs:
            needed_until[place] = max(needed_until.get(place, 0), until)

    live = peak = 0
    ends: dict[int, int] = {}
    for index, operation in enumerate(operations):
        for place in operation.outputs:
            if place in written:
                live += sizes[place]
                end = needed_until.get(place, index)
                ends[end] = ends.get(end, 0) + sizes[place]
        peak = max(peak, live + operation.inside)
        live -= ends.pop(index, 0)
    return peak


def _list(
    jaxpr: Jaxpr, places: dict[Any, int], sizes: list[int], operations: list[_Operation]
) -> None:
    """Appends the operations of a program, those of the programs that it calls in their place."""
    for eqn in jaxpr.eqns:
        name, inner = eqn.primitive.name, list(jaxprs_in_params(eqn.params))
        inputs = [None if isinstance(var, Literal) else places[var] for var in eqn.invars]
        if inner and name.startswith(_CALLS) and len(inner[0].invars) == len(inputs):
            called = inner[0]
            own = {var: _new(sizes, 0) for var in called.constvars}
            for var, place in zip(called.invars, inputs, strict=True):
                own[var] = _new(sizes, 0) if place is None else place
            _list(called, own, sizes, operations)
            for var, result in zip(eqn.outvars, called.outvars, strict=True):
                literal = isinstance(result, Literal)
                places[var] = _new(sizes, 0) if literal else own[result]
            continue
        for var in eqn.outvars:
            places[var] = _new(sizes, _bytes(var.aval))
        whole = bool(inner) or name in _WHOLE or name.startswith(_WHOLE_KINDS)
        operations.append(
            _Operation(
                whole_inputs=whole,
                whole_outputs=whole or name.startswith(("reduce_", "arg")),
                inputs=[place for place in inputs if place is not None],
                outputs=[places[var] for var in eqn.outvars],
                inside=max(map(peak_bytes, inner), default=0),
            )
        )


def _new(sizes: list[int], size: int) -> int:
    sizes.append(size)
    return len(sizes) - 1


def _bytes(aval: Any) -> int:
    # Keys of random numbers and other extended dtypes are small.
    return getattr(aval, "size", 0) * getattr(getattr(aval, "dtype", None), "itemsize", 0)


def _size(count: int) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count = count / 1000
    return f"{count:.1f} GB"
