"""U2PL's choice of reliable pixels, and its contrast against a loop over points and classes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.methods import Network, make_method
from ipixmatch_jax.methods.grid import grid_values
from ipixmatch_jax.methods.u2pl import U2PL
from tests.references.miniature import PLAIN_VIEWS

COUNT, SIZE, CLASSES = 3, 8, 3


class Shifting(nn.Module):
    """Logits are colors; in training, weights and the mean of the batch come in."""

    @nn.compact
    def __call__(self, images, train=False):
        return self.decode(self.encode(images, train), images.shape[1:3], train)

    def encode(self, images, train=False):
        weight = self.param("weight", nn.initializers.ones, (3,))
        shift = images.mean((0, 1, 2), keepdims=True) if train else 0.0
        return (images * weight[None, None, None] * 6.0 - shift,)

    def decode(self, features, size, train=False):
        self.sow("intermediates", "decoder", features[0])
        return features[0]


@pytest.fixture
def batch():
    rng = np.random.default_rng(3)

    def records():
        return {
            "image": rng.integers(0, 256, (COUNT, SIZE, SIZE, 3), dtype=np.uint8),
            "valid": rng.random((COUNT, SIZE, SIZE)) < 0.8,
            "key": rng.integers(0, 2**32, (COUNT, 2), dtype=np.uint32),
        }

    batch = {name: records() for name in ("labeled", "unlabeled", "mix")}
    mask = rng.integers(0, CLASSES, (COUNT, SIZE, SIZE))
    batch["labeled"]["mask"] = np.where(rng.random(mask.shape) < 0.2, 255, mask).astype(np.uint8)
    return jax.tree.map(jnp.asarray, batch)


def softmax(z):
    z = np.exp(np.asarray(z, np.float64) - np.max(z, -1, keepdims=True))
    return z / z.sum(-1, keepdims=True)


def predicted(images, weight, train):
    images = np.asarray(images, np.float64)
    return images * weight * 6.0 - (images.mean((0, 1, 2)) if train else 0.0)


def expected_contrast(query, key, probs, label, given, unreliable, method):
    """The formula of the docstring, point by point, in float64."""
    unit = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (query, key)]
    ranks = np.argsort(np.argsort(-probs, axis=-1), axis=-1)
    low, of_classes = min(method.rank_low, CLASSES - 1), []
    for c in range(CLASSES):
        center = unit[1][label == c].sum(0)
        center /= np.linalg.norm(center)
        negative = (unreliable & (ranks[:, c] >= low) & (ranks[:, c] < method.rank_high)) | (
            given & (label != c) & (ranks[:, c] < low)
        )
        anchors = np.flatnonzero((label == c) & (probs[:, c] >= method.sure))
        losses = []
        for i in anchors:
            positive = np.exp(unit[0][i] @ center / method.temperature)
            pushed = np.exp(unit[1][negative] @ unit[0][i] / method.temperature)
            losses.append(-np.log(positive / (positive + method.negatives * pushed.mean())))
        assert len(losses) and negative.any()
        of_classes.append(np.mean(losses))
    return of_classes


def test_reliability_and_contrast_of_labeled_and_mixed_images(batch):
    method = make_method("u2pl", {"options": {"drop": 0.5, "grid": SIZE, "rank_low": 1}})
    weights = {"student": np.array([1.0, 0.8, 1.3]), "teacher": np.array([0.9, 1.1, 1.0])}
    networks = {
        name: Network(Shifting(), {"weight": jnp.asarray(weight, jnp.float32)}, {}, progress=0.2)
        for name, weight in weights.items()
    }
    output = jax.jit(
        lambda batch: method(networks["student"], networks["teacher"], PLAIN_VIEWS, batch)
    )(batch)
    (term,) = output.terms

    unit = {name: np.asarray(part["image"], np.float64) / 255 for name, part in batch.items()}
    box = np.asarray(PLAIN_VIEWS.box(batch["unlabeled"]["key"], SIZE, SIZE))
    mixed = np.where(box[..., None], unit["mix"], unit["unlabeled"])
    # Labels: of the unmixed images, by running statistics. Reliability: of what the student sees.
    np.testing.assert_allclose(
        term.teacher_logits, predicted(mixed, weights["teacher"], False), rtol=1e-5, atol=1e-5
    )
    both = np.concatenate([unit["labeled"], mixed])
    teacher = predicted(both, weights["teacher"], True)
    probs, valid = softmax(teacher[COUNT:]), np.asarray(term.valid)
    entropy = -(probs * np.log(probs)).sum(-1)
    reliable = valid & (entropy <= np.quantile(entropy[valid], 1 - 0.5 * 0.8))
    np.testing.assert_array_equal(np.asarray(term.keep) > 0, reliable)
    assert 0.5 < reliable[valid].mean() < 0.7

    student = np.concatenate(
        [predicted(unit["labeled"], weights["student"], True),
         predicted(mixed, weights["student"], True)]
    )  # fmt: skip
    mask = np.asarray(batch["labeled"]["mask"], int).ravel()
    pseudo = np.where(reliable, np.asarray(term.teacher_logits).argmax(-1), 255).ravel()
    none, flat = np.zeros(len(mask), bool), (-1, CLASSES)
    expected = expected_contrast(
        student.reshape(flat),
        teacher.reshape(flat),
        softmax(teacher).reshape(flat),
        label=np.concatenate([mask, pseudo]),
        given=np.concatenate([mask != 255, none]),
        unreliable=np.concatenate([none, (valid & ~reliable).ravel()]),
        method=method,
    )
    weight, (total, count) = output.extra["contrast"]
    assert weight == 1.0 and count == CLASSES
    assert float(total) == pytest.approx(sum(expected), rel=1e-4)


def test_grid_values_are_those_at_the_centers():
    x = jnp.arange(2 * 6 * 4).reshape(2, 6, 4)
    np.testing.assert_array_equal(grid_values(x, (3, 2)), x[:, 1::2, 1::2].reshape(2, -1))
    np.testing.assert_array_equal(grid_values(x, (6, 4)), x.reshape(2, -1))


def test_ranks_in_order():
    with pytest.raises(ConfigError, match="rank_low is 20 and rank_high 20"):
        U2PL(rank_low=20)
