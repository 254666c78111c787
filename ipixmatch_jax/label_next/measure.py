"""Runs the networks over all images, in batches of one size: parts of the score, and features."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax import build
from ipixmatch_jax.data import IGNORE, eval_batches, size_groups
from ipixmatch_jax.data.picked import PickedSource
from ipixmatch_jax.engine.inference import predict_logits
from ipixmatch_jax.evaluator import sizes_in_words
from ipixmatch_jax.label_next.pixel_scores import class_pixels, disagreement, pooled, uncertainty
from ipixmatch_jax.label_next.pool import Readable
from ipixmatch_jax.methods import Network
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
        self._batch_size, self._pad_to = config.eval_batch_size, inference.pad_to
        self._classes = config.data.num_classes
        multiple = inference.multiple
        size = tuple(max(round(s / multiple), 1) * multiple for s in config.data.crop_size)

        @jax.jit
        def predicted(variables, image):
            tiled = inference.mode == "whole" and 0 < tile_above < max(image.shape[1:3])
            chosen = dataclasses.replace(inference, mode="sliding") if tiled else inference
            return predict_logits(Network(model, **variables), views.weak(image), chosen)

        @jax.jit
        def scores(own, student, teacher, valid):
            return (
                uncertainty(own, valid),
                disagreement(student, teacher, valid),
                class_pixels(own, valid),
            )

        @jax.jit
        def shrunk(image):
            # Antialiased. One size for all, so that the encoder is compiled once.
            images = views.weak(image)
            shape = (images.shape[0], *size, images.shape[-1])
            return jax.image.resize(images, shape, "linear")

        @jax.jit
        def encoded(variables, images):
            maps = model.apply(variables, images, method=lambda m, x: m.encode(x, False))
            return pooled(maps[-1])

        self._predicted, self._scores = predicted, scores
        self._features = lambda image: encoded(networks[network], shrunk(image))

    def _values(self, image: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, ...]:
        """Uncertainty [B], disagreement [B] and pixels of each class [B,C]."""
        logits = {name: self._predicted(one, image) for name, one in self._networks.items()}
        own = logits[self._network]
        scores = self._scores(own, logits["student"], logits["teacher"], valid)
        return jax.device_get(scores)

    def unlabeled(self, source: Readable) -> Measured:
        """Measures images; those that cannot be read are left out and noted in `source.broken`."""
        count = len(source)
        found: dict[str, np.ndarray] = {
            "uncertainty": np.zeros(count, np.float32),
            "disagreement": np.zeros(count, np.float32),
            "class_pixels": np.zeros((count, self._classes), np.int64),
        }
        features: dict[int, np.ndarray] = {}
        for positions, rows, batch in self._batches(source, "images to rank"):
            values = self._values(batch["image"], batch["mask"] != IGNORE)
            for array, value in zip(found.values(), values, strict=True):
                array[positions] = np.rint(value[rows]) if array.dtype.kind == "i" else value[rows]
            vectors = jax.device_get(self._features(batch["image"]))
            features |= dict(zip(positions.tolist(), vectors[rows], strict=True))
        kept = np.array([i for i in range(count) if i not in source.broken], np.int64)
        vectors = _stacked(features, kept.tolist())
        return Measured(**{n: a[kept] for n, a in found.items()}, features=vectors, positions=kept)

    def labeled(self, source: Readable) -> tuple[np.ndarray, np.ndarray]:
        """Features [L,D] of the labeled images, and pixels of each class in their masks [C]."""
        features: dict[int, np.ndarray] = {}
        pixels = np.zeros(256, np.int64)
        for positions, rows, batch in self._batches(source, "labeled images"):
            pixels += np.bincount(batch["mask"][rows].reshape(-1), minlength=256)
            vectors = jax.device_get(self._features(batch["image"]))
            features |= dict(zip(positions.tolist(), vectors[rows], strict=True))
        kept = [i for i in range(len(source)) if i in features and i not in source.broken]
        return _stacked(features, kept), pixels[: self._classes]

    def _batches(
        self, source: Readable, what: str
    ) -> Iterator[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]]:
        """Yields (positions in the source, rows that hold them, batch) for every batch."""
        sized = source.sized()
        part = PickedSource((source,), [(0, index) for index in sized])
        groups = size_groups(part, self._pad_to)
        lengths = {size: self._length(size) for size in groups}
        print(f"{what}: {len(part)}, of {sizes_in_words(part, groups)}", flush=True)
        total = sum(-(-len(group) // lengths[size]) for size, group in groups.items())

        def batches():
            for size, group in groups.items():
                yield from eval_batches(part, batch_size=lengths[size], groups={size: group})

        places = np.array(sized, np.int64)
        for batch in counted(batches(), total, what, "batches"):
            rows = batch["index"] >= 0
            yield places[batch["index"][rows]], rows, batch

    def _length(self, size: tuple[int, int]) -> int:
        return max(1, min(self._batch_size, _MOST_LOGITS // (size[0] * size[1] * self._classes)))


def _stacked(features: Mapping[int, np.ndarray], positions: Sequence[int]) -> np.ndarray:
    if not positions:
        return np.zeros((0, 1), np.float32)
    return np.stack([features[position] for position in positions])
