"""The data of the relation explorer."""

import base64

import numpy as np

from ipixmatch_jax.web.explorer import grid_size, packed


def test_probabilities_are_packed_by_cells():
    assert [grid_size(size) for size in ((100, 300), (20, 24), (1, 500))] == [
        (16, 48), (20, 24), (1, 48)
    ]  # fmt: skip
    probs = np.random.default_rng(0).dirichlet(np.ones(3), (4, 6))
    got = np.frombuffer(base64.b64decode(packed(probs, (2, 3))), np.uint8).reshape(2, 3, 3)
    want = probs.reshape(2, 2, 3, 2, 3).mean((1, 3))
    np.testing.assert_allclose(got, 255 * want, atol=0.51)
