"""The registry, option checks, and properties of every model."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models import (
    ENCODERS,
    MODELS,
    backbone_options,
    create_model,
    fitting_backbones,
    init_variables,
    model_options,
)
from ipixmatch_jax.models.backbones import HEADS

SMALL = {
    "deeplabv3plus": dict(decoder_channels=8, low_level_channels=4, separable=True),
    "unet": dict(width=4, depth=2),
}


pytestmark = pytest.mark.usefixtures("short_encoder")


def abstract(model, size=(64, 64)):
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    return jax.eval_shape(lambda k, x: model.init(k, x, train=False), jax.random.key(0), images)


def test_registries_hold_the_models_and_encoders():
    assert {"deeplabv3plus", "unet"} <= set(MODELS.names())
    convolutional = {
        *(f"efficientnet_lite{n}" for n in (0, 1, 2)),
        *(f"resnet{n}" for n in (18, 34, 50, 101)),
        *(f"convnext_{size}" for size in ("tiny", "small", "base", "large")),
    }
    assert set(fitting_backbones("deeplabv3plus")) == convolutional
    assert all(name in ENCODERS for model in HEADS for name in fitting_backbones(model))
    assert set(HEADS) == set(MODELS.names())
    assert model_options("unet")["width"] == 24
    assert "backbone_options" not in model_options("deeplabv3plus")
    assert backbone_options("resnet50") == {"stem": "plain", "multi_grid": None}
    assert backbone_options("efficientnet_lite1") == {}


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("unett", {}, ["'unett'", "did you mean 'unet'", "deeplabv3plus"]),
        ("unet", {"widht": 3}, ["'unet'", "'widht'", "did you mean 'width'", "depth"]),
        ("deeplabv3plus", {"stride": 16}, ["'stride'", "output_stride"]),
        ("unet", {"width": 0}, ["width is 0", "at least 1"]),
        ("unet", {"depth": True}, ["depth is True"]),
        ("unet", {"dtype": "float31"}, ["'float31'", "bfloat16"]),
        ("unet", {"dtype": "int32"}, ["'int32'", "bfloat16"]),
        ("deeplabv3plus", {"output_stride": 4}, ["output_stride is 4", "32, 16, 8"]),
        ("deeplabv3plus", {"backbone": "resnet"}, ["backbone 'resnet'", "efficientnet_lite0"]),
        ("deeplabv3plus", {"atrous_rates": 6}, ["atrous_rates is 6", "[6, 12, 18]"]),
        ("deeplabv3plus", {"atrous_rates": [6, 0]}, ["atrous_rates[1] is 0"]),
        ("deeplabv3plus", {"decoder_channels": 2.5}, ["decoder_channels is 2.5"]),
        (
            "deeplabv3plus",
            {"backbone": "mit_b0"},
            [
                "does not return a map at stride 4",
                "resnet50",
                "'mit_b0': linear, mlp, segformer, un",
            ],
        ),
        ("unet", {"backbone": "resnet18", "depth": 2}, ["depth is 2", "its own encoder"]),
        ("unet", {"backbone": "dinov2_small"}, ["a map of every stage", "convnext_tiny"]),
        ("deeplabv3plus", {"norm": "layer"}, ["norm is 'layer'", "batch, group"]),
        ("unet", {"in_channels": 0}, ["in_channels is 0"]),
        ("unet", {"stem": "deep"}, ["model 'unet' has no option 'stem'"]),
        (
            "deeplabv3plus",
            {"stem": "deep"},
            ["backbone 'efficientnet_lite0' has no option 'stem'", "have it: resnet101, resnet18"],
        ),
        ("deeplabv3plus", {"backbone": "resnet50", "stm": "deep"}, ["did you mean 'stem'"]),
        (
            "deeplabv3plus",
            {"backbone": "resnet50", "stem": "depe"},
            ["'resnet50': stem is 'depe'", "plain, deep, deep_narrow"],
        ),
        (
            "deeplabv3plus",
            {"backbone": "resnet50", "multi_grid": [1, 2]},
            ["multi_grid is [1, 2]", "give 3 numbers", "[1, 2, 4]"],
        ),
        (
            "deeplabv3plus",
            {"backbone": "resnet18", "multi_grid": (1, 0)},
            ["multi_grid[1] is 0"],
        ),
    ],
)
def test_bad_options_are_named_with_what_would_do(name, options, words):
    with pytest.raises(ConfigError) as error:
        create_model(name, num_classes=3, **options)
    for word in words:
        assert word in str(error.value)


def test_num_classes_is_checked():
    with pytest.raises(ConfigError, match="num_classes is 0"):
        create_model("unet", num_classes=0)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_variables_are_float32_under_encoder_and_head_with_any_options(name):
    variables = abstract(create_model(name, num_classes=3, **SMALL[name]))
    assert set(variables) == {"params", "batch_stats"}
    for tree in variables.values():
        assert set(tree) == {"encoder", "head"}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    other = create_model(
        name, num_classes=3, dtype="bfloat16", remat=True, axis_name="data", **SMALL[name]
    )
    assert abstract(other) == variables


@pytest.mark.parametrize(
    "name, size, train",
    [
        ("deeplabv3plus", (97, 65), True),
        ("deeplabv3plus", (5, 3), False),
        ("unet", (97, 65), False),
        ("unet", (5, 3), True),
        ("unet", (32, 48), True),
    ],
    ids=str,
)
def test_any_size_gives_logits_of_that_size(name, size, train):
    model = create_model(name, num_classes=3, **SMALL[name])
    variables = abstract(model)
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)

    def apply(v, x):
        return model.apply(v, x, train=train, mutable=["batch_stats"])[0]

    logits = jax.eval_shape(apply, variables, images)
    assert logits.shape == (2, *size, 3)
    assert logits.dtype == jnp.float32


@pytest.mark.parametrize("name", sorted(SMALL))
def test_group_norm_takes_the_place_of_batch_norm_everywhere(name):
    batch, group = (
        abstract(create_model(name, num_classes=3, norm=norm, **SMALL[name]))
        for norm in ("batch", "group")
    )
    assert set(group) == {"params"}
    assert group["params"] == batch["params"]


def random_images(size):
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, *size, 3)), jnp.float32)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_bfloat16_trains_at_odd_sizes(name):
    model = create_model(name, num_classes=3, dtype="bfloat16", **SMALL[name])
    images = random_images((49, 33))
    variables = init_variables(model, jax.random.key(1), images)
    logits, new = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))(
        variables, images
    )
    assert logits.dtype == jnp.float32 and logits.shape == (2, 49, 33, 3)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves((logits, new)))
    moved = jax.tree.map(
        lambda a, b: bool((a != b).any()), new["batch_stats"], variables["batch_stats"]
    )
    assert all(jax.tree.leaves(moved))


def test_bfloat16_is_near_float32_and_decode_follows_encode():
    models = [
        create_model("unet", num_classes=3, dtype=dtype, **SMALL["unet"])
        for dtype in ("bfloat16", "float32")
    ]
    images = random_images((17, 22))
    variables = init_variables(models[0], jax.random.key(1), images)
    logits = []
    for model, dtype in zip(models, (jnp.bfloat16, jnp.float32), strict=True):
        features = jax.jit(partial(model.apply, method="encode"))(variables, images)
        assert {feature.dtype for feature in features} == {jnp.dtype(dtype)}
        decoded = jax.jit(partial(model.apply, size=(17, 22), method="decode"))(variables, features)
        logits.append(jax.jit(model.apply)(variables, images))
        np.testing.assert_array_equal(decoded, logits[-1])
    narrow, wide = logits
    assert 0 < float(jnp.abs(narrow - wide).max()) < 0.05 * float(jnp.abs(wide).max())


def test_models_name_the_normalization_they_expect():
    unet = create_model("unet", num_classes=2)
    assert unet.input_mean == (0.5,) * 3 and unet.input_std == (0.25,) * 3
    deeplab = create_model("deeplabv3plus", num_classes=2)
    # On the scale 0..255: 127 and 128.
    np.testing.assert_allclose(deeplab.input_mean, 127 / 255)
    np.testing.assert_allclose(deeplab.input_std, 128 / 255)


def test_init_variables_are_distributed_as_init():
    model = create_model("unet", num_classes=3, width=16, depth=1)
    images = jnp.zeros((1, 16, 16, 3))
    drawn = init_variables(model, jax.random.key(3), images)
    again = init_variables(model, jax.random.key(3), images)
    other = init_variables(model, jax.random.key(4), images)
    made = jax.jit(lambda k: model.init(k, images, train=False))(
        jax.random.key(0, impl="unsafe_rbg")
    )
    jax.tree.map(np.testing.assert_array_equal, drawn, again)
    for (path, a), b, c in zip(
        jax.tree_util.tree_leaves_with_path(drawn),
        jax.tree.leaves(made),
        jax.tree.leaves(other),
        strict=True,
    ):
        assert a.shape == b.shape and a.dtype == b.dtype
        if path[-1].key != "kernel":
            np.testing.assert_array_equal(a, b)
            continue
        assert (a != c).any()
        # Sampling error of a standard deviation: 1/√(2n); five of them.
        assert abs(a.std() / np.asarray(b).std() - 1) < 10 / np.sqrt(2 * a.size)
        assert abs(a.std() / np.sqrt(2 / np.prod(a.shape[:3])) - 1) < 5 / np.sqrt(2 * a.size)


@pytest.mark.parametrize("name", ["unet", "upernet", "segformer"])
def test_heads_read_every_stage_of_any_convolutional_backbone(name, small_backbones):
    for backbone in ("efficientnet_lite0", "resnet18", "mit_b0", "convnext_tiny"):
        size = {"width": 4} if name == "unet" else {"decoder_channels": 8}
        model = create_model(name, num_classes=3, backbone=backbone, **size)
        images = jax.ShapeDtypeStruct((2, 70, 97, 3), jnp.float32)

        def run(key, x, model=model):
            logits, variables = model.init_with_output(key, x, train=False)
            return logits, model.apply(variables, x, method="encode")

        logits, features = jax.eval_shape(run, jax.random.key(0), images)
        assert logits.shape == (2, 70, 97, 3) and logits.dtype == jnp.float32
        floor = backbone == "convnext_tiny"
        rows = [(70 if floor else 70 + 2**i - 1) // 2**i for i in range(2, 6)]
        assert [f.shape[1] for f in features] == rows
