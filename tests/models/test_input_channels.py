import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models import create_model
from ipixmatch_jax.models.input_channels import adapt_first_conv, channel_constants


@pytest.fixture
def kernel():
    return np.random.default_rng(0).normal(size=(3, 3, 3, 7)).astype(np.float32)


@pytest.mark.parametrize("in_channels", [1, 2, 3, 4, 6])
def test_equal_channels_give_the_response_of_their_rgb_image(kernel, in_channels):
    adapted = adapt_first_conv(kernel, in_channels)
    assert adapted.shape == (3, 3, in_channels, 7) and adapted.dtype == np.float32
    np.testing.assert_allclose(adapted.sum(axis=2), kernel.sum(axis=2), rtol=0, atol=1e-5)


def test_rgb_weights_are_kept_where_there_is_rgb(kernel):
    np.testing.assert_array_equal(adapt_first_conv(kernel, 3), kernel)
    five = adapt_first_conv(kernel, 5)
    np.testing.assert_allclose(five[:, :, :3], kernel * 0.6, rtol=1e-6)
    for extra in (3, 4):
        np.testing.assert_allclose(five[:, :, extra], kernel.mean(axis=2) * 0.6, rtol=0, atol=1e-6)
    np.testing.assert_allclose(adapt_first_conv(kernel, 1)[:, :, 0], kernel.sum(2), atol=1e-6)


def test_constants_of_further_channels_are_means():
    rgb = (0.1, 0.2, 0.6)
    assert channel_constants(rgb, 3) == rgb
    np.testing.assert_allclose(channel_constants(rgb, 1), [0.3])
    np.testing.assert_allclose(channel_constants(rgb, 2), [0.3, 0.3])
    np.testing.assert_allclose(channel_constants(rgb, 5), [0.1, 0.2, 0.6, 0.3, 0.3])


@pytest.mark.parametrize(
    "name, options",
    [
        ("unet", dict(width=4, depth=1)),
        ("deeplabv3plus", dict(backbone="resnet18")),
        ("deeplabv3plus", dict(backbone="efficientnet_lite0")),
    ],
    ids=str,
)
@pytest.mark.parametrize("in_channels", [1, 5])
def test_models_of_other_channels(name, options, in_channels):
    model = create_model(name, num_classes=2, in_channels=in_channels, **options)
    assert len(model.input_mean) == len(model.input_std) == in_channels
    assert all(deviation > 0 for deviation in model.input_std)

    def logits(channels):
        images = jax.ShapeDtypeStruct((1, 33, 33, channels), jnp.float32)

        def init(k, x):
            return model.init_with_output(k, x, train=False)[0]

        return jax.eval_shape(init, jax.random.key(0), images)

    assert logits(in_channels).shape == (1, 33, 33, 2)
    with pytest.raises(ConfigError, match=f"3 channels, the model expects {in_channels}"):
        logits(3)
