"""Runs the networks over all images, in batches of one shape: parts of the score, and features."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from ipixmatch_jax import build
from ipixmatch_jax.data import IGNORE, eval_batches, size_groups
from ipixmatch_jax.data.files.images import resample
from ipixmatch_jax.data.picked import PickedSource
from ipixmatch_jax.engine.frames import framed, framed_logits
from ipixmatch_jax.engine.inference import predict_logits
from ipixmatch_jax.evaluator import sizes_in_words
from ipixmatch_jax.label_next.pixel_scores import class_pixels, disagreement, pooled, uncertainty
from ipixmatch_jax.label_next.pool import Readable
from ipixmatch_jax.methods import Network
from ipixmatch_jax.screen import say
from ipixmatch_jax.tracking.progress import counted

# Larger images come in smaller batches, so that memory does not depend on the size of the photos:
# at most 256 MiB of logits, or one image.
_MOST_LOGITS = 2**26


@dataclasses.dataclass(frozen=True)
class Measured:
    """Measurements of N images, in the order of the source.

    Attributes:
        uncertainty, disagreement: float32 [N].
        class_pixels: pixels of each predicted class, int64 [N,C].
        features: pooled features of the encoder, float32 [N,D].
        positions: positions in the source of these images: all that could be read, int64 [N].
    """

    uncertainty: np.ndarray
    disagreement: np.ndarray
    class_pixels: np.ndarray
    features: np.ndarray
    positions: np.ndarray


class Measurer:
    """Measures images with the two networks of a run.

    Args:
        config: the run's config, with measured statistics.
        networks: `student` and `teacher` → `{'params', 'batch_stats'}`.
        network: the one whose uncertainty, classes and features count.
        tile_above: images whose longer side has more pixels are processed in windows; 0: never.
    """

    def __init__(
        self, config: ConfigDict, networks: Mapping[str, Any], network: str, tile_above: int
    ):
        model = build.build_model(config)
        views, inference = build.build_views(config, model), build.build_inference(config, model)
        self._networks, self._network = networks, network
        self._batch_size = config.eval_batch_size
        self._classes = config.data.num_classes
        self._inference, self._normalize = inference, jax.jit(views.weak)

        def tiled(size):
            return inference.mode == "whole" and 0 < tile_above < max(size)

        self._tiled = tiled
        multiple = inference.multiple
        # One size for all, so that the encoder is compiled once.
        self._size = tuple(max(round(s / multiple), 1) * multiple for s in config.data.crop_size)

        @jax.jit
        def predicted(variables, image, sizes):
            network, images = Network(model, **variables), views.weak(image)
            if sizes is not None:
                return framed_logits(network, images, inference, sizes)
            windows = dataclasses.replace(inference, mode="sliding")
            return predict_logits(
                network, images, windows if tiled(image.shape[1:3]) else inference
            )

        @jax.jit
        def scores(own, student, teacher, valid):
            return (
                uncertainty(own, valid),
                disagreement(student, teacher, valid),
                class_pixels(own, valid),
            )

        @jax.jit
        def encoded(variables, images):
            maps = model.apply(variables, images, method=lambda m, x: m.encode(x, False))
            return pooled(maps[-1])

        self._predicted, self._scores = predicted, scores
        self._encoded = lambda images: encoded(networks[network], images)

    def _values(self, batch: dict[str, np.ndarray], in_frames: bool) -> tuple[np.ndarray, ...]:
        """Uncertainty [B], disagreement [B] and pixels of each class [B,C]."""
        image, valid = batch["image"], batch["mask"] != IGNORE
        sizes = batch["size"].astype(np.int32) if in_frames else None
        logits = {name: self._predicted(one, image, sizes) for name, one in self._networks.items()}
        own = logits[self._network]
        scores = self._scores(own, logits["student"], logits["teacher"], valid)
        return jax.device_get(scores)

    def _features(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Pooled features [B,D] of the images, shrunk to the size of a crop without aliasing."""
        shrunk = [
            resample(image[:height, :width], self._size, Image.Resampling.BILINEAR)
            for image, (height, width) in zip(batch["image"], batch["size"], strict=True)
        ]
        return jax.device_get(self._encoded(self._normalize(np.stack(shrunk))))

    def unlabeled(self, source: Readable) -> Measured:
        """Measures images; those that cannot be read are left out and noted in `source.broken`."""
        count = len(source)
        found: dict[str, np.ndarray] = {
            "uncertainty": np.zeros(count, np.float32),
            "disagreement": np.zeros(count, np.float32),
            "class_pixels": np.zeros((count, self._classes), np.int64),
        }
        features: dict[int, np.ndarray] = {}
        for positions, rows, batch, in_frames in self._batches(source, "images to rank"):
            values = self._values(batch, in_frames)
            for array, value in zip(found.values(), values, strict=True):
                array[positions] = np.rint(value[rows]) if array.dtype.kind == "i" else value[rows]
            vectors = self._features(batch)
            features |= dict(zip(positions.tolist(), vectors[rows], strict=True))
        kept = np.array([i for i in range(count) if i not in source.broken], np.int64)
        vectors = _stacked(features, kept.tolist())
        return Measured(**{n: a[kept] for n, a in found.items()}, features=vectors, positions=kept)

    def labeled(self, source: Readable) -> tuple[np.ndarray, np.ndarray]:
        """Features [L,D] of the labeled images, and pixels of each class in their masks [C]."""
        features: dict[int, np.ndarray] = {}
        pixels = np.zeros(256, np.int64)
        for positions, rows, batch, _ in self._batches(source, "labeled images"):
            pixels += np.bincount(batch["mask"][rows].reshape(-1), minlength=256)
            vectors = self._features(batch)
            features |= dict(zip(positions.tolist(), vectors[rows], strict=True))
        kept = [i for i in range(len(source)) if i in features and i not in source.broken]
        return _stacked(features, kept), pixels[: self._classes]

    def _batches(
        self, source: Readable, what: str
    ) -> Iterator[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], bool]]:
        """Yields (positions in the source, rows that hold them, batch, whether it is in a frame).

        Images that are processed in windows keep their sizes; all others share few frames.
        """
        sized = source.sized()
        part = PickedSource((source,), [(0, index) for index in sized])
        sizes = size_groups(part)
        windowed = {size: group for size, group in sizes.items() if self._tiled(size)}
        others = {size: group for size, group in sizes.items() if size not in windowed}
        gathered, in_frames = framed(others, self._inference)
        shapes = [
            *((size, group, False) for size, group in windowed.items()),
            *((size, group, in_frames) for size, group in gathered.items()),
        ]
        say(f"{what}: {len(part)}, of {sizes_in_words(len(sizes), len(shapes))}")
        lengths = {size: self._length(size) for size, _, _ in shapes}
        total = sum(-(-len(group) // lengths[size]) for size, group, _ in shapes)

        def batches():
            for size, group, is_framed in shapes:
                for batch in eval_batches(part, batch_size=lengths[size], groups={size: group}):
                    yield batch, is_framed

        places = np.array(sized, np.int64)
        for batch, is_framed in counted(batches(), total, what, "batches"):
            rows = batch["index"] >= 0
            yield places[batch["index"][rows]], rows, batch, is_framed

    def _length(self, size: tuple[int, int]) -> int:
        return max(1, min(self._batch_size, _MOST_LOGITS // (size[0] * size[1] * self._classes)))


def _stacked(features: Mapping[int, np.ndarray], positions: Sequence[int]) -> np.ndarray:
    if not positions:
        return np.zeros((0, 1), np.float32)
    return np.stack([features[position] for position in positions])
