"""Validation images next to their masks, the predictions and the errors."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image, PngImagePlugin

from ipixmatch_jax.data import Dataset, displayable
from ipixmatch_jax.devices.processes import is_first
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.predictor import Predictor
from ipixmatch_jax.viz.drawing import captioned, colored, error_map, side_by_side, with_legend
from ipixmatch_jax.workdir.folder import predictions_folder

_SIDE = 256
# Columns of smaller images are enlarged by a whole number.
_LEAST_COLUMN = 160
_CAPTIONS = ("image", "mask", "prediction", "errors")
# A text inside the PNG, by which a later drawing knows the files that it may replace.
_MARK = ("Title", "validation image of ipixmatch_jax")


class ValidationImages:
    """Keeps the predictions of a few images during an evaluation.

    It takes the first images of each device's share of a batch, from batches spread evenly over the
    list: the same images in every evaluation, at no extra cost.

    Args:
        dataset: its `val` split is evaluated.
        most: maximal number of images.
    """

    def __init__(self, dataset: Dataset, most: int):
        self._dataset = dataset
        self._most = most
        self._photo_and_mask: dict[int, list[np.ndarray]] = {}
        self._kept: list[tuple[int, int, dict[str, np.ndarray]]] = []

    def per_device(self, devices: int) -> int:
        """Number of predictions that each device must return."""
        return -(-self._most // devices)

    def begin(self, batches: int, devices: int) -> set[int]:
        """Starts an evaluation; returns the numbers of the batches to pass to `add`."""
        self._kept = []
        wanted = min(batches, self.per_device(devices)) if is_first() else 0
        return set(np.linspace(0, batches - 1, wanted).round().astype(int).tolist())

    def add(self, shown: Mapping[str, Any]) -> None:
        """Keeps the predictions that the evaluation step returned for a batch."""
        arrays = {name: np.asarray(values) for name, values in shown.items()}
        indices = arrays.pop("index")
        for place in np.ndindex(indices.shape):
            if indices[place] >= 0:
                maps = {name: values[place] for name, values in arrays.items()}
                # Images of different batches and devices come before neighbors.
                self._kept.append((place[-1], int(indices[place]), maps))

    def images(self) -> dict[str, np.ndarray]:
        """`validation/ID` → photo, mask and the prediction of each network side by side, uint8."""
        rows = {}
        chosen = sorted(self._kept, key=lambda kept: kept[:2])[: self._most]
        for _, index, maps in chosen:
            height, width = self._dataset.val.size(index)  # without the rest of a frame
            predictions = [self._colors(predicted[:height, :width]) for predicted in maps.values()]
            name = f"validation/{self._dataset.val.ids[index]}"
            rows[name] = side_by_side([*self._photo_and_mask_of(index), *predictions])
        return rows

    def _colors(self, mask: np.ndarray) -> np.ndarray:
        return _shrunk(colored(mask, self._dataset.palette), Image.Resampling.NEAREST)

    def _photo_and_mask_of(self, index: int) -> list[np.ndarray]:
        if index not in self._photo_and_mask:
            record = self._dataset.val[index]
            photo = _shrunk(displayable(record["image"]), Image.Resampling.BOX)
            self._photo_and_mask[index] = [photo, self._colors(record["mask"])]
        return self._photo_and_mask[index]


def _shrunk(array: np.ndarray, method: int) -> np.ndarray:
    image = Image.fromarray(array)
    image.thumbnail((_SIDE, _SIDE), method)
    return np.asarray(image)


def draw_validation(
    config: ConfigDict,
    workdir: AnyPath,
    model: Any,
    network: Any,
    dataset: Dataset,
    folder: AnyPath | None = None,
) -> pathlib.Path:
    """Writes `predictions/ID.png`: image, mask, prediction and errors, with captions and legend.

    Draws `config.pictures` validation images, spread evenly over the list, to `folder` if given.
    Another file of that name, such as a mask or a prediction of `--mode predict`, is not replaced:
    the drawing is `ID_validation.png` then.

    Returns:
        The folder.
    """
    folder = folder or predictions_folder(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    predictor = Predictor(config, model, jax.device_get(network), tile_above=0)
    count = min(config.pictures, len(dataset.val))
    for index in np.linspace(0, len(dataset.val) - 1, count).round().astype(int):
        record = dataset.val[int(index)]
        image, mask = record["image"], record["mask"]
        predicted = predictor.predict_record(image).mask
        columns = [
            displayable(image),
            colored(mask, dataset.palette),
            colored(predicted, dataset.palette),
            error_map(image, predicted, mask),
        ]
        enlarge = max(1, _LEAST_COLUMN // min(image.shape[:2]))
        columns = [column.repeat(enlarge, 0).repeat(enlarge, 1) for column in columns]
        drawn = captioned(side_by_side(columns), _CAPTIONS)
        # The classes of the mask and of the prediction, with their shares of the prediction.
        drawn = with_legend(drawn, predicted, dataset.class_names, dataset.palette, mask)
        path = _free(folder, record["id"])
        path.parent.mkdir(parents=True, exist_ok=True)
        mark = PngImagePlugin.PngInfo()
        mark.add_text(*_MARK)
        with path.open("wb") as file:
            Image.fromarray(drawn).save(file, "PNG", pnginfo=mark)
    return folder


def _free(folder: AnyPath, name: str) -> AnyPath:
    """The first of NAME.png, NAME_validation.png, NAME_validation_2.png, … that may be written."""
    number = 0
    while True:
        ending = ("", "_validation")[number] if number < 2 else f"_validation_{number}"
        path = folder / f"{name}{ending}.png"
        if not path.exists() or _is_drawing(path):
            return path
        number += 1


def _is_drawing(path: AnyPath) -> bool:
    try:
        with path.open("rb") as file, Image.open(file) as image:
            return image.info.get(_MARK[0]) == _MARK[1]
    except OSError:  # no image
        return False
