"""Teacher-student frameworks: one file each."""

from ipixmatch_jax.methods import (  # noqa: F401  (they register themselves)
    augseg,
    corrmatch,
    cps,
    fixmatch,
    mean_teacher,
    supervised,
    u2pl,
    unimatch,
    unimatch_v2,
)
from ipixmatch_jax.methods.base import (
    METHODS,
    Batch,
    ConsistencyTerm,
    Method,
    MethodOutput,
    Network,
    Prediction,
    Ratio,
    make_method,
)
from ipixmatch_jax.methods.cutmix_pairs import Pairs, paste_prediction
from ipixmatch_jax.methods.one_strong_view import OneStrongView
from ipixmatch_jax.methods.view_passes import train_passes

__all__ = [
    "METHODS",
    "Batch",
    "ConsistencyTerm",
    "Method",
    "MethodOutput",
    "Network",
    "OneStrongView",
    "Pairs",
    "Prediction",
    "Ratio",
    "make_method",
    "paste_prediction",
    "train_passes",
]
