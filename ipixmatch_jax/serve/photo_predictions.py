"""Predictions of both networks of a run for an uploaded photo."""

import dataclasses
import time
import warnings
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from ipixmatch_jax.data import displayable, pixels_of, read_image, resize_image
from ipixmatch_jax.data.files import multiband
from ipixmatch_jax.data.files.images import image_size
from ipixmatch_jax.engine.state import NETWORKS
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import AnyPath, as_path
from ipixmatch_jax.predictor import Prediction, restore_predictors
from ipixmatch_jax.viz.drawing import grayscale, indexed
from ipixmatch_jax.web.explorer import grid_size, packed
from ipixmatch_jax.web.images import data_url

_NAME = "the photo"
_BEGINNINGS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
KINDS = ("PNG", "JPEG", "TIFF", "WebP")
# Sides are rounded to multiples, because every size is compiled once.
_FINE, _COARSE, _COARSE_FROM = 32, 64, 256


class TooLarge(DataError):
    """A photo above a limit."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits for an uploaded photo.

    Attributes:
        bytes: size of the file.
        pixels: number of pixels of the photo.
        side: larger photos are shrunk to this longer side in pixels; a multiple of 64.
    """

    bytes: int = 32_000_000
    pixels: int = 64_000_000
    side: int = 1024


class PhotoPredictor:
    """Predicts photos with the student and the teacher of a run, as JSON for the page.

    Args:
        config: config of the run.
        workdir: folder of the run.
        checkpoint: `latest`, `best` or a step.
        network: the network that the page shows first.
        limits: limits for a photo.

    Raises:
        CheckpointError: the run has no such checkpoint.
    """

    def __init__(
        self, config: ConfigDict, workdir: AnyPath, *, checkpoint: str, network: str, limits: Limits
    ):
        self.predictors = restore_predictors(config, workdir, checkpoint, NETWORKS, tile_above=0)
        self.title, self._first = as_path(workdir).name, self.predictors[network]
        self.step = self._first.step
        self._limits, self._compiled = limits, set()
        self._own_size = tuple(config.data.image_size)

    def about(self) -> dict[str, Any]:
        """The facts that the page shows before any photo."""
        predict = self._first
        return {
            "title": self.title,
            "step": self.step,
            "network": predict.network,
            "model": f"{predict.config.model.name} {predict.config.model.backbone or ''}".strip(),
            "classes": [
                {"name": name, "color": f"#{bytes(color).hex()}"}
                for name, color in zip(predict.class_names, predict.palette, strict=True)
            ],
            "limits": dataclasses.asdict(self._limits),
            "own_size": self._own_size if any(self._own_size) else None,
        }

    def predict(self, data: bytes) -> dict[str, Any]:
        """The photo and the prediction of each network.

        Args:
            data: the bytes of the file.

        Raises:
            DataError: not a photo, or one that cannot be read.
            TooLarge: more pixels than `limits.pixels`; the photo was not decoded.
        """
        start = time.monotonic()
        photo_size = checked_size(data, self._limits)
        # A network with a size of its own is compiled for that size only.
        size = predicted_size(photo_size, self._limits.side, rounded=not any(self._own_size))
        pixels = pixels_of(self._first.config.data)
        image = resize_image(read_image(data, _NAME, pixels, at_least=size), size)
        photo = data_url(Image.fromarray(displayable(image)), "JPEG", quality=90)
        grid = grid_size(size)
        networks, explored = {}, {"id": "", "height": grid[0], "width": grid[1], "photo": photo}
        for name, predict in self.predictors.items():
            found = predict.predict_record(image, probs=True)
            networks[name] = self._as_json(found)
            explored[name] = packed(found.probs, grid)
        compiled_for = self._own_size if any(self._own_size) else size
        first_of_size = compiled_for not in self._compiled
        self._compiled.add(compiled_for)
        seconds = time.monotonic() - start
        print(f"a photo of {_x(photo_size)}, predicted at {_x(size)}: {seconds:.1f} s", flush=True)
        return {
            "size": photo_size,
            "predicted_at": size,
            "seconds": seconds,
            "first_of_size": first_of_size,
            "photo": photo,
            "networks": networks,
            "explorer": explored,
        }

    def _as_json(self, found: Prediction) -> dict[str, Any]:
        counts = np.bincount(found.mask.reshape(-1), minlength=len(self._first.class_names))
        sums = np.bincount(found.mask.reshape(-1), found.confidence.reshape(-1), len(counts))
        present = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
        return {
            "mask": data_url(indexed(found.mask, self._first.palette), "PNG"),
            "confidence": data_url(grayscale(found.confidence), "PNG"),
            "mean_confidence": float(found.confidence.mean()),
            "classes": [
                {"id": i, "share": counts[i] / counts.sum(), "confidence": sums[i] / counts[i]}
                for i in present
            ],
        }


def checked_size(data: bytes, limits: Limits) -> tuple[int, int]:
    """(H, W) of a photo from its header, without decoding its pixels.

    Raises:
        DataError: an empty or damaged file, or one that is not of `KINDS`.
        TooLarge: more pixels than allowed.
    """
    if not data:
        raise DataError("the file is empty; expected a photo")
    if kind_of(data) is None:
        raise DataError(f"the file is not a photo; expected {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        size = image_size(data, _NAME)
    stored = size[0] * size[1]
    if multiband.is_raw(data):
        # A small TIFF can hold many pages.
        stored = max(stored, multiband.read(data, _NAME, shape_only=True).nbytes // 8)
    if stored > limits.pixels:
        raise TooLarge(
            f"the photo has {stored / 1e6:.0f} megapixels ({_x(size)}); at most "
            f"{limits.pixels / 1e6:g} are accepted; shrink it, or use --mode predict"
        )
    return size


def kind_of(data: bytes) -> str | None:
    """The kind of a file by its first bytes, one of `KINDS`; None for others."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    return next((kind for start, kind in _BEGINNINGS.items() if data.startswith(start)), None)


def predicted_size(size: tuple[int, int], longest: int, rounded: bool = True) -> tuple[int, int]:
    """(H, W) at which a photo is predicted.

    Args:
        size: size of the photo.
        longest: maximal side in pixels.
        rounded: round sides to multiples of 32 pixels below 256, and of 64 above.
    """
    shrink = min(1.0, longest / max(size))
    height, width = (max(1, round(side * shrink)) for side in size)
    return (_round(height), _round(width)) if rounded else (height, width)


def _round(side: int) -> int:
    step = _FINE if side < _COARSE_FROM else _COARSE
    return max(1, int(side / step + 0.5)) * step


def _x(size: tuple[int, int]) -> str:
    return f"{size[1]} × {size[0]}"
