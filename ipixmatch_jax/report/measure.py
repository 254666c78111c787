"""What the networks of a run see: counts over validation images, pictures, and relations."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from ipixmatch_jax import build
from ipixmatch_jax.build import restore_networks
from ipixmatch_jax.config import with_run_statistics
from ipixmatch_jax.data import Dataset, displayable, eval_batches, load_dataset
from ipixmatch_jax.engine.inference import predict_logits
from ipixmatch_jax.engine.metrics import ConfusionMatrix, class_iou
from ipixmatch_jax.engine.state import NETWORKS
from ipixmatch_jax.methods import Network
from ipixmatch_jax.predictor import Prediction, Predictor
from ipixmatch_jax.report.intervals import calibration
from ipixmatch_jax.report.runs import Run
from ipixmatch_jax.viz.drawing import colored, data_address, error_map
from ipixmatch_jax.web.explorer import GRID, as_base64, centers, grid_size, packed
from ipixmatch_jax.workdir.folder import checkpoints_folder

# Bins of confidence: fine enough for thresholds, and 15 of the reliability diagram.
BINS = 60
MOST_IMAGES = 500
_EXTREMES = 4
_EXPLORED = 5
_PSEUDO = 4
# Of the probabilities in the page, before base64; more classes are explored on fewer images.
_MOST_BYTES = 3_000_000
_SIDE = 320


@dataclasses.dataclass(frozen=True)
class Counts:
    """Of one network over the measured images.

    Attributes:
        confusion: int64 [C, C], by true and predicted class.
        bins: float64 [BINS, 3], pixels, right ones and sum of confidences by confidence.
        images: int64 [n, 3, C], of each image the right, true and predicted pixels of a class.
    """

    confusion: np.ndarray
    bins: np.ndarray
    images: np.ndarray


@dataclasses.dataclass(frozen=True)
class MeasuredRun:
    """A run looked at: `counts` by network, and `page`, what the page shows of it."""

    counts: dict[str, Counts]
    page: dict[str, Any]


def measure_run(run: Run, checkpoint: str = "latest") -> MeasuredRun:
    """Looks at a checkpoint of a run on up to MOST_IMAGES validation images, spread evenly.

    Raises:
        DataError: the images are not at hand.
        CheckpointError: there is no such checkpoint.
    """
    config = with_run_statistics(run.config, run.workdir)
    dataset = load_dataset(config.data, config.seed)
    model, parallel = build.build_model(config), build.build_parallel(config)
    step, networks = restore_networks(config, run.workdir, model, parallel, checkpoint, NETWORKS)
    networks = {name: jax.device_get(variables) for name, variables in networks.items()}
    chosen = _spread(len(dataset.val), MOST_IMAGES)
    counts = _count(config, model, networks, _Subset(dataset.val, chosen))

    look = Predictor(config, model, networks["teacher"], workdir=run.workdir, tile_above=0)
    best_network = config.best_network
    ranked = _ranked(counts[best_network].images)
    few = min(_EXTREMES, len(ranked) // 2) or 1
    judge = look.of(networks[best_network], step, best_network)
    pick = {"worst": ranked[:few], "best": ranked[::-1][:few]}
    page = {
        "step": step,
        "images": len(chosen),
        "of": len(dataset.val),
        "network": best_network,
        "confidence": float(build.build_method(config).confidence),
        "confusion": {name: c.confusion.tolist() for name, c in counts.items()},
        "calibration": {name: calibration(c.bins) for name, c in counts.items()},
        **{
            kind: [_judged(judge, dataset, int(chosen[at]), miou) for at, miou in found]
            for kind, found in pick.items()
        },
        "pseudo": _pseudo_labels(run, config, model, look, dataset),
        "explorer": _explored(look, networks, step, dataset, chosen),
    }
    return MeasuredRun(counts, page)


class _Subset:
    """Some records of a source."""

    def __init__(self, source: Any, positions: np.ndarray):
        self._source, self._positions = source, [int(p) for p in positions]
        self.ids = [source.ids[p] for p in self._positions]

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> Any:
        return self._source[self._positions[index]]

    def size(self, index: int) -> tuple[int, int]:
        return self._source.size(self._positions[index])


def _spread(total: int, most: int) -> np.ndarray:
    return np.linspace(0, total - 1, min(total, most)).round().astype(int)


def _count(config, model, networks: Mapping[str, Any], source: _Subset) -> dict[str, Counts]:
    classes = config.data.num_classes
    views, inference = build.build_views(config, model), build.build_inference(config, model)

    @jax.jit
    def look(variables, image, mask):
        logits = predict_logits(Network(model, **variables), views.weak(image), inference)
        predicted = logits.argmax(-1).astype(jnp.int32)
        confidence = jax.nn.softmax(logits).max(-1)

        def confusion(one, true):
            return ConfusionMatrix.from_predictions(one[None], true[None], classes).counts

        return jax.vmap(confusion)(predicted, mask), bin_counts(predicted, mask, confidence)

    empty = np.zeros((classes, classes), np.int64)
    totals = {name: (empty.copy(), np.zeros((BINS, 3))) for name in networks}
    images = {name: np.zeros((len(source), 3, classes), np.int64) for name in networks}
    for batch in eval_batches(source, batch_size=config.eval_batch_size):
        rows = batch["index"] >= 0
        mask = batch["mask"].astype(np.int32)
        # Other ids than 255 do not occur; those of padding rows are 255.
        for name, variables in networks.items():
            confusion, bins = jax.device_get(look(variables, batch["image"], mask))
            confusion = confusion[rows].astype(np.int64)
            totals[name][0][...] += confusion.sum(0)
            totals[name][1][...] += bins
            parts = (np.einsum("ncc->nc", confusion), confusion.sum(2), confusion.sum(1))
            images[name][batch["index"][rows]] = np.stack(parts, 1)
    return {name: Counts(*totals[name], images[name]) for name in networks}


def bin_counts(predicted: jax.Array, mask: jax.Array, confidence: jax.Array) -> jax.Array:
    """Pixels, right pixels and sum of confidences by confidence: float32 [BINS, 3].

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
    """(position, mean IoU over the classes that occur) of each image, the worst first."""
    scores = []
    for position, (right, true, predicted) in enumerate(images):
        union = true + predicted - right
        if true.any():
            present = union > 0
            scores.append((position, float((right[present] / union[present]).mean())))
    return sorted(scores, key=lambda pair: pair[1])


