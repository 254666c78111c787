import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.engine.objective import Objective, Supervised, Threshold
from ipixmatch_jax.engine.weighted_relation import WeightedRelation, ramp_up
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.losses import inter_pixel_loss
from ipixmatch_jax.methods import ConsistencyTerm, MethodOutput

rng = np.random.default_rng(0)
SHAPE = (2, 5, 6, 3)


def logits():
    return jnp.asarray(rng.normal(size=SHAPE) * 2, jnp.float32)


def evaluate(objective, output, mask, step=0):
    """The loss over one device."""

    def on_device(output, mask):
        return objective(output, {"mask": mask}, jnp.asarray(step))

    stacked = jax.tree.map(lambda leaf: leaf[None], (output, mask))
    loss, metrics = jax.jit(jax.vmap(on_device, axis_name="data"))(*stacked)
    return float(loss[0]), jax.tree.map(lambda leaf: np.asarray(leaf[0], np.float64), metrics)


@pytest.fixture
def output():
    terms = tuple(
        ConsistencyTerm(logits(), logits(), jnp.asarray(rng.random(SHAPE[:3]) < 0.8), weight)
        for weight in (0.5, 2.0)
    )
    return MethodOutput(logits(), terms, {})


@pytest.fixture
def mask():
    return jnp.asarray(np.where(rng.random(SHAPE[:3]) < 0.2, 255, 1), jnp.uint8)


def log_softmax(z):
    z = np.asarray(z, np.float64)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def test_loss_is_the_stated_sum(output, mask):
    relations = (WeightedRelation("class_map", "kl", 0.3), WeightedRelation("affinity", "mse", 9.0))
    objective = Objective(threshold=Threshold(0.6), unlabeled_weight=0.7, relations=relations)
    loss, metrics = evaluate(objective, output, mask)
    truth = np.asarray(mask)
    expected = -log_softmax(output.labeled_logits)[..., 1][truth != 255].mean()
    for term in output.terms:
        teacher, valid = np.exp(log_softmax(term.teacher_logits)), np.asarray(term.valid)
        keep = valid & (teacher.max(-1) >= 0.6)
        picked = np.take_along_axis(
            log_softmax(term.student_logits), teacher.argmax(-1)[..., None], -1
        )[..., 0]
        pseudo = -(picked * keep).sum() / valid.sum()
        for weight, names in ((0.3, {}), (9.0, {"relation": "affinity", "distance": "mse"})):
            relation = inter_pixel_loss(
                term.student_logits, term.teacher_logits, jnp.asarray(keep, "float32"), **names
            )
            expected += 0.7 * term.weight * weight * float(relation)
        expected += 0.7 * term.weight * pseudo
    assert loss == pytest.approx(expected, rel=1e-5)
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)
    values = [metrics["relation/class_map/kl"], metrics["relation/affinity/mse"]]
    assert min(values) > 0
    assert metrics["loss_relation"] == pytest.approx(np.dot([0.3, 9.0], values), rel=1e-5)


def test_weight_of_labeled_images(output, mask):
    whole, metrics = evaluate(Objective(), output, mask)
    half, metrics_of_half = evaluate(Objective(supervised=Supervised(weight=0.5)), output, mask)
    assert half == pytest.approx(whole - 0.5 * metrics["loss_supervised"], rel=1e-6)
    assert metrics_of_half["loss_supervised"] == metrics["loss_supervised"] > 0


def test_relation_none_leaves_the_bare_method(output, mask):
    bare, metrics = evaluate(Objective(threshold=Threshold(0.6)), output, mask)
    weightless, _ = evaluate(
        Objective(threshold=Threshold(0.6), relations=(WeightedRelation("class_map", "kl", 0.0),)),
        output,
        mask,
    )
    assert metrics["loss_relation"] == 0.0
    assert bare == pytest.approx(weightless, rel=1e-6)


def test_region_chooses_the_pixels_of_the_relation(output, mask):
    term = output.terms[1]
    valid = output.replace(terms=(term.replace(weight=1.0),))
    _, metrics = evaluate(
        Objective(
            threshold=Threshold(0.99),
            relations=(WeightedRelation("class_map", "kl", region="valid"),),
        ),
        valid,
        mask,
    )
    keep = jnp.asarray(term.valid, "float32")
    expected = inter_pixel_loss(term.student_logits, term.teacher_logits, keep)
    assert metrics["loss_relation"] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("start", "steps", "expected"),
    [
        (0, 0, {0: 2.0, 9: 2.0}),
        (4, 0, {3: 0.0, 4: 2.0}),
        (4, 3, {3: 0.0, 4: 0.5, 5: 1.0, 6: 1.5, 7: 2.0, 99: 2.0}),
    ],
)
def test_ramp(start, steps, expected):
    objective = Objective(unlabeled_weight=2.0, ramp_start=start, ramp_steps=steps)
    for step, weight in expected.items():
        assert float(objective.ramp(jnp.asarray(step))) == pytest.approx(weight)


