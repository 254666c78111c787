"""Scores and the order of suggestion, against statements in float64 and by invariance."""

import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.label_next.pixel_scores import (
    class_pixels,
    disagreement,
    pooled,
    uncertainty,
)
from ipixmatch_jax.label_next.ranking import (
    PARTS,
    combined,
    rank_shares,
    ranked,
    rarity,
    unit_rows,
)

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (2, 3, 5, 6, 4))
VALID = RNG.random((3, 5, 6)) < 0.7
VALID[2] = False


def probabilities(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def mean_of(values):
    """The mean over the valid pixels of each image; 0 without any."""
    return [
        value[valid].mean() if valid.any() else 0
        for value, valid in zip(values, VALID, strict=True)
    ]


def entropy(probs):
    return -(probs * np.log(probs)).sum(-1)


def device(array):
    return jnp.asarray(array, jnp.float32)


def test_pixel_scores_are_their_definitions():
    one, other = map(probabilities, LOGITS)
    found = uncertainty(device(LOGITS[0]), jnp.asarray(VALID))
    np.testing.assert_allclose(found, mean_of(entropy(one) / np.log(4)), rtol=2e-6)
    divergence = entropy((one + other) / 2) - (entropy(one) + entropy(other)) / 2
    found = disagreement(device(LOGITS[0]), device(LOGITS[1]), jnp.asarray(VALID))
    np.testing.assert_allclose(found, mean_of(divergence / np.log(2)), rtol=1e-5)
    counts = [
        np.bincount(m[v], minlength=4) for m, v in zip(LOGITS[0].argmax(-1), VALID, strict=True)
    ]
    np.testing.assert_array_equal(class_pixels(device(LOGITS[0]), jnp.asarray(VALID)), counts)
    np.testing.assert_allclose(pooled(device(LOGITS[0])), LOGITS[0].mean((1, 2)), atol=1e-6)


def test_limits_of_the_pixel_scores():
    even, valid = jnp.zeros((1, 2, 2, 3)), jnp.ones((1, 2, 2), bool)
    # Certain to the last bit: log-probabilities of -inf must not give NaN.
    first, second = (jnp.full((1, 2, 2, 3), -jnp.inf).at[..., i].set(0.0) for i in (0, 1))
    np.testing.assert_allclose(uncertainty(even, valid), [1.0], rtol=1e-6)
    np.testing.assert_allclose(uncertainty(first, valid), [0.0], atol=1e-7)
    np.testing.assert_allclose(disagreement(first, second, valid), [1.0], rtol=1e-6)
    np.testing.assert_allclose(disagreement(first, first, valid), [0.0], atol=1e-7)
    np.testing.assert_allclose(disagreement(even, even, valid), [0.0], atol=1e-7)


def test_rarity_is_the_information_of_the_predicted_classes():
    labeled = np.array([899, 99, 0])
    information = -np.log(np.array([900, 100, 1]) / 1001)
    pixels = np.array([[10, 0, 0], [5, 5, 0], [0, 0, 4], [0, 0, 0]])
    shares = np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1], [0, 0, 0]])
    expected = shares @ information / information[2]
    np.testing.assert_allclose(rarity(pixels, labeled), expected, rtol=1e-12)
    assert expected[2] == 1
    # The size of the images and of the masks makes no difference.
    np.testing.assert_allclose(rarity(7 * pixels, labeled), expected, rtol=1e-12)


def test_the_score_is_the_weighted_mean_of_ranks():
    parts = {
        "uncertainty": np.array([0.1, 0.4, 0.2, 0.2]),
        "disagreement": np.array([0.0, 0.0, 0.0, 0.0]),
        "rarity": np.array([4.0, 3.0, 2.0, 1.0]),
    }
    np.testing.assert_array_equal(rank_shares(parts["uncertainty"]), [0.25, 1, 0.625, 0.625])
    found = combined(parts, (2, 0, 1))
    expected = [(2 * 0.25 + 1) / 3, (2 + 0.75) / 3, (1.25 + 0.5) / 3, (1.25 + 0.25) / 3]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # Any increasing change of a part's scale leaves the score.
    changed = {name: values**3 * 7 for name, values in parts.items()}
    np.testing.assert_array_equal(combined(changed, (2, 0, 1)), found)
    # The last bits of a network's output do not matter.
    noisy = {name: parts[name] + np.array([0, 3e-7, -3e-7, 0]) for name in PARTS}
    np.testing.assert_array_equal(combined(noisy, (2, 0, 1)), found)


