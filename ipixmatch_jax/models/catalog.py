"""The models and encoders by name, and `create_model`, which checks options before it builds."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.registry import Registry, nearest

MODELS: Registry[Callable[..., nn.Module]] = Registry("model")
ENCODERS: Registry[Callable[..., nn.Module]] = Registry("backbone")

_DTYPES = ("float32", "bfloat16", "float64")


def model_options(name: str) -> dict[str, Any]:
    """Option names of a model and their defaults.

    Errors: ConfigError if `name` is not a model.
    """
    parameters = inspect.signature(MODELS[name]).parameters
    return {key: p.default for key, p in parameters.items() if key != "num_classes"}


def create_model(name: str, *, num_classes: int, **options: Any) -> nn.Module:
    """A segmentation network: images [B,H,W,3], already normalised → logits [B,H,W,C] float32.

    The module has `encode(images, train)` → features and `decode(features, size, train)` → logits,
    the attributes `input_mean` and `input_std` (three floats each, for images in [0, 1]), and
    params under the two keys `encoder` and `head`. `train=True` normalises by batch statistics
    and needs `mutable=['batch_stats']` to keep the running ones.

    Options of every model: `dtype` ('float32' | 'bfloat16', the compute dtype; params, statistics
    and logits stay float32) and `axis_name` (the mapped axis over which batch statistics are
    averaged when training; None means each device uses its own).

    Errors: ConfigError for an unknown model, option or value.
    """
    known = model_options(name)
    for option in options:
        if option not in known:
            raise ConfigError(
                f"model {name!r} has no option {option!r}{nearest(option, known)}; "
                f"its options: {', '.join(sorted(known))}"
            )
    positive(name, num_classes=num_classes)
    if "dtype" in options:
        options["dtype"] = compute_dtype(name, options["dtype"])
    return MODELS[name](num_classes=num_classes, **options)


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
    """ConfigError unless `value` is one of `allowed`."""
    allowed = tuple(allowed)
    if value not in allowed:
        raise ConfigError(
            f"model {model!r}: {option} is {value!r}; choose one of {', '.join(map(str, allowed))}"
        )


def positive(model: str, **values: Any) -> None:
    """ConfigError unless every value is a whole number of at least 1."""
    for option, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(
                f"model {model!r}: {option} is {value!r}; give a whole number of at least 1"
            )
