"""What is recommended if relations are aligned, opposed or noise by construction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ipixmatch_jax.diagnose import losses
from ipixmatch_jax.diagnose.gradients import Gradients, Step
from ipixmatch_jax.diagnose.images import Group
from ipixmatch_jax.diagnose.measure import measure
from ipixmatch_jax.diagnose.recommend import recommend
from ipixmatch_jax.diagnose.table import WIDTH, table
from ipixmatch_jax.engine.objective import Objective, Threshold
from ipixmatch_jax.engine.weighted_relation import WeightedRelation
from ipixmatch_jax.losses import RELATIONS
from ipixmatch_jax.methods import make_method
from tests.references.miniature import PLAIN_VIEWS

SIDE, GROUPS = 8, 8


def towards(student, teacher, keep, *, temperature):
    """Follows a labeler that is right, at a temperature at which it is also sure."""
    gap = jax.nn.softmax(student) - jax.nn.softmax(teacher / temperature)
    return jnp.sum(keep[..., None] * gap**2, axis=(1, 2, 3))


def away(student, teacher, keep, *, temperature):
    return -towards(student, teacher, keep, temperature=temperature)


def noise(student, teacher, keep):
    """Its gradient has a sign of its own in every batch."""
    return jnp.sin(1e4 * jnp.mean(teacher)) * jnp.sum(student[..., 0] ** 3, axis=(1, 2))


class Pixelwise(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(3)(x)


class Groups:
    """Images whose class is their brightest channel, with some labels wrong."""

    def __init__(self):
        self.groups = tuple((i,) for i in range(GROUPS))

    def __iter__(self):
        for seed in range(GROUPS):
            rng = np.random.default_rng(seed)
            parts = {name: self._records(rng) for name in ("labeled", "unlabeled", "mix")}
            yield Group(parts, [self._records(rng)])

    def _records(self, rng):
        image = rng.integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8)
        mask = image.argmax(-1).astype(np.uint8)
        return {
            "image": image,
            "mask": np.where(rng.random(mask.shape) < 0.2, np.uint8(255), mask),
            "valid": np.ones(mask.shape, bool),
            "key": rng.integers(0, 2**32, (4, 2), dtype=np.uint32),
        }


@pytest.fixture
def measured(monkeypatch):
    """Measures relations, given as texts, of a student that knows nothing yet."""
    monkeypatch.setattr(RELATIONS, "_entries", dict(RELATIONS._entries))
    for function in (towards, away, noise):
        RELATIONS.register(f"made/{function.__name__}")(function)
    model = Pixelwise()
    student = model.init(jax.random.key(0), jnp.zeros((1, SIDE, SIDE, 3)), False)["params"]
    right = {"Dense_0": {"kernel": 12.0 * jnp.eye(3), "bias": jnp.zeros(3)}}
    networks = {
        "student": {"params": student, "batch_stats": {}},
        "teacher": {"params": right, "batch_stats": {}},
    }
    method = make_method("fixmatch", {"confidence": 0.97})

    def run(texts, own=()):
        objective = Objective(threshold=Threshold(0.97), relations=own)
        gradients = Gradients(Step(model, method, PLAIN_VIEWS), networks)
        compared = losses.relations(objective, texts, ("valid",), (), (SIDE, SIDE))
        compared += losses.hard_labels(objective, (0.99, 0.0))
        return measure(gradients, Groups(), objective, compared)

    return run


def test_the_aligned_relation_is_recommended(measured):
    texts = ["made/noise", "made/away", "made/towards:temperature=0.5", "class_map/kl"]
    texts += ["made/towards:temperature=9"]
    rows = measured(texts)
    found = recommend(rows, share=0.5)
    chosen = next(one for one in rows if one.loss.name == "made/towards T 0.5, valid")
    assert found.keys.pop("relation.weight") == pytest.approx(
        0.5 / chosen.alignment.norm.value, rel=0.05
    )
    assert found.keys == {
        "relation.name": "made",
        "relation.distance": "towards",
        "relation.region": "valid",
        "relation.temperature": 0.5,
    }
    text = "\n".join(found.lines)
    assert "the best is made/towards T 0.5, valid" in text and "0.5 times" in text
    assert "Hard labels, confidence 0 point closer to the true labels" in text
    assert all(len(line) <= WIDTH for line in table(rows).splitlines())


def test_noise_and_opposition_are_not_recommended(measured):
    own = (WeightedRelation("made", "noise", weight=0.25, region="valid"),)
    rows = measured(["made/away"], own)
    found = recommend(rows, weights=[0.25])
    text = "\n".join(found.lines)
    assert found.keys == {}
    assert "None of the 2 relations is beyond noise" in text and "No relation is recom" in text
    noisy, away = (one for one in rows if one.loss.kind == "relation")
    assert noisy.loss.own and not away.loss.own
    ratio = 0.25 * noisy.alignment.norm.value
    assert f"The run's made/noise, valid is not beyond noise; its weight 0.25 makes its gradient {ratio:.2g} times the pseudo-labels'." in text  # fmt: skip  # noqa: E501
    assert away.alignment.extra_truth.value < 0
    truth = noisy.alignment.extra_truth
    assert truth.low() < 0 < truth.value + (truth.value - truth.low())