def _look(predict: Predictor, image: np.ndarray) -> Prediction:
    # Always with probabilities: one compile for a size, whatever is shown of it.
    return predict.look(image, probs=True)


def _judged(judge: Predictor, dataset: Dataset, index: int, miou: float) -> dict[str, Any]:
    record = dataset.val[index]
    image, mask = record["image"], record["mask"]
    predicted = _look(judge, image).mask
    return {
        "id": str(record["id"]),
        "miou": miou,
        "photo": picture(displayable(image), "JPEG"),
        "truth": picture(colored(mask, dataset.palette)),
        "prediction": picture(colored(predicted, dataset.palette)),
        "errors": picture(error_map(image, predicted, mask), "JPEG"),
    }


def _pseudo_labels(run: Run, config, model, look: Predictor, dataset: Dataset) -> dict[str, Any]:
    """The teacher's labels of a few unlabeled images at every checkpoint that is kept."""
    if not len(dataset.unlabeled) or config.method.name == "supervised":
        return {"steps": [], "images": []}
    confidence = build.build_method(config).confidence
    parallel = build.build_parallel(config)
    folder = checkpoints_folder(run.workdir)
    steps = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    records = [dataset.unlabeled[int(i)] for i in _spread(len(dataset.unlabeled), _PSEUDO)]
    images: list[dict[str, Any]] = [
        {"id": str(r["id"]), "photo": picture(displayable(r["image"]), "JPEG"), "labels": []}
        for r in records
    ]
    for step in steps:
        name = ("teacher",)
        _, found = restore_networks(config, run.workdir, model, parallel, str(step), name)
        teacher = look.of(jax.device_get(found["teacher"]), step, "teacher")
        for record, image in zip(records, images, strict=True):
            seen = _look(teacher, record["image"])
            sure = seen.confidence >= confidence
            colors = colored(seen.mask, dataset.palette)
            colors = np.where(sure[..., None], colors, np.uint8(colors // 5 + 190))
            image["labels"].append({"picture": picture(colors), "share": float(sure.mean())})
    return {"steps": steps, "images": images}


def _explored(
    look: Predictor, networks: Mapping[str, Any], step: int, dataset: Dataset, chosen: np.ndarray
) -> list[dict[str, Any]]:
    classes = len(dataset.class_names)
    count = int(np.clip(_MOST_BYTES // (2 * GRID * GRID * classes), 1, _EXPLORED))
    explored = []
    for at in _spread(len(chosen), count):
        record = dataset.val[int(chosen[at])]
        image, mask = record["image"], record["mask"]
        size = grid_size(image.shape[:2])
        rows, columns = (centers(*axis) for axis in zip(size, mask.shape, strict=True))
        probs = {
            name: packed(_look(look.of(networks[name], step, name), image).probs, size)
            for name in NETWORKS
        }
        explored.append(
            {
                "id": str(record["id"]),
                "height": size[0],
                "width": size[1],
                "photo": picture(displayable(image), "JPEG"),
                "truth": as_base64(mask[rows][:, columns]),
                **probs,
            }
        )
    return explored


def picture(image: np.ndarray, kind: str = "PNG") -> str:
    """An image uint8 [H, W, 3] as a data address, its longer side at most 320 pixels.

    Class maps keep their colours exactly (PNG, the nearest pixel); photos are JPEG files.
    """
    found = Image.fromarray(np.ascontiguousarray(image))
    if max(found.size) > _SIDE:
        how = Image.Resampling.NEAREST if kind == "PNG" else Image.Resampling.LANCZOS
        found.thumbnail((_SIDE, _SIDE), how)
    options = {"quality": 88} if kind == "JPEG" else {"optimize": True}
    return data_address(found, kind, **options)


def class_scores(counts: Counts) -> list[float | None]:
    """IoU of every class over the measured images; None for absent ones."""
    return [None if np.isnan(v) else float(v) for v in class_iou(counts.confusion)]
