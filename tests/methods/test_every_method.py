"""Properties of every method: soft maps are mixed, layouts agree, the loss falls."""

import re

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.devices.parallel import PARALLEL
from ipixmatch_jax.engine.objective import Objective, Threshold
from ipixmatch_jax.engine.optimizer import make_optimizer
from ipixmatch_jax.engine.step import make_train_step
from ipixmatch_jax.engine.weighted_relation import WeightedRelation
from ipixmatch_jax.methods import METHODS, Network, make_method
from ipixmatch_jax.models import Twins
from ipixmatch_jax.views import Views, augment
from tests.references.miniature import CLASSES, PLAIN_VIEWS, SIZE, random_batch

COLLECTIVE = r"\b(all-\w+|reduce-scatter|collective-\w+)(?:-start)?\("
RELATIONS = ("class_map/kl", "class_map/corr", "affinity/mse", "affinity/corr")
WITH_TERMS = [name for name in METHODS.names() if METHODS[name].uses_unlabeled]
# No augmentation, so that the student sees the images of the mixed labels.
UNCHANGED = {
    "unimatch": {"drop_rate": 0.0},
    "unimatch_v2": {"whole_rate": 1.0},
    "augseg": {"labeled_beta": (1e6, 1e-3)},
    "corrmatch": {"temperature": 1e-4},
}


class Painter(nn.Module):
    """The logits of a pixel are its own three colors."""

    @nn.compact
    def __call__(self, images, train=False):
        return self.decode(self.encode(images, train), images.shape[1:3], train)

    def encode(self, images, train=False):
        return (images,)

    def decode(self, features, size, train=False):
        self.sow("intermediates", "decoder", features[0])
        return features[0]


def painted(seed):
    """Random records whose blue channel marks valid pixels."""
    batch = random_batch(seed, batch=4, size=12)
    rng = np.random.default_rng(seed)
    for name in ("unlabeled", "mix"):
        batch[name]["valid"] = rng.random((4, 12, 12)) < 0.5
        batch[name]["image"][..., 2] = 255 * batch[name]["valid"]
    batch["labeled"]["mask"] %= 3
    return jax.tree.map(jnp.asarray, batch)


# `flip` is one code for all of them.
FLIPPED = [
    pytest.param(name, "flip", marks=[pytest.mark.slow] if name != "fixmatch" else [])
    for name in WITH_TERMS
]


@pytest.mark.parametrize("name, mix", [*((name, "stream") for name in WITH_TERMS), *FLIPPED])
def test_image_soft_map_and_valid_map_are_mixed_by_one_box(name, mix, monkeypatch):
    monkeypatch.setattr(augment, "random_intensity", lambda key, image: image)
    method = make_method(name, {"mix": mix, "options": UNCHANGED.get(name, {})})
    network = Network(Painter(), {}, {})
    if method.networks == 2:
        network = Network(Twins(Painter(), Painter()), {"first": {}, "second": {}}, {})
    batch = painted(0)
    output = method(network, network, PLAIN_VIEWS, batch)
    changed = 0
    for term in output.terms:
        np.testing.assert_array_equal(term.valid, np.asarray(term.teacher_logits[..., 2]) > 0)
        if name != "corrmatch" or not term.student_logits.min() < 0:  # those are log p
            np.testing.assert_allclose(term.student_logits, term.teacher_logits, rtol=1e-6)
        own = np.asarray(batch["unlabeled"]["image"], np.float32) / np.float32(255)
        changed += not np.allclose(term.teacher_logits, own)
    assert changed >= 1


class Tiny(nn.Module):
    """A convolution with batch norm, then the classifier."""

    input_mean = (0.5,) * 3
    input_std = (0.25,) * 3

    def setup(self):
        self.encoder = nn.Conv(8, (3, 3))
        self.norm = nn.BatchNorm(momentum=0.9, axis_name="data", use_fast_variance=False)
        self.head = nn.Conv(CLASSES, (1, 1))

    def encode(self, images, train=False):
        return (nn.relu(self.norm(self.encoder(images), use_running_average=not train)),)

    def decode(self, features, size, train=False):
        self.sow("intermediates", "decoder", features[0])
        return self.head(features[0])

    def __call__(self, images, train=False):
        return self.decode(self.encode(images, train), images.shape[1:3], train)


def run(name, relations, parallel):
    name, _, who = name.partition(" by ")
    method = make_method(name, {"confidence": 0.0, "labeler": who or None})
    model = Twins(Tiny(), Tiny()) if method.networks == 2 else Tiny()
    rule, schedule = make_optimizer(
        dict(
            name="sgd",
            learning_rate=0.02,
            head_multiplier=1.0,
            weight_decay=0.0,
            decay_norm_and_bias=False,
            momentum=0.9,
            power=0.0,
            warmup_steps=0,
        ),
        100,
    )
    objective = Objective(
        threshold=Threshold(0.0),
        relations=tuple(WeightedRelation(*r.split("/"), weight=0.1) for r in relations),
        unlabeled_weight=0.3,
    )
    views = Views(mean=Tiny.input_mean, std=Tiny.input_std)
    step = make_train_step(model, method, views, objective, rule, schedule, total_steps=100)
    spread = PARALLEL[parallel](jax.devices())
    image = np.zeros((1, SIZE, SIZE, 3), np.float32)
    variables = jax.jit(lambda key: model.init(key, image))(jax.random.key(0))
    variables = {key: variables[key] for key in ("params", "batch_stats")}
    return spread, spread.distribute(step), spread.first_state(jax.device_get(variables), rule)


def check(name, relations):
    after = {}
    for parallel in ("pmap", "shard_map"):
        spread, step, state = run(name, relations, parallel)
        if parallel == "shard_map":
            # One compilation for the whole run, and sums over devices its only communication.
            step = step.lower(state, spread.put_batch(random_batch(0))).compile()
            assert set(re.findall(COLLECTIVE, step.as_text())) == {"all-reduce"}
        for seed in range(3):
            state, _ = step(state, spread.put_batch(random_batch(seed)))
        after[parallel] = jax.device_get(state)
    chex.assert_trees_all_equal(after["pmap"], after["shard_map"])
    batch, losses = spread.put_batch(random_batch(7)), []
    for _ in range(50):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.97 * np.mean(losses[:5])


# Each with something that the others lack; all of them, relation by relation, in the slow test.
PEERS = [f"{name} by peer" for name in ("augseg", "corrmatch", "u2pl")]
ALONE = ("cps", "unimatch", "u2pl", "fixmatch by peer", *PEERS)
ALONE = [pytest.param(name, marks=pytest.mark.slow) for name in ALONE]


@pytest.mark.parametrize("name", ["fixmatch", *ALONE])
def test_layouts_agree_and_the_loss_falls_with_every_relation_at_once(name):
    check(name, RELATIONS)


def test_layouts_agree_and_the_loss_falls_with_two_networks():
    check("fixmatch by peer", RELATIONS[:1])


@pytest.mark.slow
@pytest.mark.parametrize("relation", ["none", *RELATIONS])
@pytest.mark.parametrize("name", METHODS.names())
def test_layouts_agree_and_the_loss_falls(name, relation):
    check(name, () if relation == "none" else (relation,))
