"""Segmentation networks in flax.linen, by name, and the bridge to PyTorch weights."""

from ipixmatch_jax.models import (  # registers each
    convnext,
    convnext_weights,
    deeplabv3plus,
    dinov3,
    dinov3_weights,
    dpt,
    efficientnet_lite,
    linear,
    resnet,
    resnet_weights,
    segformer,
    unet,
    upernet,
    vit,
    vit_weights,
)
from ipixmatch_jax.models.backbones import ENCODERS, backbone_options, fitting_backbones
from ipixmatch_jax.models.create import MODELS, create_model, model_options
from ipixmatch_jax.models.features import feature_names, named_features
from ipixmatch_jax.models.frozen import check_frozen, freeze, is_frozen, stop_frozen
from ipixmatch_jax.models.init_on_host import init_variables
from ipixmatch_jax.models.network_pair import TWINS, Twins

__all__ = [
    "ENCODERS",
    "MODELS",
    "backbone_options",
    "TWINS",
    "Twins",
    "check_frozen",
    "convnext",
    "convnext_weights",
    "create_model",
    "feature_names",
    "linear",
    "fitting_backbones",
    "freeze",
    "init_variables",
    "is_frozen",
    "model_options",
    "named_features",
    "stop_frozen",
    "deeplabv3plus",
    "dinov3",
    "dinov3_weights",
    "dpt",
    "efficientnet_lite",
    "resnet",
    "resnet_weights",
    "segformer",
    "unet",
    "upernet",
    "vit",
    "vit_weights",
]
