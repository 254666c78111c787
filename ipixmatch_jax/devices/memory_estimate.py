"""Estimate of the device memory that a train step needs, before the compiler runs.

The estimate walks the traced step. An array lives from the operation that makes it to the last one
that needs it; values that a compiler can fuse into their consumer take no memory. Real programs
need more, because compilers copy and keep arrays: XLA on a CPU 1.0 to 2.1 times the estimate of the
step (bench/memory.py).
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

# Operations that read whole arrays from memory and write one.
_WHOLE = ("conv_general_dilated", "dot_general", "sort", "gather", "concatenate", "cumsum", "psum")
_WHOLE_KINDS = ("scatter", "select_and_", "reduce_window", "dynamic_", "all_", "top_k")
# Operations whose inner program runs as part of the outer one.
_CALLS = ("pjit", "jit", "closed_call", "remat", "checkpoint", "custom_jvp_call", "custom_vjp_call")
_ADVICE = (
    "lower batch_size and unlabeled_batch_size or data.crop_size, or set accumulate_steps=2 (or "
    "more), model.remat=True, model.dtype='bfloat16', or parallel='zero1' on several devices"
)


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory of one device, in bytes.

    Attributes:
        state: parameters of both networks, statistics and the optimizer's state.
        step: peak of everything else: gradients, activations, views.
        device: memory of the device; None if the platform does not report it.
    """

    state: int
    step: int
    device: int | None

    def __str__(self) -> str:
        has = f" of {_size(self.device)}" if self.device else ""
        return (
            f"memory per device: at least {_size(self.state + self.step)}{has} "
            f"(state {_size(self.state)}, step {_size(self.step)})"
        )


def estimate(step: TrainStep, state: TrainState, batch: Any, parallel: Parallel) -> Memory:
    """Estimates the memory of a train step without compiling it.

    Args:
        step: the per-device step.
        state: arrays or their shapes.
        batch: arrays or their shapes, [B, ...] over all devices.
        parallel: how the step is distributed.
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
    """Memory of a device of this process in bytes; None if the platform does not report it."""
    return (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")


@contextlib.contextmanager
def explained(memory: Memory | None) -> Iterator[None]:
    """Turns an out-of-memory error of a device into a ConfigError that says what to change.

    Raises:
        ConfigError: the device is out of memory.
    """
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
    """`inside`: bytes that the operation needs while it runs, without its inputs and outputs."""

    whole_inputs: bool
    whole_outputs: bool
    inputs: list[int]
    outputs: list[int]
    inside: int = 0


def peak_bytes(jaxpr: Jaxpr) -> int:
    """Peak bytes of a traced program's arrays, without its arguments."""
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
        # A fused value needs its inputs for as long as it is needed itself.
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
    """Appends the operations of a program; calls are replaced by the operations they run."""
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
    # Extended dtypes, such as random keys, are small.
    return getattr(aval, "size", 0) * getattr(getattr(aval, "dtype", None), "itemsize", 0)


def _size(count: int) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count = count / 1000
    return f"{count:.1f} GB"
