"""Losses as pure functions of arrays: supervised, pseudo-label and inter-pixel relation."""

from ipixmatch_jax.losses.pseudo_label import (
    confidence_mask,
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
from ipixmatch_jax.losses.supervised import cross_entropy

__all__ = [
    "RELATIONS",
    "RELATION_OPTIONS",
    "confidence_mask",
    "cross_entropy",
    "inter_pixel_loss",
    "pseudo_label_loss",
    "pseudo_label_statistics",
    "relation_loss",
    "relation_options",
]
