"""The registry of models, and `create_model`, which checks options before it builds."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models.backbones import (
    ENCODERS,
    HEADS,
    backbone_options,
    check_fit,
    fitting_backbones,
)
from ipixmatch_jax.registry import Registry, nearest

MODELS: Registry[Callable[..., nn.Module]] = Registry("model")

NORMS = ("batch", "group")
_DTYPES = ("float32", "bfloat16", "float64")


def model_options(name: str) -> dict[str, Any]:
    """Options of a model with their defaults, without the options of its backbones.

    Raises:
        ConfigError: `name` is not a model.
    """
    return {
        key: p.default
        for key, p in inspect.signature(MODELS[name]).parameters.items()
        if key != "num_classes" and p.kind is not p.VAR_KEYWORD
    }


def create_model(name: str, *, num_classes: int, **options: Any) -> nn.Module:
    """Builds a segmentation network: normalized images [B,H,W,D] → logits [B,H,W,C] float32.

    The module has `encode(images, train)` → features and `decode(features, size, train)` → logits,
    the attributes `input_mean` and `input_std` (a float per channel, for images in [0, 1]), and
    params under the two keys `encoder` and `head`. `train=True` normalizes by batch statistics
    and needs `mutable=['batch_stats']` to update the running statistics.

    Options of every model:
        dtype: compute dtype, 'float32' or 'bfloat16'; params, statistics and logits stay float32.
        axis_name: mapped axis over which batch statistics are averaged in training; None: each
            device uses its own.

    Options of convolutional models:
        norm: 'batch', or 'group', which has no running statistics.
        in_channels: number D of image channels.
        remat: recompute activations in the backward pass to save memory.

    A model with a `backbone` also takes the options of `backbone_options(backbone)`.

    Args:
        name: a name in MODELS.
        num_classes: number C of classes.
        **options: see above, and `model_options(name)`.

    Raises:
        ConfigError: an unknown model, option or value.
    """
    _check_options(name, options)
    positive(name, num_classes=num_classes)
    if "in_channels" in options:
        positive(name, in_channels=options["in_channels"])
    if "norm" in options:
        choice(name, "norm", options["norm"], NORMS)
    if "dtype" in options:
        options["dtype"] = compute_dtype(name, options["dtype"])
    return MODELS[name](num_classes=num_classes, **options)


def _check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raises ConfigError for an option that neither the model nor its backbone has."""
    known, who, others = model_options(name), f"model {name!r}", []
    parameters = inspect.signature(MODELS[name]).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        backbone = options.get("backbone", known["backbone"])
        if backbone is not None:
            if name in HEADS:
                check_fit(name, backbone)
            known |= backbone_options(backbone)
            who += f" with backbone {backbone!r}"
        others = fitting_backbones(name) if name in HEADS else ENCODERS.names()
    for option in options:
        if option in known:
            continue
        having = [other for other in others if option in backbone_options(other)]
        elsewhere = f"; backbones that have it: {', '.join(having)}" if having else ""
        raise ConfigError(
            f"{who} has no option {option!r}{nearest(option, known)}; "
            f"its options: {', '.join(sorted(known))}{elsewhere}"
        )


def compute_dtype(model: str, dtype: DTypeLike) -> jnp.dtype:
    """Checks a dtype option and returns the dtype; float64 serves numerical checks under x64."""
    try:
        resolved = jnp.dtype(dtype)
    except TypeError:
        resolved = None
    if resolved is None or resolved.name not in _DTYPES:
        raise ConfigError(
            f"model {model!r}: dtype {dtype!r} is unknown; choose one of {', '.join(_DTYPES)}"
        )
    return resolved


def choice(model: str, option: str, value: Any, allowed: Iterable[Any]) -> None:
    """Raises ConfigError unless `value` is one of `allowed`."""
    allowed = tuple(allowed)
    if value not in allowed:
        raise ConfigError(
            f"model {model!r}: {option} is {value!r}; choose one of {', '.join(map(str, allowed))}"
        )


def positive(model: str, **values: Any) -> None:
    """Raises ConfigError unless every value is a whole number of at least 1."""
    for option, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(
                f"model {model!r}: {option} is {value!r}; give a whole number of at least 1"
            )
