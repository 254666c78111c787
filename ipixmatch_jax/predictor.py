"""A trained network as a function from an image to its class map."""

import copy
import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from ipixmatch_jax import build
from ipixmatch_jax.build import restore_networks
from ipixmatch_jax.config import load_snapshot, with_run_statistics
from ipixmatch_jax.data import (
    resize_image,
)
from ipixmatch_jax.data.catalog import assemble
from ipixmatch_jax.data.records import spread_palette
from ipixmatch_jax.engine.inference import predict_logits
from ipixmatch_jax.engine.state import NETWORKS
from ipixmatch_jax.errors import DataError, UserError
from ipixmatch_jax.methods import Network
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.workdir.results import read_evaluations

# Photos whose longer side has more pixels are looked at in windows: a whole one would need more
# memory than training did.
TILE_ABOVE = 2048


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
        workdir: AnyPath = None,
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
    workdir: AnyPath,
    checkpoint: str = "latest",
    network: str = "teacher",
    tile_above: int = TILE_ABOVE,
) -> Predictor:
    """As `load_predictor`, for a config that is there; the run's own statistics are kept."""
    return restore_predictors(config, workdir, checkpoint, (network,), tile_above)[network]


def restore_predictors(
    config: ConfigDict,
    workdir: AnyPath,
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


def read_legend(config: ConfigDict, workdir: AnyPath = None) -> tuple[tuple[str, ...], np.ndarray]:
    """The C class names and their colours, uint8 [C, 3].

    What the config leaves open is asked of the data set; without it, the names are those of the
    run's evaluations, and the colours are generated.
    """
    data = config.data
    names, palette = tuple(data.class_names), np.array(data.palette, np.uint8)
    if not names or not len(palette):
        try:
            dataset, _ = assemble(data, config.seed)
            return dataset.class_names, dataset.palette
        except UserError:
            names = names or _evaluated(workdir)
    names = names or tuple(f"class {index}" for index in range(data.num_classes))
    return names, palette if len(palette) else spread_palette(data.num_classes)


def _evaluated(workdir: AnyPath) -> tuple[str, ...]:
    evaluations = [] if workdir is None else read_evaluations(workdir)
    if not evaluations:
        return ()
    result = evaluations[-1]
    return tuple(next(result[name]["iou"] for name in NETWORKS if name in result))
