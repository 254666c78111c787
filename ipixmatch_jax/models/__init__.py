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
from ipixmatch_jax.models.encoder_layers import layers_of
from ipixmatch_jax.models.features import feature_names, named_features
from ipixmatch_jax.models.frozen import (
    check_frozen,
    completed,
    freeze,
    is_frozen,
    learned,
    matching,
    within_network,
)
from ipixmatch_jax.models.init_on_host import init_variables
from ipixmatch_jax.models.lora import FROZEN_BY_LORA, Lora, merge_lora, with_lora, without_lora
from ipixmatch_jax.models.network_pair import TWINS, Twins

__all__ = [
    "ENCODERS",
    "MODELS",
    "backbone_options",
    "TWINS",
    "Twins",
    "FROZEN_BY_LORA",
    "Lora",
    "check_frozen",
    "completed",
    "convnext",
    "convnext_weights",
    "create_model",
    "feature_names",
    "linear",
    "fitting_backbones",
    "freeze",
    "init_variables",
    "is_frozen",
    "layers_of",
    "learned",
    "matching",
    "merge_lora",
    "model_options",
    "named_features",
    "with_lora",
    "within_network",
    "without_lora",
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
