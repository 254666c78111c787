"""The models and encoders by name, and `create_model`, which checks options before it builds."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.registry import Registry, nearest

MODELS: Registry[Callable[..., nn.Module]] = Registry("model")
ENCODERS: Registry[Callable[..., nn.Module]] = Registry("backbone")

NORMS = ("batch", "group")
_DTYPES = ("float32", "bfloat16", "float64")


def model_options(name: str) -> dict[str, Any]:
    """Option names of a model and their defaults, without those of its backbones.

    Raises:
        ConfigError: `name` is not a model.
    """
    return {
        key: p.default
        for key, p in inspect.signature(MODELS[name]).parameters.items()
        if key != "num_classes" and p.kind is not p.VAR_KEYWORD
    }


def backbone_options(name: str) -> dict[str, Any]:
    """Options that only this backbone has, and their defaults; a model passes them through.

    A model whose builder takes `**backbone_options` accepts them too; arguments of an encoder's
    builder without a default come from the model.

    Raises:
        ConfigError: `name` is not a backbone.
    """
    parameters = inspect.signature(ENCODERS[name]).parameters
    return {key: p.default for key, p in parameters.items() if p.default is not p.empty}


def create_model(name: str, *, num_classes: int, **options: Any) -> nn.Module:
    """A segmentation network: images [B,H,W,in_channels], normalised → logits [B,H,W,C] float32.

    The module has `encode(images, train)` → features and `decode(features, size, train)` → logits,
    the attributes `input_mean` and `input_std` (a float per channel, for images in [0, 1]), and
    params under the two keys `encoder` and `head`. `train=True` normalises by batch statistics
    and needs `mutable=['batch_stats']` to keep the running ones.

    Options of every model: `dtype` ('float32' | 'bfloat16', the compute dtype; params, statistics
    and logits stay float32) and `axis_name` (the mapped axis over which batch statistics are
    averaged when training; None means each device uses its own). Of every convolutional one:
    `norm` ('batch' | 'group', the latter without batch statistics), `in_channels` and `remat`
    (recompute activations in the backward pass, for memory). A model with a `backbone` also takes
    the options of `backbone_options(backbone)`.

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
        known |= backbone_options(backbone)
        who += f" with backbone {backbone!r}"
        others = ENCODERS.names()
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
    """The jnp dtype that an option names; float64 is there for numerical checks under x64."""
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
