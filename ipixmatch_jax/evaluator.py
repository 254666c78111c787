"""Evaluates networks on whole images; training and `--mode eval` share this code."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax import build
from ipixmatch_jax.data import (
    Dataset,
    Source,
    content_hashes,
    eval_batches,
    size_groups,
)
from ipixmatch_jax.devices.parallel import Parallel
from ipixmatch_jax.devices.processes import is_first
from ipixmatch_jax.devices.run_ahead import RunAhead
from ipixmatch_jax.engine.boundaries import true_sizes
from ipixmatch_jax.engine.eval_step import make_eval_step
from ipixmatch_jax.engine.frames import framed, why_not_framed
from ipixmatch_jax.engine.metrics import CONFIDENCE_BINS, PixelCounts, summary, table
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import as_path, is_remote
from ipixmatch_jax.screen import say
from ipixmatch_jax.tracking.histograms import Histogram
from ipixmatch_jax.tracking.progress import counted
from ipixmatch_jax.viz.validation_images import ValidationImages
from ipixmatch_jax.workdir.evaluations import ids_sha256

# Device counts are 32 bit; they are moved to 64 bit on the host before they can overflow.
_FLUSH_PIXELS = 2**30


class Evaluator:
    """Evaluates networks on `dataset.val`, as `config.eval` says; every image counts once.

    A batch holds images of one size, or images of several sizes in a frame; see `framed`. Its
    length is `eval_batch_size`, rounded up to a multiple of the number of devices. Rows without an
    image are not counted.
    """

    def __init__(self, config: ConfigDict, dataset: Dataset, model, parallel: Parallel):
        self._classes = config.data.num_classes
        self._data = config.data
        self._dataset = dataset
        self._parallel = parallel
        self._absent = config.eval.absent
        devices = len(parallel.devices)
        self._batch_size = -(-config.eval_batch_size // devices) * devices
        self._inference = build.build_inference(config, model)
        method = build.build_method(config)
        self._labeler, self._confidence = method.labeling_network, float(method.confidence)
        self.validation_images = ValidationImages(dataset, config.tracking.images)
        views, show = build.build_views(config, model), self.validation_images.per_device(devices)
        self._step = parallel.distribute(
            make_eval_step(model, views, self._classes, self._inference, self._confidence, show)
        )
        self._content: dict[str, str] | None = None
        self._groups: dict[tuple[int, int], list[int]] | None = None
        self._framed = False
        self._bins: dict[str, np.ndarray] = {}

    def __call__(self, networks: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Evaluates networks: name → `summary`, with `pseudo_label` for the one that labels.

        Args:
            networks: name → `{'params', 'batch_stats'}` as replicated arrays.

        Raises:
            DataError: a file cannot be read, or all mask pixels are ignored.
        """
        if self._groups is None:
            sizes = size_groups(self._dataset.val)
            self._groups, self._framed = framed(sizes, self._inference)
            self._announce(len(sizes))
        totals = {name: self._empty_total() for name in networks}
        counts, pixels = self._empty(networks), 0
        batches = eval_batches(
            self._dataset.val,
            batch_size=self._batch_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            groups=self._groups,
        )
        count = sum(-(-len(group) // self._batch_size) for group in self._groups.values())
        batches, ahead = counted(batches, count, "evaluation", "batches"), RunAhead()
        shown_batches = self.validation_images.begin(count, len(self._parallel.devices))
        for number, batch in enumerate(batches):
            size = batch["mask"].size * jax.process_count()
            if pixels + size > _FLUSH_PIXELS:
                self._flush(totals, counts)
                counts, pixels = self._empty(networks), 0
            pixels += size
            arrays = {key: batch[key] for key in ("image", "mask")}
            arrays["index"] = batch["index"].astype(np.int32)
            if self._framed:
                arrays["true"] = true_sizes(map(tuple, batch["size"].tolist()))
            counts, shown = self._step(networks, counts, self._parallel.put_batch(arrays))
            ahead(counts)
            if number in shown_batches:
                self.validation_images.add(shown)
        self._flush(totals, counts)
        if not all(total.confusion.counts.any() for total in totals.values()):
            raise DataError(
                f"the {len(self._dataset.val)} validation masks hold only ignored pixels "
                "(255); expected class ids; see data.val"
            )
        self._bins = {name: total.confidence.bins for name, total in totals.items()}
        return {name: self._summary(name, total) for name, total in totals.items()}

    def confidences(self) -> dict[str, Histogram]:
        """`confidence/NETWORK` → histogram of the confidence of the last evaluation's pixels."""
        edges = np.linspace(0, 1, CONFIDENCE_BINS + 1)
        return {f"confidence/{name}": (counts, edges) for name, counts in self._bins.items()}

    def about(self) -> dict[str, dict[str, Any]]:
        """Settings of the evaluation (`eval`) and its data (`data`), for the files of results."""
        if self._content is None:
            self._content = content_sha256(self._dataset.val)
        return {
            "eval": {"mode": self._inference.name, "absent": self._absent},
            "data": {
                "name": self._data.name,
                "root": _whole_path(self._data.root),
                "image_size": list(self._data.image_size),
                "images": len(self._dataset.val),
                "ids_sha256": ids_sha256(self._dataset.val.ids),
                **self._content,
            },
        }

    def table(self, results: Mapping[str, Any]) -> str:
        """The results as a table to print."""
        return table(results, self._absent)

    def _announce(self, count: int) -> None:
        """Prints the number of image sizes, and of the programs that are compiled for them."""
        sizes = sizes_in_words(count, len(self._groups))
        if self._framed:
            sizes += f": {', '.join(f'{height} x {width}' for height, width in self._groups)}"
        elif 0 < self._inference.shapes < count:
            reason = why_not_framed(self._inference, self._groups)
            sizes += f", because {reason}; see docs/evaluation.md"
        if is_first():
            images = f"{len(self._dataset.val)} images of {sizes}"
            say(f"evaluation ({self._inference.name}): {images}")

    def _summary(self, name: str, total: PixelCounts) -> dict[str, Any]:
        result = summary(
            total.confusion.counts,
            self._dataset.class_names,
            boundary_iou=total.boundary.compute(),
            absent=self._absent,
        )
        if total.not_finite():
            result["not_finite"] = total.not_finite()
        if name == self._labeler:
            names = self._dataset.class_names
            result["pseudo_label"] = total.confidence.pseudo_labels(self._confidence, names)
        return result

    def _empty(self, networks: Mapping[str, Any]) -> dict[str, PixelCounts]:
        return self._parallel.replicate({n: PixelCounts.empty(self._classes) for n in networks})

    def _empty_total(self) -> PixelCounts:
        shapes = jax.eval_shape(lambda: PixelCounts.empty(self._classes))
        return jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.int64), shapes)

    def _flush(self, totals: dict[str, PixelCounts], counts: Mapping[str, Any]) -> None:
        for name, new in counts.items():
            totals[name] = jax.tree.map(lambda x, y: x + np.asarray(y), totals[name], new)


