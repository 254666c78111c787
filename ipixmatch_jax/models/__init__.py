"""Segmentation networks in flax.linen, by name, and the bridge to PyTorch weights."""

from ipixmatch_jax.models import deeplabv3plus, efficientnet_lite, unet  # registers each
from ipixmatch_jax.models.catalog import ENCODERS, MODELS, create_model, model_options
from ipixmatch_jax.models.features import feature_names, named_features
from ipixmatch_jax.models.initial import init_variables

__all__ = [
    "ENCODERS",
    "MODELS",
    "create_model",
    "feature_names",
    "init_variables",
    "model_options",
    "named_features",
    "deeplabv3plus",
    "efficientnet_lite",
    "unet",
]
