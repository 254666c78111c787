"""Backbones by name, and which of them fits which head.

A builder in ENCODERS takes keyword arguments. Those without a default come from the model, and say
what the encoder can return:

- `output_stride`: a map at stride 4 and one at this stride;
- `every_stage`: if true, a map of each stage, at strides 4, 8, 16 and 32;
- `taps`: maps of chosen blocks of a vision transformer, all at its patch size.

`in_channels`, `remat` and `numerics` are given to all of them. Arguments with a default are options
of the backbone.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.registry import Registry

ENCODERS: Registry[Callable[..., nn.Module]] = Registry("backbone")

_ENDS, _STAGES, _BLOCKS = "output_stride", "every_stage", "taps"
_RETURNS = {
    _ENDS: "a map at stride 4 and one at the output stride",
    _STAGES: "a map of every stage",
    _BLOCKS: "blocks of a vision transformer",
}
# What the head of a model reads; the first that the backbone can return is taken. A model of your
# own that calls `make_encoder` adds its entry.
HEADS: dict[str, tuple[str, ...]] = {
    "deeplabv3plus": (_ENDS,),
    "dpt": (_BLOCKS,),
    "linear": (_BLOCKS, _ENDS, _STAGES),
    "mlp": (_BLOCKS, _ENDS, _STAGES),
    "segformer": (_STAGES,),
    "unet": (_STAGES,),
    "upernet": (_STAGES, _BLOCKS),
}


def backbone_options(name: str) -> dict[str, Any]:
    """Options of a backbone with their defaults: the arguments of its builder that have a default.

    A model whose builder takes `**backbone_options` passes them through. Arguments of an encoder's
    builder without a default come from the model.

    Raises:
        ConfigError: `name` is not a backbone.
    """
    parameters = inspect.signature(ENCODERS[name]).parameters
    return {key: p.default for key, p in parameters.items() if p.default is not p.empty}


def fitting_backbones(model: str) -> list[str]:
    """Names of the backbones that return what the head of `model` reads."""
    return [name for name in ENCODERS.names() if _read(model, name)]


def check_fit(model: str, backbone: str) -> None:
    """Raises ConfigError unless the backbone returns what the head of `model`, of HEADS, reads."""
    if _read(model, backbone) is None:
        raise ConfigError(_misfit(model, backbone))


def make_encoder(
    model: str,
    backbone: str,
    options: Mapping[str, Any],
    *,
    output_stride: int = 32,
    taps: int | None = None,
    **common: Any,
) -> nn.Module:
    """Builds a backbone so that it returns what the head of `model` reads.

    Args:
        model: a name in HEADS.
        backbone: a name in ENCODERS.
        options: options of the backbone.
        output_stride: stride of the last map, for a head that reads two.
        taps: number of blocks that the head reads of a vision transformer, the last ones; None: the
            four that belong to its size, evenly over its depth.
        **common: `in_channels`, `remat` and `numerics`.

    Raises:
        ConfigError: an unknown backbone, or one that does not return what the head reads.
    """
    check_fit(model, backbone)
    read = _read(model, backbone)
    asked = {
        _ENDS: output_stride if read == _ENDS else 32,
        _STAGES: read == _STAGES,
        _BLOCKS: taps,
    }
    taken = inspect.signature(ENCODERS[backbone]).parameters
    asked = {name: value for name, value in asked.items() if name in taken}
    return ENCODERS[backbone](**asked, **common, **options)


def _read(model: str, backbone: str) -> str | None:
    parameters = inspect.signature(ENCODERS[backbone]).parameters
    return next((kind for kind in HEADS[model] if kind in parameters), None)


def _misfit(model: str, backbone: str) -> str:
    needs = " or ".join(_RETURNS[kind] for kind in HEADS[model])
    models = [name for name in sorted(HEADS) if _read(name, backbone)]
    return (
        f"model {model!r}: backbone is {backbone!r}, which does not return {needs}; choose one of "
        f"{', '.join(fitting_backbones(model))}, or another model for {backbone!r}: "
        f"{', '.join(models)}"
    )
