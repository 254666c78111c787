"""A trained network at work: class maps of photos, and panels of validation images."""

import copy
import csv
import dataclasses
import functools
import io
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image
from tqdm import tqdm

from ipixmatch_jax.config import load_snapshot, with_run_statistics
from ipixmatch_jax.data import (
    Dataset,
    displayable,
    load_dataset,
    pixels_of,
    read_image,
    resize_image,
)
from ipixmatch_jax.engine import build
from ipixmatch_jax.engine.inference import predict_logits
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.evaluate import restore_networks
from ipixmatch_jax.legend import read_legend
from ipixmatch_jax.methods import Network
from ipixmatch_jax.paths import as_path
from ipixmatch_jax.photos import named_photos
from ipixmatch_jax.pictures import (
    colored,
    error_map,
    in_a_row,
    indexed,
    overlay,
    shades,
    with_legend,
)
from ipixmatch_jax.workdir.folder import predictions_folder

# Photos whose longer side has more pixels are looked at in windows: a whole one would need more
# memory than training did.
TILE_ABOVE = 2048
EXTRAS = ("confidence", "probs")


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a network says of one image.

    Attributes:
        mask: uint8 [H, W], class ids.
        confidence: float32 [H, W], the probability of that class.
        probs: float32 [H, W, C]; None where they were not asked for.
    """

    mask: np.ndarray
    confidence: np.ndarray
    probs: np.ndarray | None = None


class Predictor:
    """A function from an image uint8 [H, W, D] to its class map uint8 [H, W], of any size.

    The network looks at it as `config.eval` says; an image of another size than those before waits
    for the compiler. With `data.image_size` the image is resized to that first, and the map back.

    Args:
        config: of the run; its `data.mean` and the like are filled in.
        model: of `build_model`.
        variables: `{'params', 'batch_stats'}` on the host.
        workdir: of the run; names of classes that the config does not hold are found there.
        tile_above: images with a longer side of more pixels are looked at in windows of
            `eval.window`; 0: none is.
        step, network: which checkpoint and network the variables are.
    """

    def __init__(
        self,
        config: ConfigDict,
        model: Any,
        variables: Any,
        *,
        workdir: Any = None,
        tile_above: int = TILE_ABOVE,
        step: int = 0,
        network: str = "",
    ):
        self.config, self.step, self.network = config, step, network
        self._workdir, self._tile_above = workdir, tile_above
        self.variables = jax.device_put(variables)
        self._size = tuple(config.data.image_size)
        views, inference = build.build_views(config, model), build.build_inference(config, model)

        @functools.partial(jax.jit, static_argnums=(2, 3))
        def look(variables, image, tiled, with_probs):
            how = dataclasses.replace(inference, mode="sliding") if tiled else inference
            images = views.weak(image[None])
            logits = predict_logits(Network(model, **variables), images, how)[0]
            probs = jax.nn.softmax(logits)
            mask = logits.argmax(-1).astype("uint8")
            return mask, probs.max(-1), probs if with_probs else None

        self._look = look
        self._may_tile = inference.mode == "whole"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return self.look(image).mask

    def look(self, image: np.ndarray, *, probs: bool = False) -> Prediction:
        """Class map, confidence and, where asked for, probabilities.

        Raises:
            DataError: not an image uint8 [H, W, D] with D = data.channels.
        """
        image = np.asarray(image)
        channels = self.config.data.channels
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != channels:
            raise DataError(
                f"an image is {image.dtype} {list(image.shape)}; expected uint8 [H, W, {channels}]"
            )
        small = resize_image(image, self._size) if self._size != (0, 0) else image
        tiled = self._may_tile and 0 < self._tile_above < max(small.shape[:2])
        found = self._look(self.variables, small, tiled, probs)
        mask, confidence, all_probs = (None if x is None else np.asarray(x) for x in found)
        if small.shape != image.shape:
            size = image.shape[1::-1]
            mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
            confidence = _resized(confidence, size)
            if probs:
                planes = [_resized(plane, size) for plane in np.moveaxis(all_probs, -1, 0)]
                all_probs = np.stack(planes, -1)
        return Prediction(mask, confidence, all_probs)

    def of(self, variables: Any, step: int, network: str) -> "Predictor":
        """The same with other weights of the same model; nothing is compiled again."""
        other = copy.copy(self)
        other.variables, other.step, other.network = jax.device_put(variables), step, network
        return other

    @functools.cached_property
    def _legend(self) -> tuple[tuple[str, ...], np.ndarray]:
        return read_legend(self.config, self._workdir)

    @property
    def class_names(self) -> tuple[str, ...]:
        """C names, in the order of the class ids."""
        return self._legend[0]

    @property
    def palette(self) -> np.ndarray:
        """uint8 [C, 3], the colours of the classes."""
        return self._legend[1]


def _resized(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR))


def load_predictor(
    workdir: os.PathLike | str,
    *,
    checkpoint: str | int = "latest",
    network: str | None = None,
    tile_above: int = TILE_ABOVE,
) -> Predictor:
    """A trained network as a function from an image to its class map.

        predict = load_predictor("runs/photos")
        mask = predict(image)                 # uint8 [H, W, 3] → uint8 [H, W]
        predict.look(image).confidence        # float32 [H, W]

    Args:
        workdir: of the run. The data it was trained on is not needed.
        checkpoint: `latest`, `best` or a step.
        network: `student` or `teacher`; by default the run's `best_network`.
        tile_above: as of `Predictor`.

    Raises:
        ConfigError: the workdir holds no run.
        CheckpointError: it has no such checkpoint.
    """
    config = load_snapshot(workdir)
    network = network or config.best_network
    return restore_predictor(config, workdir, str(checkpoint), network, tile_above)


def restore_predictor(
    config: ConfigDict,
    workdir: Any,
    checkpoint: str = "latest",
    network: str = "teacher",
    tile_above: int = TILE_ABOVE,
) -> Predictor:
    """As `load_predictor`, for a config that is there; the run's own statistics are kept."""
    return restore_predictors(config, workdir, checkpoint, (network,), tile_above)[network]