def plain_greedy(score, features, centers, count):
    """The order by the definition, one distance at a time."""
    centers, picked = list(centers), []
    distance = {}

    def near(i):
        return min((float(np.sqrt(((features[i] - c) ** 2).sum())) for c in centers), default=1.0)

    while len(picked) < count:
        rest = [i for i in range(len(score)) if i not in picked]
        best = max(rest, key=lambda i: (score[i] * near(i), score[i], -i))
        distance[best] = near(best) if centers else 0.0
        picked.append(best)
        centers.append(features[best])
    rest = [i for i in range(len(score)) if i not in picked]
    distance |= {i: near(i) for i in rest}
    rest.sort(key=lambda i: (-score[i] * near(i), -score[i], i))
    return [*picked, *rest], [distance[i] for i in range(len(score))]


@pytest.mark.parametrize(("labeled", "count"), [(0, 5), (3, 5), (100, 12), (3, 40)])
def test_the_greedy_order_is_its_definition(labeled, count):
    features = RNG.normal(size=(30, 6)).astype(np.float32)
    features[20] = features[3]  # a copy
    score = RNG.random(30)
    centers = RNG.normal(size=(labeled, 6)).astype(np.float32)
    found = ranked(score, features, centers, count)
    order, distance = plain_greedy(
        score, features.astype(np.float64), centers.astype(np.float64), min(count, 30)
    )
    assert found.order.tolist() == order
    np.testing.assert_allclose(found.distance, distance, rtol=1e-9, atol=1e-12)


def test_near_copies_are_suggested_once():
    """Ten near copies have the ten highest scores; only one of them is among the first five."""
    kinds = np.eye(5) * 4
    features = np.concatenate([kinds[:1] + RNG.normal(0, 1e-3, (10, 5)), kinds[1:]])
    score = np.concatenate([np.linspace(0.9, 1, 10), np.full(4, 0.3)])
    first = ranked(score, features, np.zeros((0, 5)), 5).order[:5]
    assert first[0] == 9 and sorted(first[1:].tolist()) == [10, 11, 12, 13]
    # An image that is labeled already stands for its copies.
    first = ranked(score, features, kinds[:1], 4).order[:4]
    assert sorted(first.tolist()) == [10, 11, 12, 13]
    # Without diversity they would be all.
    assert set(np.argsort(-score)[:5].tolist()) <= set(range(10))


def test_the_length_of_features_does_not_count():
    features = RNG.normal(size=(6, 4))
    found = unit_rows(features * np.array([[1], [100], [1e-3], [1], [1], [0]]))
    expected = features / np.sqrt((features**2).sum(1, keepdims=True))
    np.testing.assert_allclose(found[:5], expected[:5], rtol=1e-12)
    assert not found[5].any()
    assert unit_rows(np.zeros((0, 4))).shape == (0, 4)


def test_the_order_of_the_images_does_not_matter():
    features, score = RNG.normal(size=(40, 8)), RNG.random(40)
    centers, shuffled = RNG.normal(size=(4, 8)), RNG.permutation(40)
    one = ranked(score, features, centers, 10)
    other = ranked(score[shuffled], features[shuffled], centers[::-1], 10)
    np.testing.assert_array_equal(shuffled[other.order], one.order)
    # The features' scale and origin do not matter either.
    moved = ranked(score, 5 * features + 2, 5 * centers + 2, 10)
    np.testing.assert_array_equal(moved.order, one.order)
