"""The estimate of a step's memory, against programs whose memory can be counted by hand."""

import jax
import jax.numpy as jnp
import pytest

from ipixmatch_jax.devices.memory_estimate import Memory, estimate, explained, peak_bytes
from ipixmatch_jax.errors import ConfigError
from tests.references.miniature import make_run, random_batch

N = 64
MATRIX = jax.ShapeDtypeStruct((N, N), jnp.float32)
ONE = N * N * 4


def peak(function, *args):
    return peak_bytes(jax.make_jaxpr(function)(*args).jaxpr)


def test_what_is_computed_on_the_fly_takes_no_room():
    assert peak(lambda x: jnp.sin(jnp.cos(x) * 2.0), MATRIX) == ONE
    assert peak(lambda x: jnp.sum(jnp.cos(x) * 2.0), MATRIX) == 4


def test_arrays_live_as_long_as_they_are_needed():
    def chain(x):
        return x @ x @ x @ x

    assert peak(chain, MATRIX) == 2 * ONE

    def kept(x):
        return (y := x @ x) @ (y @ x) @ y

    assert peak(kept, MATRIX) == 3 * ONE
    # A product needs its operands whole: the sine is written, then read.
    assert peak(lambda x: jnp.sin(x) @ x, MATRIX) == 2 * ONE


def test_the_inside_of_a_loop_and_of_a_call():
    def loop(x):
        return jax.lax.fori_loop(0, 3, lambda _, y: (y @ x) @ x, x)

    # Its result, two products of its body, and counters.
    assert 3 * ONE <= peak(loop, MATRIX) <= 3 * ONE + 16
    assert peak(lambda x: jax.jit(jnp.sin)(x).sum(), MATRIX) == 4
    scaled = jax.checkpoint(lambda x: jnp.sin(x @ x))
    assert peak(scaled, MATRIX) == 2 * ONE


def test_a_backward_pass_needs_the_activations():
    def deep(x, depth):
        return jnp.sum(x if depth == 0 else deep(jnp.tanh(x @ x), depth - 1))

    small, large = (peak(jax.grad(lambda x, d=d: deep(x, d)), MATRIX) for d in (2, 8))
    assert large - small >= 6 * ONE


def test_state_and_step_of_a_device():
    batch = random_batch(0)
    runs = {name: make_run(devices=4, parallel=name) for name in ("shard_map", "zero1")}
    found = {
        name: estimate(run.device_step, run.state, batch, run.parallel)
        for name, run in runs.items()
    }
    total = sum(leaf.nbytes for leaf in jax.tree.leaves(runs["shard_map"].state))
    assert found["shard_map"].state == total
    assert total / 4 < found["zero1"].state < 0.6 * total
    one = make_run(devices=1)
    assert estimate(one.device_step, one.state, batch, one.parallel).step > (
        2 * found["shard_map"].step
    )


def test_an_allocator_that_gives_up_is_explained():
    memory = Memory(state=2_000_000_000, step=81_000_000_000, device=80_000_000_000)
    with pytest.raises(ConfigError, match="at least 83.0 GB of 80.0 GB.*accumulate_steps=2"):
        with explained(memory):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory: 81 GB\nmore")
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), explained(None):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")
