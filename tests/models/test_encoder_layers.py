"""Every part of every encoder belongs to one layer, in the order of computation."""

import jax
import jax.numpy as jnp
import pytest

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models import Twins, create_model, layers_of
from ipixmatch_jax.models.encoder_decoder import EncoderDecoder

# Model, its options, number of layers, and what comes after the last one.
ENCODERS = [
    ("dpt", {"backbone": "dinov2_small", "registers": 4}, 13, {"norm"}),
    ("segformer", {"backbone": "mit_b0"}, 4, set()),
    ("deeplabv3plus", {"backbone": "resnet18"}, 5, set()),
    ("deeplabv3plus", {"backbone": "resnet50", "stem": "deep"}, 5, set()),
    ("deeplabv3plus", {"backbone": "efficientnet_lite0"}, 8, set()),
    ("unet", {"depth": 2}, 3, set()),
]


@pytest.mark.parametrize("name, options, count, after", ENCODERS)
def test_each_part_is_in_one_layer(name, options, count, after):
    model = create_model(name, num_classes=3, **options)
    images = jax.ShapeDtypeStruct((1, 56, 56, 3), jnp.float32)
    shapes = jax.eval_shape(
        lambda key, x: model.init(key, x, train=False), jax.random.key(0), images
    )
    parts = set(shapes["params"]["encoder"])
    layers = layers_of(model)
    named = [part for layer in layers for part in layer]
    assert len(layers) == count and len(named) == len(set(named))
    assert parts - set(named) == after and set(named) - parts <= {"register_tokens"}
    assert layers_of(Twins(model, model)) == layers


def test_an_encoder_without_layers_is_named():
    model = create_model("unet", num_classes=2)
    with pytest.raises(ConfigError, match="encoder Head has no layers.*layer_decay=1"):
        layers_of(EncoderDecoder(model.head, model.head))
