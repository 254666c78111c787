"""Losses as pure functions of arrays: supervised, pseudo-label and inter-pixel relation."""

from ipixmatch_jax.losses.pseudo_label import (
    confidence_mask,
    pseudo_label_loss,
    pseudo_label_statistics,
)
from ipixmatch_jax.losses.relation import RELATIONS, inter_pixel_loss, relation_loss
from ipixmatch_jax.losses.supervised import cross_entropy

__all__ = [
    "RELATIONS",
    "confidence_mask",
    "cross_entropy",
    "inter_pixel_loss",
    "pseudo_label_loss",
    "pseudo_label_statistics",
    "relation_loss",
]
