"""Class weights measured from the labeled masks."""

import numpy as np
import pytest

from ipixmatch_jax.config import load_config
from ipixmatch_jax.data import load_dataset, with_class_weights
from ipixmatch_jax.errors import ConfigError


def test_every_class_counts_alike_and_pixels_1_on_average(config_file):
    config = load_config(str(config_file), ["--config.supervised.weighting=inverse_frequency"])
    weights = np.array(with_class_weights(config).supervised.class_weights)
    source = load_dataset(config.data, config.seed).labeled
    masks = np.concatenate([source[i]["mask"].ravel() for i in range(len(source))])
    counts = np.bincount(masks[masks != 255], minlength=2)
    np.testing.assert_allclose(weights[0] * counts[0], weights[1] * counts[1], rtol=1e-5)
    assert (weights * counts).sum() == pytest.approx(counts.sum(), rel=1e-5)


def test_nothing_is_measured_unless_it_is_asked_for(config_file):
    config = load_config(str(config_file))
    assert with_class_weights(config) is config


@pytest.mark.parametrize(
    "override, message",
    [
        ("--config.supervised.weighting=some", "expected .none., .inverse_frequency. or .given."),
        ("--config.supervised.weighting=given", "has 0 numbers; expected one for each of 2"),
        ("--config.supervised.name=dize", "did you mean 'dice'"),
    ],
)
def test_wrong_choices_are_named(config_file, override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(str(config_file), [override])
