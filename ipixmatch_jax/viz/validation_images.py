"""Validation images as pictures: side by side with truth, predictions and errors."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from ipixmatch_jax.data import (
    Dataset,
    displayable,
)
from ipixmatch_jax.devices.processes import is_first
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.predictor import Predictor
from ipixmatch_jax.viz.drawing import (
    colored,
    error_map,
    in_a_row,
)
from ipixmatch_jax.workdir.folder import predictions_folder

_SIDE = 256


class Panels:
    """Collects the predictions of some images while the networks are evaluated.

    The images are the first ones of devices' shares, of batches spread evenly over the list: they
    are the same in every evaluation, and no network looks at them twice.

    Args:
        dataset: whose `val` is evaluated.
        most: images.
    """

    def __init__(self, dataset: Dataset, most: int):
        self._dataset = dataset
        self._most = most
        self._beside: dict[int, list[np.ndarray]] = {}
        self._found: list[tuple[int, int, dict[str, np.ndarray]]] = []

    def of_each(self, devices: int) -> int:
        """How many predictions of each device are wanted."""
        return -(-self._most // devices)

    def begin(self, batches: int, devices: int) -> set[int]:
        """Numbers of the batches to note, of an evaluation of so many."""
        self._found = []
        wanted = min(batches, self.of_each(devices)) if is_first() else 0
        return set(np.linspace(0, batches - 1, wanted).round().astype(int).tolist())

    def note(self, shown: Mapping[str, Any]) -> None:
        """What the evaluation step showed of a batch."""
        hosts = {name: np.asarray(values) for name, values in shown.items()}
        indices = hosts.pop("index")
        for place in np.ndindex(indices.shape):
            if indices[place] >= 0:
                maps = {name: values[place] for name, values in hosts.items()}
                # Images of different batches and devices before neighbours.
                self._found.append((place[-1], int(indices[place]), maps))

    def pictures(self) -> dict[str, np.ndarray]:
        """`validation/ID` → photo, truth and each network's prediction in a row, uint8."""
        rows = {}
        chosen = sorted(self._found, key=lambda found: found[:2])[: self._most]
        for _, index, maps in chosen:
            height, width = self._dataset.val.size(index)  # without padding
            predictions = [self._colors(predicted[:height, :width]) for predicted in maps.values()]
            name = f"validation/{self._dataset.val.ids[index]}"
            rows[name] = in_a_row([*self._photo_and_truth(index), *predictions])
        return rows

    def _colors(self, mask: np.ndarray) -> np.ndarray:
        return _small(colored(mask, self._dataset.palette), Image.Resampling.NEAREST)

    def _photo_and_truth(self, index: int) -> list[np.ndarray]:
        if index not in self._beside:
            record = self._dataset.val[index]
            photo = _small(displayable(record["image"]), Image.Resampling.BOX)
            self._beside[index] = [photo, self._colors(record["mask"])]
        return self._beside[index]


def _small(picture: np.ndarray, how: int) -> np.ndarray:
    image = Image.fromarray(picture)
    image.thumbnail((_SIDE, _SIDE), how)
    return np.asarray(image)


def draw_validation(
    config: ConfigDict, workdir: AnyPath, model, network: Any, dataset: Dataset
) -> pathlib.Path:
    """Writes `predictions/ID.png`: photo, truth, prediction and errors side by side.

    Draws `config.pictures` validation images, spread evenly over the list.

    Returns:
        The folder.
    """
    folder = predictions_folder(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    predict = Predictor(config, model, jax.device_get(network), tile_above=0)
    count = min(config.pictures, len(dataset.val))
    for index in np.linspace(0, len(dataset.val) - 1, count).round().astype(int):
        record = dataset.val[int(index)]
        image, mask = record["image"], record["mask"]
        predicted = predict(image)
        panels = [
            displayable(image),
            colored(mask, dataset.palette),
            colored(predicted, dataset.palette),
            error_map(image, predicted, mask),
        ]
        picture = Image.fromarray(in_a_row(panels))
        small = max(1, 160 // image.shape[0])
        picture = picture.resize((picture.width * small, picture.height * small), 0)
        path = folder / f"{record['id']}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            picture.save(file, "PNG")
    return folder
