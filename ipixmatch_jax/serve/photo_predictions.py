"""Predictions of both networks of a run for an uploaded photo."""

import dataclasses
import time
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from ipixmatch_jax.data import displayable, pixels_of
from ipixmatch_jax.engine.state import NETWORKS
from ipixmatch_jax.paths import AnyPath, as_path
from ipixmatch_jax.predictor import Prediction, restore_predictors
from ipixmatch_jax.serve.decoder import Decoder
from ipixmatch_jax.serve.upload_limits import Limits, in_words
from ipixmatch_jax.viz.drawing import grayscale, indexed
from ipixmatch_jax.web.explorer import grid_size, packed
from ipixmatch_jax.web.images import data_url


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
        self._limits = limits
        self._own_size = tuple(config.data.image_size)
        # Sizes that need programs of their own are made fewer.
        self._rounded = not any(self._own_size) and not self._first.takes_any_size
        self._decoder = Decoder(limits, pixels_of(self._first.config.data), self._rounded)

    def close(self) -> None:
        """Ends the process that decodes photos."""
        self._decoder.close()

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
            "rounded": self._rounded,
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
        decoded = self._decoder(data)
        photo_size, image = decoded.size, decoded.image
        size = image.shape[:2]
        photo = data_url(Image.fromarray(displayable(image)), "JPEG", quality=90)
        grid = grid_size(size)
        compiled = len(self._first.shapes)
        networks, explored = {}, {"id": "", "height": grid[0], "width": grid[1], "photo": photo}
        for name, predict in self.predictors.items():
            found = predict.predict_record(image, probs=True)
            networks[name] = self._as_json(found)
            explored[name] = packed(found.probs, grid)
        seconds = time.monotonic() - start
        sizes = f"{in_words(photo_size)}, predicted at {in_words(size)}"
        print(f"a photo of {sizes}: {seconds:.1f} s", flush=True)
        return {
            "size": photo_size,
            "predicted_at": size,
            "seconds": seconds,
            "compiled": len(self._first.shapes) > compiled,
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