def sizes_in_words(count: int, shapes: int) -> str:
    """The number of image sizes, and of the shapes that are compiled for them."""
    if shapes < count:
        return f"{count} sizes in {shapes} frames, each compiled once"
    return "one size, compiled once" if count == 1 else f"{count} sizes, each compiled once"


def content_sha256(source: Source) -> dict[str, str]:
    """`content_sha256`, a hash of all files of a split whatever their order, if that is cheap."""
    hashes = content_hashes(source)
    return {} if hashes is None else {"content_sha256": ids_sha256(hashes)}


def _whole_path(root: str) -> str:
    """The path of a folder from the root of the file system: it names one place from anywhere."""
    if not root or is_remote(root):
        return root
    return str(as_path(root).expanduser().absolute())


class ForegroundWatch:
    """Warns when several evaluations in a row find at most one class."""

    def __init__(self):
        self._in_a_row = 0

    def __call__(self, results: Mapping[str, Any]) -> str:
        """Returns a warning from the second such evaluation on; otherwise ""."""
        found = [sum(bool(iou) for iou in r["iou"].values()) for r in results.values()]
        self._in_a_row = self._in_a_row + 1 if max(found) <= 1 else 0
        if self._in_a_row < 2:
            return ""
        return (
            f"warning: {self._in_a_row} evaluations in a row found at most one class. Try "
            "supervised.weighting=inverse_frequency or supervised.dice_weight=1 (small objects), a "
            "lower method.confidence or method.threshold=class_adaptive, a later method.ramp_start,"
            " or another optimizer.learning_rate; --mode inspect counts the labels"
        )
