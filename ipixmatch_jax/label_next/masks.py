"""Pseudo-masks in the form of the data set's own masks, so that they can be put back."""

import io
import os
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from ipixmatch_jax.data import IGNORE
from ipixmatch_jax.data.files.file_records import record_files
from ipixmatch_jax.data.importers.tree import lies_in_run
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.paths import AnyPath, is_remote
from ipixmatch_jax.predictor import Prediction

_LARGEST = 255


class PseudoMasks:
    """Draws predictions as masks that the run's own reader takes.

    Masks of class ids become PNG images of the values of `data.mask_values`, or of the ids; with a
    palette if `data.palette` is set; without it the run's masks are gray. Colored masks become RGB
    images.

    Args:
        data: `config.data`.
        palette: uint8 [C,3].
        threshold: pixels of a lower confidence are ignored (255).

    Raises:
        ConfigError: masks of this data set cannot be drawn from class ids.
    """

    def __init__(self, data: ConfigDict, palette: np.ndarray, threshold: float):
        self._threshold = threshold
        self._has_palette = len(data.palette) > 0
        self._colored = data.masks in ("colors", "nearest")
        self._prefix, self._tail = "", ""
        if data.name == "folder":
            self._prefix, self._tail = data.folder.mask_prefix, data.folder.mask_tail
            if data.folder.exif == "stored":
                raise _impossible("data.folder.exif='stored'", "masks drawn on upright photos")
        if data.masks not in ("ids", "colors", "nearest"):
            raise _impossible(f"data.masks={data.masks!r}", "masks of ids or colors")
        self._table = np.full((256, 3), 255, np.uint8)
        self._stored = np.zeros(256, np.uint8)
        if self._colored:
            if not len(data.ignore_colors):
                raise _impossible(
                    "no color means ignore", "one, such as --config.data.ignore_colors='((1,2,3),)'"
                )
            self._table[: len(palette)] = palette
            self._table[IGNORE] = data.ignore_colors[0]
            return
        values = [int(value) for value in data.mask_values] or list(range(len(palette)))
        ignored = next((v for v in (IGNORE, *data.ignore_values) if v not in values), None)
        if max(values) > _LARGEST or ignored is None or ignored > _LARGEST:
            raise _impossible(
                f"data.mask_values={tuple(values)}",
                "values up to 255, and one that means ignore in data.ignore_values",
            )
        self._stored[: len(values)], self._stored[IGNORE] = values, ignored
        self._table[values] = palette

    def name(self, record_id: str) -> str:
        """The file name of a mask, which pairs it with the image of this id.

        It never leads out of the folder of the masks.
        """
        *folders, name = (p for p in record_id.split("/") if p not in ("", ".", ".."))
        return "/".join([*folders, f"{self._prefix}{name}{self._tail}.png"])

    def png(self, prediction: Prediction) -> bytes:
        """The PNG file of a prediction."""
        sure = prediction.confidence >= self._threshold
        ids = np.where(sure, prediction.mask, np.uint8(IGNORE))
        stream = io.BytesIO()
        self._image(ids).save(stream, "PNG")
        return stream.getvalue()

    def _image(self, ids: np.ndarray) -> Image.Image:
        if self._colored:
            return Image.fromarray(self._table[ids])
        if not self._has_palette:
            return Image.fromarray(self._stored[ids])
        image = Image.fromarray(self._stored[ids], "P")
        # All 256 colors: a stored value beyond the palette would make the PNG file invalid.
        image.putpalette(self._table.tobytes())
        return image


def check_masks_apart(folder: AnyPath, labeled: Any) -> None:
    """Checks that predictions do not get among the masks that a person has drawn.

    Args:
        folder: where pseudo-masks are written.
        labeled: the source of the labeled training images.

    Raises:
        ConfigError: the next training would read them as labels.
    """
    if is_remote(folder):
        return
    place = os.path.realpath(folder)
    if lies_in_run(place):  # data among which a run lies are read without its files
        return
    for index in range(len(labeled)):
        # Records that lie in no files of their own are named by their ids.
        for file in filter(os.path.isfile, record_files(labeled, index)):
            holder = os.path.dirname(os.path.realpath(file))
            if place == holder or place.startswith(holder + os.sep):
                raise ConfigError(
                    f"--pseudo-masks would be written into {folder}, where the labeled image "
                    f"{file} of the data lies: a training would take them for true labels; "
                    "expected a folder apart; choose another --output"
                )


def _impossible(what: str, expected: str) -> ConfigError:
    return ConfigError(
        f"--pseudo-masks: {what}, so that masks cannot be written that this run would read; "
        f"expected {expected}; leave out --pseudo-masks, or use --mode predict"
    )
