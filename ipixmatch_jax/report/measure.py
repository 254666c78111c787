"""Evaluates a run for the report: pixel counts, example images, pseudo-labels and relations."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ipixmatch_jax import build
from ipixmatch_jax.build import restore_networks
from ipixmatch_jax.config import with_run_values
from ipixmatch_jax.data import Dataset, displayable, eval_batches, load_dataset, size_groups
from ipixmatch_jax.engine.frames import framed, framed_logits
from ipixmatch_jax.engine.inference import predict_logits
from ipixmatch_jax.engine.metrics import ConfusionMatrix
from ipixmatch_jax.engine.state import NETWORKS
from ipixmatch_jax.methods import Network
from ipixmatch_jax.predictor import Prediction, Predictor
from ipixmatch_jax.report.intervals import calibration
from ipixmatch_jax.report.runs import Run
from ipixmatch_jax.run.images import own_validation
from ipixmatch_jax.screen import say
from ipixmatch_jax.tracking.progress import counted
from ipixmatch_jax.trained_model import with_known_method
from ipixmatch_jax.viz.drawing import colored, error_map
from ipixmatch_jax.web.explorer import GRID, as_base64, centers, grid_size, packed
from ipixmatch_jax.web.images import thumbnail
from ipixmatch_jax.workdir.folder import checkpoints_folder

# Bins of confidence: fine enough for thresholds, and a multiple of the 15 in the diagram.
BINS = 60
MOST_IMAGES = 500
_EXTREMES = 4
_EXPLORED = 5
_PSEUDO = 4
# Limit for the probabilities in the page before base64: more classes, fewer images.
_MOST_BYTES = 3_000_000
_SIDE = 320


@dataclasses.dataclass(frozen=True)
class Counts:
    """Pixel counts of one network over the measured images.

    Attributes:
        confusion: pixels by true and predicted class, int64 [C, C].
        bins: pixels, correct pixels and sum of confidences by confidence, float64 [BINS, 3].
        images: correct, true and predicted pixels of each class in each image, int64 [n, 3, C].
        labels: like `confusion`, only pixels that the threshold would make pseudo-labels.
    """

    confusion: np.ndarray
    bins: np.ndarray
    images: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class MeasuredRun:
    """Measurements of a run: `counts` by network, and `page`, its part of the page as JSON."""

    counts: dict[str, Counts]
    page: dict[str, Any]


def measure_run(run: Run, checkpoint: str = "latest") -> MeasuredRun:
    """Evaluates a checkpoint on up to MOST_IMAGES validation images, spread evenly over the list.

    Raises:
        DataError: the images are not available.
        CheckpointError: the run has no such checkpoint.
    """
    config = with_run_values(run.config, run.workdir)
    config = with_known_method(config, run.workdir, checkpoint)
    dataset = load_dataset(config.data, config.seed)
    dataset, notes, _ = own_validation(dataset, config, run.workdir)
    for note in notes:
        say(f"{run.name}: {note}")
    model, parallel = build.build_model(config), build.build_parallel(config)
    step, networks = restore_networks(config, run.workdir, model, parallel, checkpoint, NETWORKS)
    networks = {name: jax.device_get(variables) for name, variables in networks.items()}
    chosen = _evenly_spaced(len(dataset.val), MOST_IMAGES)
    threshold = float(build.build_method(config).confidence)
    counts = _count(config, model, networks, _Subset(dataset.val, chosen), threshold)

    teacher = Predictor(config, model, networks["teacher"], workdir=run.workdir, tile_above=0)
    best_network = config.best_network
    ranked = _ranked(counts[best_network].images)
    few = min(_EXTREMES, len(ranked) // 2) or 1
    judge = teacher.with_variables(networks[best_network], step, best_network)
    pick = {"worst": ranked[:few], "best": ranked[::-1][:few]}
    page = {
        "step": step,
        "images": len(chosen),
        "of": len(dataset.val),
        "network": best_network,
        "confidence": threshold,
        "uses_labels": config.method.name != "supervised",
        "confusion": {name: c.confusion.tolist() for name, c in counts.items()},
        "labels": {name: c.labels.tolist() for name, c in counts.items()},
        "calibration": {name: calibration(c.bins) for name, c in counts.items()},
        **{
            kind: [_judged(judge, dataset, int(chosen[at]), miou) for at, miou in found]
            for kind, found in pick.items()
        },
        "pseudo": _pseudo_labels(run, config, model, teacher, dataset, threshold),
        "explorer": _explored(teacher, networks, step, dataset, chosen),
    }
    return MeasuredRun(counts, page)


class _Subset:
    """A source with only some of the records."""

    def __init__(self, source: Any, positions: np.ndarray):
        self._source, self._positions = source, [int(p) for p in positions]
        self.ids = [source.ids[p] for p in self._positions]

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> Any:
        return self._source[self._positions[index]]

    def size(self, index: int) -> tuple[int, int]:
        return self._source.size(self._positions[index])


def _evenly_spaced(total: int, most: int) -> np.ndarray:
    return np.linspace(0, total - 1, min(total, most)).round().astype(int)


def _count(
    config: Any, model: Any, networks: Mapping[str, Any], source: _Subset, threshold: float
) -> dict[str, Counts]:
    classes = config.data.num_classes
    views, inference = build.build_views(config, model), build.build_inference(config, model)

    @jax.jit
    def count(variables, image, mask, sizes):
        network, images = Network(model, **variables), views.weak(image)
        if sizes is None:
            logits = predict_logits(network, images, inference)
        else:
            logits = framed_logits(network, images, inference, sizes)
        predicted = logits.argmax(-1).astype(jnp.int32)
        confidence = jax.nn.softmax(logits).max(-1)

        def confusion(one, true):
            return ConfusionMatrix.from_predictions(one[None], true[None], classes).counts

        kept = jnp.where(confidence >= threshold, mask, 255)
        labels = ConfusionMatrix.from_predictions(predicted, kept, classes).counts
        bins = bin_counts(predicted, mask, confidence)
        return jax.vmap(confusion)(predicted, mask), bins, labels

    empty = np.zeros((classes, classes), np.int64)
    totals = {name: (empty.copy(), np.zeros((BINS, 3)), empty.copy()) for name in networks}
    images = {name: np.zeros((len(source), 3, classes), np.int64) for name in networks}
    size = config.eval_batch_size
    groups, in_frames = framed(size_groups(source), inference)
    total = sum(-(-len(group) // size) for group in groups.values())
    batches = eval_batches(source, batch_size=size, groups=groups)
    for batch in counted(batches, total, "validation images", "batches"):
        rows = batch["index"] >= 0
        mask = batch["mask"].astype(np.int32)
        # Rows of padding hold 255 only.
        sizes = batch["size"].astype(np.int32) if in_frames else None
        for name, variables in networks.items():
            confusion, bins, labels = jax.device_get(count(variables, batch["image"], mask, sizes))
            confusion = confusion[rows].astype(np.int64)
            totals[name][0][...] += confusion.sum(0)
            totals[name][1][...] += bins
            totals[name][2][...] += labels
            parts = (np.einsum("ncc->nc", confusion), confusion.sum(2), confusion.sum(1))
            images[name][batch["index"][rows]] = np.stack(parts, 1)
    return {name: Counts(one[0], one[1], images[name], one[2]) for name, one in totals.items()}


def bin_counts(predicted: jax.Array, mask: jax.Array, confidence: jax.Array) -> jax.Array:
    """Pixels, correct pixels and sum of confidences by confidence: float32 [BINS, 3].

    Args:
        predicted: int32 [B, H, W] class ids.
        mask: int32 [B, H, W] true class ids; 255 is not counted.
        confidence: float32 [B, H, W] in [0, 1]; 1 falls into the last bin.
    """
    known = (mask != 255).astype(jnp.float32)
    right = known * (predicted == mask).astype(jnp.float32)
    values = jnp.stack([known, right, known * confidence], -1).reshape(-1, 3)
    index = jnp.clip((confidence * BINS).astype(jnp.int32), 0, BINS - 1).reshape(-1)
    return jax.ops.segment_sum(values, index, BINS)


def _ranked(images: np.ndarray) -> list[tuple[int, float]]:
    """(position, mean IoU over the classes that occur) of each image, worst first."""
    scores = []
    for position, (right, true, predicted) in enumerate(images):
        union = true + predicted - right
        if true.any():
            present = union > 0
            scores.append((position, float((right[present] / union[present]).mean())))
    return sorted(scores, key=lambda pair: pair[1])


def _predict(predictor: Predictor, image: np.ndarray) -> Prediction:
    # Always with probabilities, so that every size is compiled once only.
    return predictor.predict_record(image, probs=True)


def _judged(judge: Predictor, dataset: Dataset, index: int, miou: float) -> dict[str, Any]:
    record = dataset.val[index]
    image, mask = record["image"], record["mask"]
    predicted = _predict(judge, image).mask
    return {
        "id": str(record["id"]),
        "miou": miou,
        "photo": _photo(image),
        "truth": thumbnail(colored(mask, dataset.palette), _SIDE),
        "prediction": thumbnail(colored(predicted, dataset.palette), _SIDE),
        "errors": thumbnail(error_map(image, predicted, mask), _SIDE, "JPEG"),
    }


def _pseudo_labels(
    run: Run, config: Any, model: Any, predictor: Predictor, dataset: Dataset, threshold: float
) -> dict[str, Any]:
    """The teacher's labels for a few unlabeled images, at every checkpoint that was kept."""
    if not len(dataset.unlabeled) or config.method.name == "supervised":
        return {"steps": [], "images": []}
    parallel = build.build_parallel(config)
    folder = checkpoints_folder(run.workdir)
    steps = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    records = [dataset.unlabeled[int(i)] for i in _evenly_spaced(len(dataset.unlabeled), _PSEUDO)]
    images: list[dict[str, Any]] = [
        {"id": str(r["id"]), "photo": _photo(r["image"]), "labels": []} for r in records
    ]
    for step in counted(steps, len(steps), "pseudo-labels", "checkpoints"):
        name = ("teacher",)
        _, found = restore_networks(config, run.workdir, model, parallel, str(step), name)
        teacher = predictor.with_variables(jax.device_get(found["teacher"]), step, "teacher")
        for record, image in zip(records, images, strict=True):
            seen = _predict(teacher, record["image"])
            sure = seen.confidence >= threshold
            colors = colored(seen.mask, dataset.palette)
            colors = np.where(sure[..., None], colors, np.uint8(colors // 5 + 190))
            shown = thumbnail(colors, _SIDE)
            image["labels"].append({"image": shown, "share": float(sure.mean())})
    return {"steps": steps, "images": images}


def _photo(image: np.ndarray) -> dict[str, Any]:
    return thumbnail(displayable(image), _SIDE, "JPEG")


def _explored(
    predictor: Predictor,
    networks: Mapping[str, Any],
    step: int,
    dataset: Dataset,
    chosen: np.ndarray,
) -> list[dict[str, Any]]:
    classes = len(dataset.class_names)
    count = int(np.clip(_MOST_BYTES // (2 * GRID * GRID * classes), 1, _EXPLORED))
    both = {name: predictor.with_variables(networks[name], step, name) for name in NETWORKS}
    explored = []
    places = _evenly_spaced(len(chosen), count)
    for at in counted(places, len(places), "relations", "images"):
        record = dataset.val[int(chosen[at])]
        image, mask = record["image"], record["mask"]
        size = grid_size(image.shape[:2])
        rows, columns = (centers(*axis) for axis in zip(size, mask.shape, strict=True))
        probs = {name: packed(_predict(each, image).probs, size) for name, each in both.items()}
        explored.append(
            {
                "id": str(record["id"]),
                "height": size[0],
                "width": size[1],
                "photo": _photo(image)["src"],
                "truth": as_base64(mask[rows][:, columns]),
                **probs,
            }
        )
    return explored
