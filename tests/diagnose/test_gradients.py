"""Gradients of every loss against central differences of float64 losses written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ipixmatch_jax.diagnose import losses
from ipixmatch_jax.diagnose.gradients import Gradients, Step, products
from ipixmatch_jax.engine.objective import Objective, Supervised, Threshold
from ipixmatch_jax.engine.weighted_relation import WeightedRelation
from ipixmatch_jax.methods import make_method
from ipixmatch_jax.views import paste
from tests.references.loss_reference import gradient, log_softmax, relation_loss, softmax
from tests.references.miniature import PLAIN_VIEWS

CLASSES, SIDE, HIDDEN, SURE = 3, 6, 4, 0.55


class Pixelwise(nn.Module):
    """Two dense layers for each pixel."""

    @nn.compact
    def __call__(self, x, train):
        hidden = jnp.tanh(nn.Dense(HIDDEN, name="inner")(x))
        return nn.Dense(CLASSES, name="outer")(hidden)


def logits(vector, images):
    """The same network in NumPy, by the vector of its parameters."""
    sizes = np.cumsum([HIDDEN, 3 * HIDDEN, CLASSES])
    first, inner, second, outer = np.split(vector, sizes)
    hidden = np.tanh(images @ inner.reshape(3, HIDDEN) + first)
    return hidden @ outer.reshape(HIDDEN, CLASSES) + second


def batch_of(seed, count=3):
    rng = np.random.default_rng(seed)

    def records():
        mask = rng.integers(0, CLASSES, (count, SIDE, SIDE)).astype(np.uint8)
        mask[:, 0, 0] = 255
        valid = np.ones((count, SIDE, SIDE), bool)
        valid[0, -2:] = False
        return {
            "image": rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8),
            "mask": mask,
            "valid": valid,
            "key": rng.integers(0, 2**32, (count, 2), dtype=np.uint32),
        }

    return {name: records() for name in ("labeled", "unlabeled", "mix")}


@pytest.fixture(scope="module")
def toy():
    """Gradients of a toy network; its batch, and the vectors of student and teacher."""
    model, batch = Pixelwise(), batch_of(0)
    images = jnp.zeros((1, SIDE, SIDE, 3))
    student, teacher = (model.init(jax.random.key(k), images, False)["params"] for k in (1, 2))
    teacher = jax.tree.map(lambda x: 2.0 * x, teacher)
    networks = {
        name: {"params": params, "batch_stats": {}}
        for name, params in (("student", student), ("teacher", teacher))
    }
    method = make_method("fixmatch", {"confidence": SURE})
    gradients = Gradients(Step(model, method, PLAIN_VIEWS), networks)
    vectors = [
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(one)]).astype(np.float64)
        for one in (student, teacher)
    ]
    return gradients, batch, *vectors


def mixed(batch, what):
    """Images, masks or valid maps of the unlabeled images with the boxes of their partners."""
    own, partner = (np.asarray(batch[name][what]) for name in ("unlabeled", "mix"))
    box = PLAIN_VIEWS.box(batch["unlabeled"]["key"], SIDE, SIDE)
    return np.asarray(paste(box, jnp.asarray(partner), jnp.asarray(own)))


def weights(term, region):
    sure = softmax(term["teacher"]).max(-1) >= SURE
    return (term["valid"] & sure).astype(float) if region == "confident" else term["valid"] * 1.0


def hard(threshold):
    def value(student, term):
        label = term["teacher"].argmax(-1)
        keep = term["valid"] & (softmax(term["teacher"]).max(-1) >= threshold)
        gap = -np.take_along_axis(log_softmax(student), label[..., None], -1)[..., 0]
        return np.sum(keep * gap) / term["valid"].sum()

    return value


def soft(temperature, region):
    def value(student, term):
        log_p, log_q = (log_softmax(x / temperature) for x in (term["teacher"], student))
        gap = np.sum(np.exp(log_p) * (log_p - log_q), -1)
        return temperature**2 * np.sum(weights(term, region) * gap) / term["valid"].sum()

    return value


def true(student, term):
    known = term["valid"] & (term["mask"] != 255)
    label = np.where(known, term["mask"], 0).astype(int)
    gap = -np.take_along_axis(log_softmax(student), label[..., None], -1)[..., 0]
    return np.sum(known * gap) / known.sum()


def related(name, temperature, region, **options):
    def value(student, term):
        keep = weights(term, region)
        return relation_loss(student, term["teacher"], keep, name, temperature, **options)

    return value


OBJECTIVE = Objective(
    threshold=Threshold(SURE), relations=(WeightedRelation("affinity", "mse", weight=7.0),)
)
TEXTS = ("class_map/kl:temperature=4", "affinity/kl:temperature=0.1,stride=2")
WRITTEN = {
    "pseudo-labels of the run": hard(SURE),
    "true labels": true,
    "hard labels, confidence 0.5": hard(0.5),
    "hard labels, confidence 0": hard(0.0),
    "soft labels T 1, valid": soft(1, "valid"),
    "soft labels T 2, valid": soft(2, "valid"),
    "soft labels T 1, confident": soft(1, "confident"),
    "affinity/mse, confident": related("affinity/mse", 1, "confident"),
    "class_map/kl T 4, valid": related("class_map/kl", 4, "valid"),
    "class_map/kl T 4, confident": related("class_map/kl", 4, "confident"),
    "affinity/kl T 0.1 stride 2, valid": related("affinity/kl", 0.1, "valid", stride=2),
    "affinity/kl T 0.1 stride 2, confident": related("affinity/kl", 0.1, "confident", stride=2),
}


def test_gradients_are_those_of_the_losses_written_out(toy):
    gradients, batch, student, teacher = toy
    compared = [
        losses.pseudo_labels(OBJECTIVE),
        losses.true_labels(OBJECTIVE),
        *losses.hard_labels(OBJECTIVE, (0.5, 0.0)),
        *losses.soft_labels(OBJECTIVE),
        *losses.relations(OBJECTIVE, TEXTS, losses.REGIONS, (), (SIDE, SIDE)),
    ]
    assert {loss.name for loss in compared} == set(WRITTEN)
    assert [loss.name for loss in compared if loss.own] == [
        "pseudo-labels of the run",
        "affinity/mse, confident",
    ]
    images = mixed(batch, "image") / 255
    # The labeler predicts the images before they are mixed; a network of single pixels is blind to
    # that, and the boxes of the labels are those of the images.
    term = {
        "teacher": logits(teacher, images),
        "valid": mixed(batch, "valid"),
        "mask": mixed(batch, "mask"),
    }
    assert 0.2 < weights(term, "confident").sum() / term["valid"].sum() < 0.9
    found = zip(compared, gradients.unlabeled(compared, batch), strict=True)
    for loss, got in found:
        written = WRITTEN[loss.name]
        want = gradient(lambda v, f=written: f(logits(v, images), term), student)
        scale = np.abs(want).max()
        assert scale > 1e-6, loss.name
        np.testing.assert_allclose(got, want, atol=2e-4 * scale, err_msg=loss.name)


def test_the_gradient_of_labeled_images(toy):
    gradients, batch, student, _ = toy
    images, mask = batch["labeled"]["image"] / 255, batch["labeled"]["mask"]

    def written(vector):
        known, label = mask != 255, np.where(mask == 255, 0, mask).astype(int)
        gap = -np.take_along_axis(log_softmax(logits(vector, images)), label[..., None], -1)
        return np.sum(known * gap[..., 0]) / known.sum()

    want = gradient(written, student)
    weighted = Objective(supervised=Supervised("cross_entropy", 1.0, (1.0, 0.2, 3.0)))
    for loss in (losses.supervised(OBJECTIVE), losses.cross_entropy(weighted)):
        np.testing.assert_allclose(gradients.labeled(loss, batch), want, atol=1e-5)


def test_products():
    rng = np.random.default_rng(1)
    basis, one = rng.normal(size=(4, 50)), rng.normal(size=50)
    got = products(jnp.asarray(basis, jnp.float32), jnp.asarray(one, jnp.float32))
    np.testing.assert_allclose(got, [*basis @ one, one @ one], rtol=1e-4, atol=1e-5)
