"""Both ways of counting pixels give the numbers of a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.engine.class_counts import class_counts, pair_counts


@pytest.fixture(params=["cpu", "default"])
def way(request, monkeypatch):
    """Counts as on the named platform; both ways run on any."""
    choose = lambda *operands, **ways: ways[request.param](*operands)  # noqa: E731
    monkeypatch.setattr(jax.lax, "platform_dependent", choose)


@pytest.mark.usefixtures("way")
def test_counts_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    rows = rng.choice([-1, 0, 1, 2, 3, 4, 255], (3, 7, 9))
    columns, where = rng.integers(0, 5, rows.shape), rng.random(rows.shape) < 0.7
    alone, pairs = np.zeros(5, int), np.zeros((5, 5), int)
    for row, column, counted in zip(rows.ravel(), columns.ravel(), where.ravel(), strict=True):
        if counted and 0 <= row < 5:
            alone[row] += 1
            pairs[row, column] += 1
    rows, columns = (jnp.asarray(x, jnp.int32) for x in (rows, columns))
    found = class_counts(rows, jnp.asarray(where), 5)
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found, alone)
    inside = jnp.asarray(where) & (rows >= 0) & (rows < 5)
    found = pair_counts(rows, columns, inside, 5)
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found, pairs)


@pytest.mark.usefixtures("way")
def test_nothing_is_counted_where_nothing_is():
    ids = jnp.zeros((1, 2, 3), jnp.int32)
    nowhere = jnp.zeros(ids.shape, bool)
    np.testing.assert_array_equal(class_counts(ids, nowhere, 2), [0, 0])
    np.testing.assert_array_equal(pair_counts(ids, ids, nowhere, 2), np.zeros((2, 2)))


def test_both_ways_of_counting_have_one_type_with_64_bit_numbers():
    ids = np.zeros((1, 4, 4), np.int32)
    with jax.enable_x64(True):
        shape = jax.eval_shape(lambda: pair_counts(ids, ids, ids == 0, 3))
    assert shape.dtype == np.int32
