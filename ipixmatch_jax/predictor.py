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
from ipixmatch_jax.config import for_run, load_snapshot
from ipixmatch_jax.data import pixels_of, resize_image
from ipixmatch_jax.data.catalog import assemble
from ipixmatch_jax.data.records import spread_palette
from ipixmatch_jax.engine.frames import FramesOnDemand, framed_logits, why_not_framed
from ipixmatch_jax.engine.inference import predict_logits
from ipixmatch_jax.engine.state import NETWORKS
from ipixmatch_jax.errors import CheckpointError, DataError, UserError
from ipixmatch_jax.methods import Network
from ipixmatch_jax.paths import AnyPath, as_path, fixed
from ipixmatch_jax.photo_reader import Photo, read_photo
from ipixmatch_jax.screen import quiet_libraries
from ipixmatch_jax.trained_model import with_known_method
from ipixmatch_jax.workdir.evaluations import read_evaluations

# Photos whose longer side has more pixels are predicted in windows: a whole one would need more
# memory than training did.
TILE_ABOVE = 2048


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Attributes:
        mask: class ids, uint8 [H, W].
        confidence: probability of that class, float32 [H, W].
        probs: probabilities of all classes, float32 [H, W, C]; None unless requested.
    """

    mask: np.ndarray
    confidence: np.ndarray
    probs: np.ndarray | None = None


class Predictor:
    """A function from a photo of any size to its class map, uint8 [H, W].

    It predicts as `config.eval` says. Images of many sizes share a few compiled programs, each of
    which the first of its images waits for; results are those of every image alone. With
    `data.image_size` the image is resized to that size first, and the class map is resized back.

    Args:
        config: the run's config, with `data.mean` and other measured values filled in.
        model: the network from `build_model`.
        variables: `{'params', 'batch_stats'}` on the host.
        workdir: folder of the run, where class names are found that the config lacks.
        tile_above: images whose longer side has more pixels are predicted in windows of
            `eval.window`; 0: never.
        step: step of the checkpoint that the variables come from.
        network: its network that they are, `student` or `teacher`.

    Attributes:
        takes_any_size: true if new sizes do not need new programs.
        shapes: arguments of the programs that are compiled, without those that `probs` needs.
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
        # Read later, when the current folder may be another.
        self._workdir = None if workdir is None else fixed(as_path(workdir))
        self._tile_above = tile_above
        self.variables = jax.device_put(variables)
        self._size = tuple(config.data.image_size)
        views, inference = build.build_views(config, model), build.build_inference(config, model)

        @functools.partial(jax.jit, static_argnums=(3, 4))
        def run(variables, image, size, tiled, with_probs):
            images, network = views.weak(image[None]), Network(model, **variables)
            if size is None:
                chosen = dataclasses.replace(inference, mode="sliding") if tiled else inference
                logits = predict_logits(network, images, chosen)[0]
            else:
                logits = framed_logits(network, images, inference, size[None])[0]
            probs = jax.nn.softmax(logits)
            mask = logits.argmax(-1).astype("uint8")
            return mask, probs.max(-1), probs if with_probs else None

        self._run = run
        self._may_tile, self._frames = inference.mode == "whole", FramesOnDemand(inference)
        self.shapes: set[tuple[Any, ...]] = set()
        self.takes_any_size = not why_not_framed(inference, [])

    def __call__(self, photo: Photo, *, probs: bool = False) -> np.ndarray | Prediction:
        """The class map, uint8 [H, W]; with `probs`, all of `predict(photo, probs=True)`."""
        return self.predict(photo, probs=True) if probs else self.predict(photo).mask

    def predict(self, photo: Photo, *, probs: bool = False) -> Prediction:
        """Class map, confidence and, with `probs`, the probabilities of all classes.

        Args:
            photo: path, bytes of a file, Pillow image, or array [H, W] or [H, W, D] as a file
                stores it (see `read_photo`).
            probs: return the probabilities of all classes too.

        Raises:
            DataError: not an image, or one of other channels or another bit depth than the training
                images.
        """
        return self.predict_record(read_photo(photo, pixels_of(self.config.data)), probs=probs)

    # The former name of `predict`.
    look = predict

    def predict_record(self, image: np.ndarray, *, probs: bool = False) -> Prediction:
        """Like `predict`, for the image of a record of a data set: already brought to 8 bits.

        Raises:
            DataError: not an image uint8 [H, W, D] with D = data.channels.
            CheckpointError: the network's output is not a number.
        """
        channels = self.config.data.channels
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != channels:
            raise DataError(
                f"an image is {image.dtype} {list(image.shape)}; expected uint8 [H, W, {channels}]"
            )
        small = resize_image(image, self._size) if self._size != (0, 0) else image
        size = height, width = small.shape[:2]
        tiled = self._may_tile and 0 < self._tile_above < max(size)
        frame = None if tiled else self._frames(size)
        framed, true = small, None
        if frame is not None:
            framed, true = np.zeros((*frame, channels), np.uint8), np.array(size, np.int32)
            framed[:height, :width] = small
        self.shapes.add((framed.shape, frame is None, tiled))
        results = self._run(self.variables, framed, true, tiled, probs)
        mask, confidence, all_probs = (
            None if x is None else np.asarray(x)[:height, :width] for x in results
        )
        if not np.isfinite(confidence).all():
            raise CheckpointError(
                f"the output of {self.network or 'the network'}, step {self.step}, is not a number "
                f"in {100 * (1 - np.isfinite(confidence).mean()):.3g} % of the pixels; expected "
                "probabilities: the run has diverged; use another --checkpoint, or train again "
                "with a lower optimizer.learning_rate"
            )
        if small.shape != image.shape:
            size = image.shape[1::-1]
            mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
            confidence = _resized(confidence, size)
            if probs:
                planes = [_resized(plane, size) for plane in np.moveaxis(all_probs, -1, 0)]
                all_probs = np.stack(planes, -1)
        return Prediction(mask, confidence, all_probs)

    def with_variables(self, variables: Any, step: int, network: str) -> "Predictor":
        """A predictor with other weights of the same model; nothing is compiled again."""
        other = copy.copy(self)
        other.variables, other.step, other.network = jax.device_put(variables), step, network
        return other

    @functools.cached_property
    def _classes(self) -> tuple[tuple[str, ...], np.ndarray]:
        return names_and_palette(self.config, self._workdir)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The C class names, in the order of the ids."""
        return self._classes[0]

    @property
    def palette(self) -> np.ndarray:
        """The colors of the classes, uint8 [C, 3]."""
        return self._classes[1]


def _resized(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR))


def load_predictor(
    workdir: os.PathLike | str,
    *,
    checkpoint: str | int = "latest",
    network: str | None = None,
    tile_above: int = TILE_ABOVE,
    trust: bool = False,
) -> Predictor:
    """Loads a trained network as a function from a photo to its class map.

        predict = load_predictor("runs/photos")
        mask = predict("photo.jpg")                  # uint8 [H, W]
        predict.predict("photo.jpg").confidence     # float32 [H, W]

    Args:
        workdir: folder of the run. The training data is not needed.
        checkpoint: `latest`, `best` or a step.
        network: `student` or `teacher`; by default the run's `best_network`.
        tile_above: see `Predictor`.
        trust: whether code of its own that the run names, `module:NAME`, may be imported.

    Raises:
        ConfigError: the workdir holds no run.
        CheckpointError: the run has no such checkpoint.
    """
    config = load_snapshot(workdir, trust=trust)
    network = network or config.best_network
    with quiet_libraries():
        return restore_predictor(config, workdir, str(checkpoint), network, tile_above)


def restore_predictor(
    config: ConfigDict,
    workdir: AnyPath,
    checkpoint: str = "latest",
    network: str = "teacher",
    tile_above: int = TILE_ABOVE,
) -> Predictor:
    """Like `load_predictor`, with a given config; the statistics measured by the run are kept."""
    return restore_predictors(config, workdir, checkpoint, (network,), tile_above)[network]


def restore_predictors(
    config: ConfigDict,
    workdir: AnyPath,
    checkpoint: str,
    networks: Sequence[str],
    tile_above: int = TILE_ABOVE,
) -> dict[str, Predictor]:
    """Loads several networks of one checkpoint; they share their compiled programs."""
    config = with_known_method(for_run(config, workdir), workdir, checkpoint)
    model, parallel = build.build_model(config), build.build_parallel(config)
    step, restored = restore_networks(config, workdir, model, parallel, checkpoint, networks)
    first = Predictor(
        config, model, jax.device_get(restored[networks[0]]),
        workdir=workdir, tile_above=tile_above, step=step, network=networks[0],
    )  # fmt: skip
    others = {
        name: first.with_variables(jax.device_get(restored[name]), step, name)
        for name in networks[1:]
    }
    return {networks[0]: first, **others}


def names_and_palette(
    config: ConfigDict, workdir: AnyPath = None
) -> tuple[tuple[str, ...], np.ndarray]:
    """The C class names and their colors, uint8 [C, 3].

    What the config lacks comes from the data set. If that is not available, the names come from the
    run's evaluations, and the colors are generated.
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