def restore_predictors(
    config: ConfigDict,
    workdir: Any,
    checkpoint: str,
    networks: Sequence[str],
    tile_above: int = TILE_ABOVE,
) -> dict[str, Predictor]:
    """The named networks of one checkpoint; they share their compiled programs."""
    config = with_run_statistics(config, workdir)
    model, parallel = build.build_model(config), build.build_parallel(config)
    step, found = restore_networks(config, workdir, model, parallel, checkpoint, networks)
    first = Predictor(
        config, model, jax.device_get(found[networks[0]]),
        workdir=workdir, tile_above=tile_above, step=step, network=networks[0],
    )  # fmt: skip
    others = {name: first.of(jax.device_get(found[name]), step, name) for name in networks[1:]}
    return {networks[0]: first, **others}


def draw_validation(
    config: ConfigDict, workdir: pathlib.Path, model, network: Any, dataset: Dataset
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


def predict_files(
    config: ConfigDict,
    workdir: pathlib.Path,
    *,
    inputs: Sequence[os.PathLike | str] | None,
    output: pathlib.Path | None,
    checkpoint: str = "latest",
    network: str = "teacher",
    extras: Sequence[str] = (),
    tile_above: int = TILE_ABOVE,
) -> None:
    """Predicts photos; without inputs, draws validation images.

    Writes for every photo NAME.png (class ids, with the palette), NAME_color.png,
    NAME_overlay.png with a legend, and a row of `areas.csv`: pixels of every class.

    Args:
        inputs: photos, folders of photos or patterns such as 'photos/**/*.jpg'.
        output: folder; `predictions` of the workdir by default.
        extras: of `confidence` (NAME_confidence.png, 0 to 255 for 0 to 1) and `probs`
            (NAME_probs.npy, float16 [H, W, C]).
        tile_above: as of `Predictor`.

    Raises:
        ConfigError: an output that would overwrite a photo.
        DataError: no photo; or, at the end, photos that could not be read: all others are written.
    """
    output = as_path(output or predictions_folder(workdir))
    photos = named_photos(inputs) if inputs else {}
    _check_output(output, photos)
    predict = restore_predictor(config, workdir, checkpoint, network, tile_above)
    said = f"predictions of {predict.network}, step {predict.step}:"
    if not inputs:
        dataset, model = load_dataset(config.data, config.seed), build.build_model(config)
        print(said, draw_validation(predict.config, workdir, model, predict.variables, dataset))
        return

    output.mkdir(parents=True, exist_ok=True)
    broken = _predict_photos(photos, output, predict, extras)
    print(f"{said} {output}")
    if broken:
        raise DataError(
            f"{len(broken)} of {len(photos)} photos could not be read, the others are done:\n  "
            + "\n  ".join(broken)
        )


def _predict_photos(
    photos: dict[str, pathlib.Path],
    output: pathlib.Path,
    predict: Predictor,
    extras: Sequence[str],
) -> list[str]:
    """Writes all that is said of the photos; what is wrong with those that cannot be read."""
    pixels, broken = pixels_of(predict.config.data), []
    with (
        (output / "areas.csv").open("wb") as file,
        io.TextIOWrapper(file, encoding="utf-8", newline="") as text,
    ):
        areas = csv.writer(text)
        areas.writerow(["image", "width", "height", "mean_confidence", *predict.class_names])
        for name, path in tqdm(photos.items(), unit="image"):
            try:
                image = read_image(path, pixels=pixels)
            except DataError as error:
                broken.append(str(error))
                continue
            found = predict.look(image, probs="probs" in extras)
            _write(output / name, image, found, predict, extras)
            counts = np.bincount(found.mask.reshape(-1), minlength=len(predict.class_names))
            mean = f"{found.confidence.mean():.4f}"
            areas.writerow([path, image.shape[1], image.shape[0], mean, *counts])
    return broken


def _write(
    base: pathlib.Path,
    image: np.ndarray,
    found: Prediction,
    predict: Predictor,
    extras: Sequence[str],
) -> None:
    base.parent.mkdir(parents=True, exist_ok=True)
    palette = predict.palette
    over = overlay(image, found.mask, palette)
    pictures = {
        "": indexed(found.mask, palette),
        "_color": Image.fromarray(colored(found.mask, palette)),
        "_overlay": Image.fromarray(with_legend(over, found.mask, predict.class_names, palette)),
    }
    if "confidence" in extras:
        pictures["_confidence"] = shades(found.confidence)
    for tail, picture in pictures.items():
        with _beside(base, f"{tail}.png").open("wb") as file:
            picture.save(file, "PNG")
    if "probs" in extras:
        with _beside(base, "_probs.npy").open("wb") as file:
            np.save(file, found.probs.astype(np.float16))


def _beside(base: pathlib.Path, tail: str) -> pathlib.Path:
    # Not with_suffix: names of photos may hold dots.
    return base.with_name(base.name + tail)


def _check_output(output: pathlib.Path, photos: dict[str, pathlib.Path]) -> None:
    taken = {path.resolve() for path in photos.values()}
    for name in photos:
        written = _beside(output / name, ".png")
        if written.resolve() in taken:
            raise ConfigError(
                f"the prediction of {photos[name]} would be written to {written}, a photo; "
                "expected another folder; set --output"
            )
