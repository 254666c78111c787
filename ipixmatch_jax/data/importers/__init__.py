"""Importers: recognize a folder by its content and read it."""

from ipixmatch_jax.data.importers.found import Choices, Found, Importer, counts
from ipixmatch_jax.data.importers.registry import (
    IMPORTERS,
    PLACES,
    choices_of,
    read_folder,
    read_tree,
    recognize,
)

__all__ = [
    "PLACES",
    "IMPORTERS",
    "Choices",
    "Found",
    "Importer",
    "choices_of",
    "counts",
    "read_folder",
    "read_tree",
    "recognize",
]