@pytest.mark.parametrize(("confidence", "share"), [(0.0, 1.0), (1.1, 0.0)])
def test_telemetry_says_how_many_pseudo_labels_count(output, mask, confidence, share):
    _, metrics = evaluate(Objective(threshold=Threshold(confidence)), output, mask)
    total, count = metrics["confident_share"]
    assert total / count == share
    assert count == sum(np.asarray(term.valid).sum() for term in output.terms)
    accepted, predicted = metrics["class_acceptance"]
    assert accepted.sum() == total and predicted.sum() == count


def test_no_valid_pixel_anywhere_gives_zero_not_nan(output, mask):
    terms = tuple(t.replace(valid=jnp.zeros(SHAPE[:3], bool)) for t in output.terms)
    loss, metrics = evaluate(
        Objective(relations=(WeightedRelation("class_map", "corr"),)),
        output.replace(terms=terms),
        jnp.full_like(mask, 255),
    )
    assert loss == 0.0 and metrics["loss_supervised"] == 0.0


@pytest.mark.parametrize("region", ["confident", "valid"])
def test_pixels_that_are_not_valid_change_nothing(output, mask, region):
    names = (("class_map", "kl"), ("class_map", "corr"), ("affinity", "mse"))
    relations = tuple(WeightedRelation(*pair, region=region) for pair in names)
    objective = Objective(threshold=Threshold(0.5), relations=relations)
    expected = evaluate(objective, output, mask)
    ignored = (mask == 255)[..., None]
    other = output.replace(
        labeled_logits=jnp.where(ignored, logits(), output.labeled_logits),
        terms=tuple(
            term.replace(
                student_logits=jnp.where(term.valid[..., None], term.student_logits, logits()),
                teacher_logits=jnp.where(term.valid[..., None], term.teacher_logits, logits()),
            )
            for term in output.terms
        ),
    )
    jax.tree.map(np.testing.assert_array_equal, evaluate(objective, other, mask), expected)


def test_a_relation_may_have_a_ramp_of_its_own(output, mask):
    relation = WeightedRelation("class_map", "kl", 3.0, ramp="linear", ramp_start=4, ramp_steps=3)
    objective = Objective(relations=(relation,))
    for step, factor in {3: 0.0, 5: 0.5, 7: 1.0}.items():
        _, metrics = evaluate(objective, output, mask, step)
        value = metrics["relation/class_map/kl"]
        assert metrics["loss_relation"] == pytest.approx(3.0 * factor * value, rel=1e-6)


def test_ramps():
    def at(step, kind):
        return float(ramp_up(jnp.asarray(step), 4, 3, kind))

    assert [at(step, "none") for step in (0, 99)] == [1.0, 1.0]
    assert [at(step, "linear") for step in (3, 4, 7, 9)] == [0.0, 0.25, 1.0, 1.0]
    assert [at(step, "sigmoid") for step in (3, 7, 9)] == [0.0, 1.0, 1.0]
    assert at(5, "sigmoid") == pytest.approx(np.exp(-5 * 0.5**2))


def test_relations_of_features_see_the_share_of_kept_pixels(mask):
    here, there = (jnp.asarray(rng.normal(size=(2, 3, 3, 7)), jnp.float32) for _ in "ab")
    size = (2, 6, 6, 3)
    valid = jnp.asarray(np.repeat([True, False], [3, 3]))[None, :, None] & jnp.ones((2, 1, 6), bool)
    term = ConsistencyTerm(
        jnp.zeros(size),
        jnp.zeros(size),
        valid,
        student_features={"decoder": here},
        teacher_features={"decoder": there},
    )
    relation = WeightedRelation("affinity", "mse", region="valid", options={"on": "features"})
    total, count = relation(term, jnp.zeros(size[:3]))
    # Rows of features at pixels 0.5, 2.5, 4.5: all, half and none of what they cover is valid.
    keep = jax.image.resize(valid.astype(jnp.float32), (2, 3, 3), "linear", antialias=True)
    # The weights of a linear resize add up to 1 up to float32 rounding, which depends on the CPU.
    assert keep[0, 0, 0] == pytest.approx(1.0, abs=1e-6)
    assert 0.3 < keep[0, 1, 0] < 0.7 and keep[0, 2, 0] < 0.2
    expected = inter_pixel_loss(
        here, there, keep, relation="affinity", distance="mse", on="features"
    )
    assert float(total / count) == pytest.approx(float(expected), rel=1e-6)
    assert relation.label == "relation/affinity/mse/decoder"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WeightedRelation("class_map", "kll"), "did you mean 'class_map/kl'"),
        (lambda: WeightedRelation("class_map", "kl", region="all"), "confident or valid"),
        (lambda: WeightedRelation("class_map", "kl", ramp="cosine"), "none or linear or sigmoid"),
        (lambda: WeightedRelation("class_map", "kl", ramp_steps=5), "need relation.ramp='linear'"),
        (lambda: Objective(normalize="local"), "'global' or 'per_device'"),
        (
            lambda: Objective(relations=(WeightedRelation("class_map", "kl"),) * 2),
            "relation/class_map/kl is given twice",
        ),
    ],
)
def test_bad_choices_are_named(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
