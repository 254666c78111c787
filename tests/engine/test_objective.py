import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.engine.objective import Objective
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
    objective = Objective(
        confidence=0.6, unlabeled_weight=0.7, relation="class_map", relation_weight=0.3
    )
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
        relation = float(
            inter_pixel_loss(term.student_logits, term.teacher_logits, jnp.asarray(keep, "float32"))
        )
        expected += 0.7 * term.weight * (pseudo + 0.3 * relation)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)


def test_relation_none_leaves_the_bare_method(output, mask):
    bare, metrics = evaluate(Objective(confidence=0.6), output, mask)
    weightless, _ = evaluate(
        Objective(confidence=0.6, relation="class_map", relation_weight=0.0), output, mask
    )
    assert metrics["loss_relation"] == 0.0
    assert bare == pytest.approx(weightless, rel=1e-6)


def test_region_chooses_the_pixels_of_the_relation(output, mask):
    term = output.terms[1]
    valid = output.replace(terms=(term.replace(weight=1.0),))
    _, metrics = evaluate(
        Objective(confidence=0.99, relation="class_map", region="valid"), valid, mask
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
    _, metrics = evaluate(Objective(confidence=confidence), output, mask)
    total, count = metrics["confident_share"]
    assert total / count == share
    assert count == sum(np.asarray(term.valid).sum() for term in output.terms)
    accepted, predicted = metrics["class_acceptance"]
    assert accepted.sum() == total and predicted.sum() == count


def test_no_valid_pixel_anywhere_gives_zero_not_nan(output, mask):
    terms = tuple(t.replace(valid=jnp.zeros(SHAPE[:3], bool)) for t in output.terms)
    loss, metrics = evaluate(
        Objective(relation="class_map", distance="corr"),
        output.replace(terms=terms),
        jnp.full_like(mask, 255),
    )
    assert loss == 0.0 and metrics["loss_supervised"] == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"relation": "class_map", "distance": "kll"}, "did you mean 'class_map/kl'"),
        ({"region": "all"}, "region is 'all'; expected confident or valid"),
        ({"normalize": "local"}, "expected global or per_device"),
    ],
)
def test_bad_choices_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        Objective(**options)
