"""Losses as pure functions of arrays: supervised, pseudo-label and inter-pixel relation."""

from ipixmatch_jax.losses.consistency import CONSISTENCY, SOFT, consistency_loss
from ipixmatch_jax.losses.pseudo_label import (
    class_thresholds,
    confidence_mask,
    pixel_entropy,
    pseudo_label_loss,
    pseudo_label_statistics,
)
from ipixmatch_jax.losses.relation import (
    RELATION_OPTIONS,
    RELATIONS,
    inter_pixel_loss,
    relation_loss,
    relation_options,
)
from ipixmatch_jax.losses.supervised import (
    SUPERVISED_LOSSES,
    Ratio,
    cross_entropy,
    supervised_loss,
    supervised_options,
)

__all__ = [
    "CONSISTENCY",
    "RELATIONS",
    "RELATION_OPTIONS",
    "Ratio",
    "SOFT",
    "SUPERVISED_LOSSES",
    "class_thresholds",
    "confidence_mask",
    "consistency_loss",
    "cross_entropy",
    "inter_pixel_loss",
    "pixel_entropy",
    "pseudo_label_loss",
    "pseudo_label_statistics",
    "relation_loss",
    "relation_options",
    "supervised_loss",
    "supervised_options",
]
