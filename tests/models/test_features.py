import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.models import create_model, feature_names, named_features

OPTIONS = {"unet": {"width": 4, "depth": 2}, "deeplabv3plus": {"decoder_channels": 16}}


@pytest.mark.parametrize("name", OPTIONS)
def test_feature_names_without_computing(name):
    model = create_model(name, num_classes=3, **OPTIONS[name])
    assert feature_names(model) == ("decoder", "encoder")


def test_the_classifier_sees_the_decoder_map():
    model = create_model("unet", num_classes=3, **OPTIONS["unet"])
    images = np.random.default_rng(0).normal(size=(2, 16, 24, 3)).astype("f")
    variables = model.init(jax.random.key(0), images, train=False)
    assert set(variables) == {"params", "batch_stats"}
    logits, updated = model.apply(variables, images, train=False, mutable=["intermediates"])
    maps = named_features(updated["intermediates"])
    assert maps["encoder"].shape == (2, 4, 6, 16)
    assert maps["decoder"].shape == (2, 16, 24, 4)
    classifier = variables["params"]["head"]["classifier"]
    expected = maps["decoder"] @ classifier["kernel"][0, 0] + classifier["bias"][None, None, None]
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    np.testing.assert_array_equal(logits, jnp.asarray(model.apply(variables, images, train=False)))
