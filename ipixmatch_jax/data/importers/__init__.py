"""Importers: recognise a folder by its content and read it."""

from ipixmatch_jax.data.importers.found import Choices, Found, Importer, counts
from ipixmatch_jax.data.importers.registry import (
    CHOICE_KEYS,
    IMPORTERS,
    read_folder,
    recognize,
)

__all__ = [
    "CHOICE_KEYS",
    "IMPORTERS",
    "Choices",
    "Found",
    "Importer",
    "counts",
    "read_folder",
    "recognize",
]
