"""Semi-supervised semantic segmentation by inter-pixel relations (IPixMatch) in JAX and Flax.

import ipixmatch_jax as ipm

config = ipm.load_config("folder:photos", {"total_steps": 500})
result = ipm.train(config, "runs/photos")
mask = ipm.load_predictor("runs/photos")("photo.jpg")
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipixmatch_jax.api import (
        TrainResult,
        default_config,
        evaluate,
        load_config,
        load_predictor,
        train,
    )

__version__ = "0.1.0"

__all__ = [
    "TrainResult",
    "default_config",
    "evaluate",
    "load_config",
    "load_predictor",
    "train",
]


def __getattr__(name: str):
    # On demand: importing the package waits for neither jax nor flax.
    if name in __all__:
        from ipixmatch_jax import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
