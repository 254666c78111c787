"""What is recommended if relations are aligned, opposed or noise by construction."""

import numpy as np
import pytest

from ipixmatch_jax.diagnose import losses
from ipixmatch_jax.diagnose.alignment import Products
from ipixmatch_jax.diagnose.measure import Measured
from ipixmatch_jax.diagnose.recommend import recommend
from ipixmatch_jax.diagnose.table import WIDTH, table
from ipixmatch_jax.engine.objective import Objective
from ipixmatch_jax.engine.weighted_relation import WeightedRelation

BATCHES, SIZE = 8, 400
ALIGNED, OPPOSED, NOISE = "class_map/kl:temperature=4", "affinity/corr", "affinity/mse"


def rows(made, own=(), pseudo_norm=1.0):
    """Measures of gradients that are drawn: the supervised and the pseudo-label loss, and others.

    Args:
        made: text of a relation, or a confidence, → share of the true direction in its gradient.
        own: relations of the run, from those in `made`.
    """
    objective = Objective(relations=own)
    compared = []
    for key in made:
        if isinstance(key, float):
            compared += losses.hard_labels(objective, (key,))
            continue
        found = losses.relations(objective, [key], ("valid",), (), (64, 64))
        name = key.partition(":")[0]
        compared += [one for one in found if one.name.startswith(name)]
    rng = np.random.default_rng(3)
    direction = rng.normal(size=SIZE)
    bases, vectors = [], []
    others = direction + rng.normal(size=(BATCHES, SIZE))
    for _ in range(BATCHES):
        supervised, noise = rng.normal(size=(2, SIZE))
        truth = direction + rng.normal(size=SIZE)
        pseudo = pseudo_norm * (0.3 * truth + noise)
        drawn = [4.0 * (share * truth + rng.normal(size=SIZE)) for share in made.values()]
        bases.append(np.concatenate([[supervised, pseudo, truth], others]))
        vectors.append(np.stack([supervised, pseudo, *drawn]))
    products = Products(
        np.stack([basis @ basis.T for basis in bases]),
        np.stack([v @ basis.T for v, basis in zip(vectors, bases, strict=True)]),
        np.stack([np.sum(v**2, -1) for v in vectors]),
    )
    every = [losses.supervised(objective), losses.pseudo_labels(objective), *compared]
    return [Measured(loss, products.alignment(i)) for i, loss in enumerate(every)]


def test_the_aligned_relation_is_recommended():
    measured = rows({NOISE: 0.0, OPPOSED: -0.7, ALIGNED: 0.7, 0.5: 0.9, 0.99: 0.2})
    found = recommend(measured, share=0.25)
    ratio = measured[4].alignment.norm.value
    assert 3 < ratio < 6
    assert found.keys.pop("relation.weight") == pytest.approx(0.25 / ratio, rel=0.05)
    assert found.keys == {
        "relation.name": "class_map",
        "relation.distance": "kl",
        "relation.region": "valid",
        "relation.temperature": 4,
    }
    text = "\n".join(found.lines)
    assert "1 of 3 relations are beyond noise; the best is class_map/kl T 4, valid" in text
    assert "makes its gradient 0.25 times the pseudo-labels'" in text
    assert "Hard labels, confidence 0.5 point closer to the true labels" in text
    shown = table(measured).splitlines()
    assert len(shown) == 2 + len(measured) and max(map(len, shown)) <= WIDTH


def test_noise_and_opposition_are_not_recommended():
    own = (WeightedRelation("affinity", "mse", weight=0.25, region="valid"),)
    measured = rows({NOISE: 0.0, OPPOSED: -0.7}, own)
    noise, opposed = measured[2:]
    assert noise.loss.own and not opposed.loss.own
    assert opposed.alignment.extra_truth.value < -0.3
    assert abs(noise.alignment.extra_truth.value) < 0.1
    found = recommend(measured, weights=[0.25])
    text = "\n".join(found.lines)
    assert found.keys == {}
    assert "None of the 2 relations is beyond noise" in text
    assert "No relation is recommended" in text and "point closer" not in text
    share = f"{0.25 * noise.alignment.norm.value:.2g}"
    assert "The run's affinity/mse, valid is not beyond noise; its weight 0.25 makes" in text
    assert f"its gradient {share} times the pseudo-labels'" in text


def test_noise_among_many_relations_is_noise():
    """Of many noisy relations one is above 0 by its own interval, but not by that of all."""
    texts = [f"affinity/kl:temperature={t}" for t in range(1, 60)]
    measured = rows(dict.fromkeys(texts, 0.0))[2:]
    assert any(one.alignment.extra_truth.low() > 0 for one in measured)
    assert recommend([*rows({}), *measured]).keys == {}


def test_without_pseudo_labels_no_weight_is_given():
    found = recommend(rows({ALIGNED: 0.7}, pseudo_norm=0.0))
    assert "no gradient here, so that no weight can be given" in found.lines[-1]
    assert found.keys["relation.name"] == "class_map" and "relation.weight" not in found.keys
