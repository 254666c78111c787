"""Relations of one's own, options, shapes and names that cannot be, and the docstring examples."""

import doctest

import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.losses import (
    RELATIONS,
    inter_pixel_loss,
    relation,
)
from tests.references.relations import draw


@pytest.mark.usefixtures("own_relation")
def test_a_relation_of_ones_own():
    @RELATIONS.register("test_only/mse")
    def mse(student_logits, teacher_logits, keep, *, temperature):
        difference = (student_logits - teacher_logits) / temperature
        return jnp.sum(keep[..., None] * difference**2, axis=(1, 2, 3))

    student, teacher, keep = draw(16, (2, 4, 5, 2))
    spoiled = np.where(keep[..., None] == 0, np.float32(np.nan), student)
    value = inter_pixel_loss(
        spoiled, teacher, keep, relation="test_only", distance="mse", temperature=2.0
    )
    expected = np.sum(keep[..., None] * ((student - teacher) / 2) ** 2) / 2
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_unknown_names_suggest_the_nearest():
    student, teacher, keep = draw(17, (2, 4, 5, 2))
    with pytest.raises(ConfigError, match=r"'class_maps/kl'.*did you mean 'class_map/kl'"):
        inter_pixel_loss(student, teacher, keep, relation="class_maps")
    with pytest.raises(ConfigError, match=r"known: .*class_map/corr"):
        inter_pixel_loss(student, teacher, keep, distance="cor")
    with pytest.raises(ConfigError, match=r"no option 'strid'.*did you mean 'stride'"):
        inter_pixel_loss(student, teacher, keep, relation="affinity", strid=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 2}, "'class_map/kl' has no option 'stride'"),
        ({"on": "features"}, "'class_map/kl' has no option 'on'"),
        ({"relation": "affinity", "stride": 0}, "relation.stride is 0"),
        ({"relation": "affinity", "stride": 1.5}, "relation.stride is 1.5"),
        ({"relation": "affinity", "on": "feature"}, "'probs' or 'features'"),
        ({"relation": "affinity", "classes": "seen"}, "'all' or 'present'"),
        ({"relation": "affinity", "on": "features", "classes": "present"}, "needs"),
    ],
    ids=str,
)
def test_options_that_cannot_be(options, message):
    student, teacher, keep = draw(28, (2, 4, 5, 2))
    with pytest.raises(ConfigError, match=message):
        inter_pixel_loss(student, teacher, keep, **options)


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
def test_temperature_must_be_positive(temperature):
    student, teacher, keep = draw(18, (2, 4, 5, 2))
    with pytest.raises(ConfigError, match="relation.temperature"):
        inter_pixel_loss(student, teacher, keep, temperature=temperature)


@pytest.mark.parametrize(
    ("student", "teacher", "keep", "message"),
    [
        ((2, 4, 5, 3), (2, 4, 5, 2), (2, 4, 5), "differ"),
        ((2, 4, 5, 3), (2, 4, 5, 3), (2, 5, 4), "keep"),
        ((2, 4, 5, 3), (2, 4, 5, 3), (2, 4, 5, 1), "keep"),
        ((2, 4, 5, 1), (2, 4, 5, 1), (2, 4, 5), "C >= 2"),
        ((4, 5, 3), (4, 5, 3), (4, 5), r"\[B,H,W,C\]"),
    ],
)
def test_shapes_that_do_not_fit(student, teacher, keep, message):
    with pytest.raises(ValueError, match=message):
        inter_pixel_loss(jnp.zeros(student), jnp.zeros(teacher), jnp.zeros(keep))


def test_examples_in_the_docstrings():
    assert doctest.testmod(relation) == (0, 6)
