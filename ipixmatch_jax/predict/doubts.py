"""Photos that were read, but of which the network may see something else than a viewer shows."""

import pathlib

import numpy as np

from ipixmatch_jax.data import Pixels
from ipixmatch_jax.data.files.tiff_tags import read_tags
from ipixmatch_jax.data.importers.beside import masks_among
from ipixmatch_jax.data.inspection.hidden_colors import (
    LEAST_HIDDEN,
    hidden_in_words,
    hidden_share,
)
from ipixmatch_jax.photo_files.areas import printable
from ipixmatch_jax.photo_reader import read_valid_photo


class Doubts:
    """Reads photos, and notes those that may not be what they seem."""

    def __init__(self) -> None:
        self._read: list[str] = []
        self._hidden: dict[str, float] = {}
        self._missing: dict[str, float] = {}
        self._on_earth: list[str] = []

    def read(self, path: pathlib.Path, pixels: Pixels) -> np.ndarray:
        """A photo as `read_valid_photo` reads it; see there."""
        image, valid = read_valid_photo(path, pixels)
        self._read.append(str(path))
        if _is_georeferenced(path):
            self._on_earth.append(str(path))
        if valid is not None:
            self._missing[str(path)] = 1 - float(valid.mean())
        # A network of four channels has learned what lies below transparency.
        share = hidden_share(str(path)) if pixels.channels <= 3 else 0.0
        if share >= LEAST_HIDDEN:
            self._hidden[str(path)] = share
        return image

    def lines(self) -> list[str]:
        """One line for each kind of doubt."""
        found = []
        if self._hidden:
            first, share = next(iter(self._hidden.items()))
            words = hidden_in_words(printable(first), share)
            found.append(f"{len(self._hidden)} of {len(self._read)} photos {words}")
        if self._missing:
            first, share = next(iter(self._missing.items()))
            found.append(
                f"{len(self._missing)} of {len(self._read)} photos have pixels without data, such "
                f"as {printable(first)} ({share:.0%} of it); the network sees black there: the "
                "classes of these pixels mean nothing, and areas.csv counts them"
            )
        if self._on_earth:
            first = printable(self._on_earth[0])
            found.append(
                f"{len(self._on_earth)} of {len(self._read)} photos have coordinates on Earth, "
                f"such as {first}; the results are PNG files without any, pixel by pixel those of "
                "the photo, from which a GIS program can copy them"
            )
        masks = masks_among(self._read)
        if masks:
            shown = ", ".join(map(printable, masks[:3]))
            found.append(
                f"{len(masks)} of a few photos look like masks (few colors): {shown}; expected "
                "photos; name the folder of the photos alone in --input"
            )
        return found


def _is_georeferenced(path: pathlib.Path) -> bool:
    if path.suffix.lower() not in (".tif", ".tiff"):
        return False
    try:
        with open(path, "rb") as stream:
            return read_tags(stream).georeferenced
    except (OSError, ValueError):
        return False
