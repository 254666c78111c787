import os
import subprocess
import sys

import jax
import pytest

from ipixmatch_jax.devices.environment import differences, environment, pool_threads

# A gradient of a convolution, which Eigen splits by the number of its threads, on the given cores.
_GRADIENT = """
import hashlib, os, sys
os.sched_setaffinity(0, map(int, sys.argv[1:]))
import jax, numpy as np
x = jax.random.normal(jax.random.key(0), (4, 64, 64, 8))
k = jax.random.normal(jax.random.key(1), (3, 3, 8, 8))
form = ("NHWC", "HWIO", "NHWC")
def loss(k):
    y = jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=form)
    return (y ** 2).sum()
gradient = np.asarray(jax.jit(jax.grad(loss))(k))
print(hashlib.sha256(gradient.tobytes()).hexdigest())
"""


def test_an_environment_names_what_bits_depend_on():
    facts = environment({"XLA_FLAGS": "--xla_dump_to=x --xla_b=1 --xla_a=2", "NPROC": "3"})
    assert facts["devices"] == len(jax.devices()) and facts["threads"] == 3
    assert facts["jax"] == jax.__version__ and facts["optax"] and facts["flax"]
    assert facts["XLA_FLAGS"] == "--xla_a=2 --xla_b=1"
    assert facts["jax_enable_x64"] is False


def test_differences_leave_out_what_only_one_side_states():
    before = {"threads": 2, "jax": "0.1", "gone": 1, "XLA_FLAGS": ""}
    now = {"threads": 4, "jax": "0.1", "new": 1, "XLA_FLAGS": "--a"}
    assert differences(before, now) == ["threads 2 -> 4", "XLA_FLAGS none -> --a"]
    assert differences(before, before) == []


def test_threads_are_the_usable_cores_unless_nproc_says_otherwise():
    assert pool_threads({}) == len(os.sched_getaffinity(0))
    assert pool_threads({"NPROC": "7"}) == 7
    assert pool_threads({"NPROC": "many"}) == pool_threads({})


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen")
def test_nproc_gives_the_bits_of_other_cores():
    """The advice of the message holds: the number of cores does not matter if NPROC is set."""
    cores = sorted(os.sched_getaffinity(0))

    def bits(nproc, cores):
        return subprocess.run(
            [sys.executable, "-c", _GRADIENT, *map(str, cores)],
            env={**os.environ, "NPROC": nproc}, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    assert bits("4", cores) == bits("4", cores[:1]) != bits("1", cores)
