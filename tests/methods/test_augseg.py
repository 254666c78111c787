"""A box of a labeled image goes into the partner, and a box of that into the clean image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.methods import Network, make_method
from ipixmatch_jax.methods.augseg import CERTAIN
from ipixmatch_jax.views import Views, augment
from tests.methods.test_every_method import Painter

COUNT, SIZE = 4, 12
VIEWS = Views(mean=(0.0,) * 3, std=(1.0,) * 3)


@pytest.fixture
def batch():
    """Unlabeled images are dark, partners bright, and labeled ones in between."""
    rng = np.random.default_rng(0)

    def records(low, high):
        return {
            "image": rng.integers(low, high, (COUNT, SIZE, SIZE, 3), dtype=np.uint8),
            "valid": np.ones((COUNT, SIZE, SIZE), bool),
            "key": rng.integers(0, 2**32, (COUNT, 2), dtype=np.uint32),
        }

    labeled = records(100, 150)
    labeled["mask"] = rng.integers(0, 3, (COUNT, SIZE, SIZE), dtype=np.uint8)
    labeled["mask"][:, :2] = 255
    both = {"unlabeled": records(0, 90), "mix": records(160, 256)}
    return jax.tree.map(jnp.asarray, {"labeled": labeled, **both})


@pytest.mark.parametrize("mix", ["stream", "flip"])
def test_only_the_partner_gets_a_box_of_a_labeled_image(batch, mix, monkeypatch):
    monkeypatch.setattr(augment, "random_intensity", lambda key, image: image)
    # λ is nearly 0, so that a labeled image covers all of a partner.
    method = make_method("augseg", {"mix": mix, "options": {"labeled_beta": (1e-3, 1e6)}})
    network = Network(Painter(), {}, {})
    (term,) = method(network, network, VIEWS, batch).terms
    box = np.asarray(VIEWS.beta_box(batch["unlabeled"]["key"], SIZE, SIZE, (4.0, 4.0), view=1))
    assert 0 < box.mean() < 1
    unit = {name: np.asarray(part["image"], np.float32) / 255 for name, part in batch.items()}
    mask = np.asarray(batch["labeled"]["mask"])
    if mix == "flip":
        unit = {**unit, "mix": unit["unlabeled"][::-1], "labeled": unit["labeled"][::-1]}
        mask = mask[::-1]
    seen, target, valid = (
        np.asarray(x) for x in (term.student_logits, term.teacher_logits, term.valid)
    )
    np.testing.assert_allclose(seen[~box], unit["unlabeled"][~box], rtol=1e-6)
    np.testing.assert_allclose(target[~box], unit["unlabeled"][~box], rtol=1e-6)
    assert valid[~box].all()
    covered = 0
    for i in range(COUNT):
        inside = box[i]
        if np.allclose(seen[i][inside], unit["mix"][i][inside]):
            np.testing.assert_allclose(target[i][inside], unit["mix"][i][inside], rtol=1e-6)
            continue
        np.testing.assert_allclose(seen[i][inside], unit["labeled"][i][inside], rtol=1e-6)
        np.testing.assert_allclose(target[i][inside], CERTAIN * np.eye(256)[mask[i]][inside, :3])
        np.testing.assert_array_equal(valid[i][inside], mask[i][inside] != 255)
        covered += 1
    assert covered >= 1
