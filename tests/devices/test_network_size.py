"""A network that no memory can hold is refused before it is made."""

import jax
import numpy as np
import pytest

from ipixmatch_jax.devices import network_size
from ipixmatch_jax.errors import ConfigError


def test_weights_beyond_the_memory_are_refused(monkeypatch):
    shapes = {"a": jax.ShapeDtypeStruct((3, 4), np.float32), "b": np.zeros(5, np.float32)}
    for free in (None, 4 * 17):
        monkeypatch.setattr(network_size, "free_memory", lambda free=free: free)
        network_size.check_network(shapes)
    monkeypatch.setattr(network_size, "free_memory", lambda: 4 * 17 - 1)
    with pytest.raises(ConfigError, match="has 17 weights, .* model.depth"):
        network_size.check_network(shapes)
