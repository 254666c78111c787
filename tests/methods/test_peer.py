"""Two students, each labeled by the other one's moving average."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.methods import METHODS, Network, OneStrongView, make_method
from ipixmatch_jax.models import Twins
from ipixmatch_jax.views import Views
from tests.methods.test_every_method import painted

VIEWS = Views(mean=(0.0,) * 3, std=(1.0,) * 3)
PEERS = [name for name in METHODS.names() if issubclass(METHODS[name], OneStrongView)]


class Scaled(nn.Module):
    """Logits are colors times a weight."""

    @nn.compact
    def __call__(self, images, train=False):
        return self.decode(self.encode(images, train), images.shape[1:3], train)

    def encode(self, images, train=False):
        return (images * self.param("weight", nn.initializers.ones, (1, 1, 1, 3)),)

    def decode(self, features, size, train=False):
        self.sow("intermediates", "decoder", features[0])
        return features[0]


def twins(first, second):
    weights = {"first": first, "second": second}
    params = {
        name: {"weight": jnp.full((1, 1, 1, 3), w, jnp.float32)} for name, w in weights.items()
    }
    return Network(Twins(Scaled(), Scaled()), params, {})


@pytest.mark.parametrize("name", PEERS)
def test_each_student_is_labeled_by_the_other_ones_teacher(name):
    students, teachers, batch = twins(1.0, 2.0), twins(3.0, 5.0), painted(0)
    output = make_method(name, {"labeler": "peer"})(students, teachers, VIEWS, batch)
    alone = make_method(name, {"labeler": "teacher"})
    pairs = (("first", "second"), ("second", "first"))
    expected = [
        alone(students.part(one), teachers.part(other), VIEWS, batch) for one, other in pairs
    ]
    assert len(output.terms) == 2 * len(expected[0].terms)
    both = [part.labeled_logits for part in expected]
    np.testing.assert_array_equal(output.labeled_logits, jnp.concatenate(both))
    for found, term in zip(output.terms, [t for part in expected for t in part.terms], strict=True):
        jax.tree.map(np.testing.assert_array_equal, found, term)
    assert output.labeled_weight == expected[0].labeled_weight
    assert len(output.extra) == 2 * len(expected[0].extra)
    # The labels differ as the teachers do.
    ratio = output.terms[0].teacher_logits / expected[1].terms[0].teacher_logits
    if name != "augseg":
        np.testing.assert_allclose(ratio[jnp.isfinite(ratio)], 5 / 3, rtol=1e-5)


def test_both_networks_are_trained_and_the_first_is_evaluated():
    method = make_method("fixmatch", {"labeler": "peer"})
    assert (method.networks, method.labeling_network) == (2, "teacher")
    method = make_method("fixmatch", {"labeler": "student"})
    assert (method.networks, method.labeling_network) == (1, "student")


def test_a_method_that_defines_its_call_has_no_peer():
    @dataclasses.dataclass(frozen=True)
    class Own(OneStrongView):
        def __call__(self, student, teacher, views, batch):
            return None

    Own(labeler="student")
    with pytest.raises(ConfigError, match="Own defines __call__; expected its method `passes`"):
        Own(labeler="peer")


def test_methods_with_several_strong_views_have_no_peer():
    with pytest.raises(ConfigError, match="expected one of teacher, student"):
        make_method("unimatch", {"labeler": "peer"})
