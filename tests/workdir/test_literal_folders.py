"""Checkpoints are found in folders whose names are patterns, too."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ipixmatch_jax.engine.state import create_state
from ipixmatch_jax.workdir.checkpoints import Checkpoints


@pytest.mark.parametrize("name", ["runs [2024]", "a*b?", "50 % #1"])
def test_a_checkpoint_is_restored_from_a_folder_of_that_name(name, tmp_path):
    workdir = tmp_path / name
    workdir.mkdir()
    (workdir / "config.json").write_text("{}")
    weights = {"params": {"kernel": jnp.arange(6.0)}, "batch_stats": {}}
    state = create_state(weights, optax.identity())
    with Checkpoints(workdir, writable=True) as checkpoints:
        checkpoints.save(3, state)
    with Checkpoints(workdir) as checkpoints:
        found = checkpoints.restore(3, state)
    np.testing.assert_array_equal(found.params["kernel"], np.arange(6.0))
