"""Teacher-student frameworks: one file each."""

from ipixmatch_jax.methods import fixmatch, supervised  # noqa: F401  (they register themselves)
from ipixmatch_jax.methods.base import (
    METHODS,
    Batch,
    ConsistencyTerm,
    Method,
    MethodOutput,
    Network,
    Prediction,
    make_method,
)

__all__ = [
    "METHODS",
    "Batch",
    "ConsistencyTerm",
    "Method",
    "MethodOutput",
    "Network",
    "Prediction",
    "make_method",
]
