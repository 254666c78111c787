"""True labels reach the pixels that every method compares, whatever it mixes and pastes."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.diagnose.truth import InformedNetwork, true_term
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.methods import METHODS, ConsistencyTerm, Network, make_method
from ipixmatch_jax.methods.augseg import CERTAIN
from ipixmatch_jax.methods.base import Prediction
from tests.references.miniature import PLAIN_VIEWS

SIDE, STEP = 8, 60
CASES = [(name, {}) for name in METHODS.names() if name != "supervised"]
CASES += [("fixmatch", {"mix": "flip"}), ("fixmatch", {"labeler": "peer"})]
CASES += [("fixmatch", {"labeler": "student"}), ("unimatch", {"label_norm": "eval"})]


def batch_of(seed=0, count=4):
    """Records whose first channel is 60 times the true class; class 3 is ignored."""
    rng = np.random.default_rng(seed)

    def records():
        classes = rng.integers(0, 4, (count, SIDE, SIDE)).astype(np.uint8)
        image = rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
        image[..., 0] = STEP * classes
        return {
            "image": image,
            "mask": np.where(classes == 3, np.uint8(255), classes),
            "valid": np.ones((count, SIDE, SIDE), bool),
            "key": rng.integers(0, 2**32, (count, 2), dtype=np.uint32),
        }

    return {name: records() for name in ("labeled", "unlabeled", "mix")}


def identity(self, images, train, through):
    """A network that returns its images, as logits and as every feature map."""
    out = through((images,))[0] if through else images
    return Prediction(out, {name: out for name in self.feature_maps}), {}


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_true_labels_of_every_term(name, options, monkeypatch):
    monkeypatch.setattr(Network, "_apply", identity)
    batch = batch_of()
    parts = ("unlabeled", "mix")
    truth = {
        "known": PLAIN_VIEWS.weak(np.concatenate([batch[part]["image"] for part in parts])),
        "masks": jnp.concatenate([batch[part]["mask"] for part in parts]),
    }
    names = ("first", "second")
    model = SimpleNamespace(**dict.fromkeys(names))
    network = InformedNetwork(model, dict.fromkeys(names, {}), {}, **truth)
    output = make_method(name, options)(network, network, PLAIN_VIEWS, batch)
    assert output.terms
    for term in output.terms:
        found = true_term(term)
        given = np.asarray(term.teacher_logits, np.float64)
        # What the labeler saw tells the class, except where the method pasted labels.
        classes = np.round(255 * given[..., 0] / STEP).astype(int)
        pasted = given.max(-1) == CERTAIN
        classes = np.where(pasted, given.argmax(-1), classes)
        np.testing.assert_array_equal(found.valid, np.asarray(term.valid) & (classes != 3))
        seen = np.asarray(found.valid)
        assert 0 < seen.sum() < seen.size
        got = np.asarray(found.teacher_logits)
        np.testing.assert_array_equal(got.argmax(-1)[seen], classes[seen])
        np.testing.assert_array_equal(np.sort(got[seen], -1)[:, -2:], [[0, CERTAIN]] * seen.sum())
    assert name != "augseg" or pasted.any()


def test_a_method_without_the_labelers_feature_maps():
    maps = jnp.zeros((1, 2, 2, 3))
    term = ConsistencyTerm(maps, maps, jnp.ones((1, 2, 2), bool))
    with pytest.raises(ConfigError, match="lack the labeler's feature maps; expected teacher_feat"):
        true_term(term)


def test_views_that_are_no_weak_views_have_no_truth(monkeypatch):
    monkeypatch.setattr(Network, "_apply", identity)
    batch = batch_of()["unlabeled"]
    weak = PLAIN_VIEWS.weak(batch["image"])
    network = InformedNetwork(None, {}, {}, known=weak, masks=jnp.asarray(batch["mask"]))
    assert float(jnp.sum(network.predict(weak).features["truth"])) == (batch["mask"] < 255).sum()
    assert float(jnp.sum(network.predict(0.9 * weak).features["truth"])) == 0
