"""Linear and MLP heads against PyTorch, and the blocks that they read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models import create_model
from ipixmatch_jax.models.layers import Numerics
from ipixmatch_jax.models.linear import Head
from tests.references.encoder_parity import abstract

SIZE = (33, 70)


@pytest.mark.parametrize("hidden", [0, 6])
def test_equals_pytorch_in_training(hidden):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    layers = [nn.BatchNorm2d(8)]
    layers += [nn.Conv2d(8, hidden, 1), nn.GELU()] if hidden else []
    theirs = nn.Sequential(*layers, nn.Conv2d(hidden or 8, 3, 1)).double()
    rng = np.random.default_rng(0)
    maps = tuple(rng.normal(size=(2, 2, 4, 4)) for _ in range(3))
    x = torch.tensor(np.concatenate(maps[-2:], axis=-1)).permute(0, 3, 1, 2)
    there = nn.functional.interpolate(theirs(x), SIZE, mode="bilinear", align_corners=False)
    first, *_, last = theirs

    def kernel(layer):
        return {
            "kernel": layer.weight.detach().numpy()[:, :, 0, 0].T,
            "bias": layer.bias.detach().numpy(),
        }

    classifier = kernel(last)
    classifier["kernel"] = classifier["kernel"][None, None]
    params = {
        "input_norm": {"scale": first.weight.detach().numpy(), "bias": first.bias.detach().numpy()},
        "classifier": classifier,
    } | ({"hidden": kernel(theirs[1])} if hidden else {})
    stats = {"input_norm": {"mean": np.zeros(8), "var": np.ones(8)}}
    with jax.enable_x64(True):
        head = Head(3, 2, hidden, Numerics(jnp.float64))
        here, new = head.apply(
            {"params": params, "batch_stats": stats}, maps, SIZE, True, mutable=["batch_stats"]
        )
    there = there.detach().permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(here, there, rtol=0, atol=1e-12)
    variance = new["batch_stats"]["input_norm"]["var"]
    np.testing.assert_allclose(variance, first.running_var.numpy(), rtol=1e-12)


def head_of(model, size=(64, 64)):
    return abstract(model, size=size, name="")["params"]["head"]


def test_the_last_blocks_are_concatenated():
    one, four = (
        create_model("linear", num_classes=5, backbone="dinov3_small", blocks=n) for n in (1, 4)
    )
    assert one.encoder.shape.taps == (11,) and four.encoder.shape.taps == (8, 9, 10, 11)
    assert head_of(one)["classifier"]["kernel"].shape == (1, 1, 384, 5)
    assert head_of(four)["classifier"]["kernel"].shape == (1, 1, 4 * 384, 5)


@pytest.mark.parametrize("backbone, width", [("resnet18", 512), ("mit_b0", 256)])
def test_other_encoders_give_their_last_map(backbone, width):
    model = create_model("mlp", num_classes=5, backbone=backbone, decoder_channels=7)
    assert head_of(model)["hidden"]["kernel"].shape == (width, 7)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"blocks": 13}, "blocks is 13; backbone 'dinov2_small' has 12"),
        ({"backbone": "resnet18", "blocks": 2}, "'resnet18' has 1"),
        ({"blocks": 0}, "blocks is 0"),
        ({"decoder_channels": 3}, "no option 'decoder_channels'"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(ConfigError, match=words):
        create_model("linear", num_classes=3, **options)
