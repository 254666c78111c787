"""An uploaded photo as both networks of a run see it."""

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
from ipixmatch_jax.viz.drawing import data_address, indexed, shades
from ipixmatch_jax.web.explorer import grid_size, packed

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
# Sides are rounded to multiples: of every size that it meets the compiler makes a program.
_FINE, _COARSE, _COARSE_FROM = 32, 64, 256


class TooLarge(DataError):
    """A photo above a limit."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What may be uploaded.

    Attributes:
        bytes: of a file.
        pixels: of a photo.
        side: larger photos are shrunk until their longer side has so many pixels; a multiple of 64.
    """

    bytes: int = 32_000_000
    pixels: int = 64_000_000
    side: int = 1024


class Looker:
    """What the student and the teacher of a run say of a photo, as JSON for the page.

    Args:
        config: of the run.
        workdir: of the run.
        checkpoint: `latest`, `best` or a step.
        network: which one the page shows first.
        limits: of a photo.

    Raises:
        CheckpointError: there is no such checkpoint.
    """

    def __init__(
        self, config: ConfigDict, workdir: AnyPath, *, checkpoint: str, network: str, limits: Limits
    ):
        self.predictors = restore_predictors(config, workdir, checkpoint, NETWORKS, tile_above=0)
        self.title, self._first = as_path(workdir).name, self.predictors[network]
        self.step = self._first.step
        self._limits, self._seen = limits, set()
        self._own_size = tuple(config.data.image_size)

    def about(self) -> dict[str, Any]:
        """What the page shows before any photo."""
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

    def look(self, data: bytes) -> dict[str, Any]:
        """The photo, and what each network says of it.

        Args:
            data: the bytes of the file.

        Raises:
            DataError: no photo that can be read.
            TooLarge: a photo of more pixels than `limits.pixels`; it was not decoded.
        """
        start = time.monotonic()
        photo_size = checked_size(data, self._limits)
        # Where the network has a size of its own, the compiler meets that one only.
        size = looked_size(photo_size, self._limits.side, rounded=not any(self._own_size))
        pixels = pixels_of(self._first.config.data)
        image = resize_image(read_image(data, _NAME, pixels, at_least=size), size)
        photo = data_address(Image.fromarray(displayable(image)), "JPEG", quality=90)
        grid = grid_size(size)
        networks, explored = {}, {"id": "", "height": grid[0], "width": grid[1], "photo": photo}
        for name, predict in self.predictors.items():
            found = predict.look(image, probs=True)
            networks[name] = self._shown(found)
            explored[name] = packed(found.probs, grid)
        compiled_for = self._own_size if any(self._own_size) else size
        first_of_size = compiled_for not in self._seen
        self._seen.add(compiled_for)
        seconds = time.monotonic() - start
        print(f"a photo of {_x(photo_size)}, looked at as {_x(size)}: {seconds:.1f} s", flush=True)
        return {
            "size": photo_size,
            "looked": size,
            "seconds": seconds,
            "first_of_size": first_of_size,
            "photo": photo,
            "networks": networks,
            "explorer": explored,
        }

    def _shown(self, found: Prediction) -> dict[str, Any]:
        counts = np.bincount(found.mask.reshape(-1), minlength=len(self._first.class_names))
        sums = np.bincount(found.mask.reshape(-1), found.confidence.reshape(-1), len(counts))
        present = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
        return {
            "mask": data_address(indexed(found.mask, self._first.palette), "PNG"),
            "confidence": data_address(shades(found.confidence), "PNG"),
            "mean_confidence": float(found.confidence.mean()),
            "classes": [
                {"id": i, "share": counts[i] / counts.sum(), "confidence": sums[i] / counts[i]}
                for i in present
            ],
        }


def checked_size(data: bytes, limits: Limits) -> tuple[int, int]:
    """(H, W) of a photo by its header; its pixels are not decoded.

    Raises:
        DataError: empty, of another kind than `KINDS`, or damaged.
        TooLarge: more pixels than allowed.
    """
    if not data:
        raise DataError("the file is empty; expected a photo")
    if kind_of(data) is None:
        raise DataError(f"the file is no photo; expected {', '.join(KINDS[:-1])} or {KINDS[-1]}")
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
            f"{limits.pixels / 1e6:g} are taken; shrink it, or use --mode predict"
        )
    return size


def kind_of(data: bytes) -> str | None:
    """Which of `KINDS` a file is by its first bytes; None for others."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    return next((kind for start, kind in _BEGINNINGS.items() if data.startswith(start)), None)


def looked_size(size: tuple[int, int], longest: int, rounded: bool = True) -> tuple[int, int]:
    """(H, W) at which a photo is looked at.

    Args:
        size: of the photo.
        longest: more pixels no side will have.
        rounded: whether to multiples of 32 pixels below 256, and of 64 above.
    """
    shrink = min(1.0, longest / max(size))
    height, width = (max(1, round(side * shrink)) for side in size)
    return (_round(height), _round(width)) if rounded else (height, width)


def _round(side: int) -> int:
    step = _FINE if side < _COARSE_FROM else _COARSE
    return max(1, int(side / step + 0.5)) * step


def _x(size: tuple[int, int]) -> str:
    return f"{size[1]} × {size[0]}"
