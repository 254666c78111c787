"""A network as StableHLO: one file with its weights, which jax alone can run."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import export
from ml_collections import ConfigDict

from ipixmatch_jax import build
from ipixmatch_jax.engine.inference import predict_logits
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.methods import Network

PLATFORMS = ("cpu", "cuda", "tpu")


def to_stablehlo(
    config: ConfigDict, model: Any, variables: Any, size: tuple[int, int] | None = None
) -> bytes:
    """The function images uint8 [B, H, W, D] → {'mask' uint8 [B, H, W], 'probs' [B, H, W, C]}.

    It normalizes the images and predicts as `config.eval` says. Unlike `Predictor` it does not
    resize images to `data.image_size`. B is free; H and W are fixed, because the weights of the
    resizes inside are computed for them.

    Args:
        config: the run's config, with `data.mean` and other measured values filled in.
        model: the network from `build_model`.
        variables: `{'params', 'batch_stats'}`; they become constants of the file.
        size: H and W of the images; by default `data.image_size`, or `data.crop_size`.

    Returns:
        Bytes for `jax.export.deserialize(…).call(images)`, on CPU, GPU and TPU.

    Raises:
        ConfigError: a size below 1.
    """
    shape, predict = image_shape(config, size), predictor_of(config, model, variables)
    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *shape), jnp.uint8)
    exported = export.export(jax.jit(predict), platforms=PLATFORMS)(images)
    return bytes(exported.serialize())


def image_shape(config: ConfigDict, size: tuple[int, int] | None) -> tuple[int, int, int]:
    """(H, W, D) of the images; `size` is by default `data.image_size`, or `data.crop_size`.

    Raises:
        ConfigError: a size below 1.
    """
    image_size = tuple(config.data.image_size)
    size = tuple(size or (image_size if image_size != (0, 0) else config.data.crop_size))
    if min(size) < 1:
        raise ConfigError(f"--size is {size}; expected height and width of at least 1")
    return (*size, config.data.channels)


def predictor_of(config: ConfigDict, model: Any, variables: Any) -> Callable:
    """The function images uint8 [B, H, W, D] → {'mask', 'probs'}, with constant variables."""
    views, inference = build.build_views(config, model), build.build_inference(config, model)

    def predict(images):
        logits = predict_logits(Network(model, **variables), views.weak(images), inference)
        return {"mask": logits.argmax(-1).astype("uint8"), "probs": jax.nn.softmax(logits)}

    return predict
