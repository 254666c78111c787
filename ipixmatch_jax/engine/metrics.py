"""Segmentation metrics: counts of pixels on the device, mIoU and a table on the host."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import clu.metrics
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from ipixmatch_jax.engine.boundaries import BoundaryCounts, ratio
from ipixmatch_jax.engine.class_counts import class_counts, pair_counts
from ipixmatch_jax.losses import confidence_mask

CONFIDENCE_BINS = 20
_LONGEST_NAME = 50  # so that a table of two networks fits 80 columns
_MOST_LABELED = 4


@flax.struct.dataclass
class ConfusionMatrix(clu.metrics.Metric):
    """Pixel counts by true class (rows) and predicted class (columns).

    Attributes:
        counts: int32 [C, C].
    """

    counts: jax.Array

    @classmethod
    def empty(cls, num_classes: int) -> "ConfusionMatrix":
        return cls(jnp.zeros((num_classes, num_classes), jnp.int32))

    @classmethod
    def from_predictions(
        cls, predicted: jax.Array, mask: jax.Array, num_classes: int
    ) -> "ConfusionMatrix":
        """Counts every pixel whose true class is below `num_classes`.

        Args:
            predicted: int [B, H, W] class ids.
            mask: int [B, H, W] true class ids; others, as 255, are not counted.
        """
        return cls(pair_counts(mask, predicted, mask < num_classes, num_classes))

    def merge(self, other: "ConfusionMatrix") -> "ConfusionMatrix":
        return ConfusionMatrix(self.counts + other.counts)

    def compute(self) -> np.ndarray:
        """IoU of every class, float64 [C]; NaN where a class is neither true nor predicted."""
        return class_iou(np.asarray(self.counts))


@flax.struct.dataclass
class ConfidenceCounts(clu.metrics.Metric):
    """Pixels by a network's confidence, which tells how good its pseudo-labels would be.

    Attributes:
        bins: int32 [CONFIDENCE_BINS], pixels by confidence, in bins of equal width over [0, 1].
        kept: int32 [C], pixels whose confidence reaches the threshold of pseudo-labels, by the
            class that they are predicted as.
        right: int32 [C], the ones among them that are predicted correctly.
    """

    bins: jax.Array
    kept: jax.Array
    right: jax.Array

    @classmethod
    def empty(cls, num_classes: int) -> "ConfidenceCounts":
        none = jnp.zeros(num_classes, jnp.int32)
        return cls(jnp.zeros(CONFIDENCE_BINS, jnp.int32), none, none)

    @classmethod
    def from_logits(
        cls, logits: jax.Array, mask: jax.Array, num_classes: int, threshold: float
    ) -> "ConfidenceCounts":
        """Counts every pixel whose true class is below `num_classes`.

        Args:
            logits: [B, H, W, C].
            mask: int32 [B, H, W] true class ids; others, as 255, are not counted.
            threshold: the pseudo-label confidence threshold.
        """
        known = mask < num_classes
        confidence = jax.nn.softmax(logits.astype(jnp.float32), axis=-1).max(-1)
        kept = confidence_mask(logits, known, threshold) > 0
        # A confidence that is not finite reaches none, and -1 is not counted.
        reached = [confidence >= np.float32(i / CONFIDENCE_BINS) for i in range(CONFIDENCE_BINS)]
        bins = sum(edge.astype(jnp.int32) for edge in reached) - 1
        predicted = logits.argmax(-1).astype(jnp.int32)
        return cls(
            class_counts(bins, known, CONFIDENCE_BINS),
            class_counts(predicted, kept, num_classes),
            class_counts(predicted, kept & (predicted == mask), num_classes),
        )

    def merge(self, other: "ConfidenceCounts") -> "ConfidenceCounts":
        return jax.tree.map(jnp.add, self, other)

    def pseudo_labels(self, threshold: float, class_names: Sequence[str]) -> dict[str, Any]:
        """Share and accuracy of the pseudo-labels at the threshold that was counted.

        Returns:
            `confidence`, the threshold; the `share` of the pixels that reach it; the `accuracy`
            among them, None if there are none; and `classes`, name → `share` and `accuracy` of the
            labels of that class.
        """
        pixels = int(np.sum(self.bins))

        def told(kept: Any, right: Any) -> dict[str, float | None]:
            return {
                "share": int(kept) / pixels if pixels else None,
                "accuracy": int(right) / int(kept) if kept else None,
            }

        by_class = zip(class_names, self.kept, self.right, strict=True)
        return {
            "confidence": threshold,
            **told(np.sum(self.kept), np.sum(self.right)),
            "classes": {name: told(kept, right) for name, kept, right in by_class},
        }


@flax.struct.dataclass
class PixelCounts(clu.metrics.Metric):
    """All counts of an evaluation.

    Attributes:
        confusion: pixels by true and predicted class.
        boundary: pixels near boundaries.
        confidence: pixels by confidence.
    """

    confusion: ConfusionMatrix
    boundary: BoundaryCounts
    confidence: ConfidenceCounts

    @classmethod
    def empty(cls, num_classes: int) -> "PixelCounts":
        return cls(
            ConfusionMatrix.empty(num_classes),
            BoundaryCounts.empty(num_classes),
            ConfidenceCounts.empty(num_classes),
        )

    @classmethod
    def from_logits(
        cls,
        logits: jax.Array,
        mask: jax.Array,
        num_classes: int,
        threshold: float,
        true: jax.Array | None = None,
    ) -> "PixelCounts":
        """Counts of all parts, of logits [B, H, W, C] and int32 [B, H, W] true class ids.

        `true` are the `true_sizes` of images in a frame, with mask 255 beside them. A pixel with
        logits that are not finite counts as wrong; the bins of confidence lack it.
        """
        predicted = logits.argmax(-1).astype(jnp.int32)
        # argmax of NaN is class 0: a network that has diverged would look like one of background.
        finite = jnp.isfinite(logits.max(-1))
        predicted = jnp.where(finite, predicted, (mask + 1) % num_classes)
        return cls(
            ConfusionMatrix.from_predictions(predicted, mask, num_classes),
            BoundaryCounts.from_predictions(predicted, mask, num_classes, true),
            ConfidenceCounts.from_logits(logits, mask, num_classes, threshold),
        )

    def not_finite(self) -> float:
        """The share of the counted pixels whose logits were not finite."""
        pixels = int(np.sum(self.confusion.counts))
        return 1 - int(np.sum(self.confidence.bins)) / pixels if pixels else 0.0

    def merge(self, other: "PixelCounts") -> "PixelCounts":
        return jax.tree.map(jnp.add, self, other)


def class_iou(counts: np.ndarray) -> np.ndarray:
    """Intersection over union from a confusion matrix [C, C]: float64 [C], NaN for absent ones."""
    counts = counts.astype(np.float64)
    intersection = np.diag(counts)
    return ratio(intersection, counts.sum(0) + counts.sum(1) - intersection)


def class_dice(counts: np.ndarray) -> np.ndarray:
    """Dice coefficient 2I / (true + predicted) from a confusion matrix, as `class_iou`."""
    counts = counts.astype(np.float64)
    return ratio(2 * np.diag(counts), counts.sum(0) + counts.sum(1))


def summary(
    counts: np.ndarray,
    class_names: Sequence[str],
    *,
    boundary_iou: np.ndarray | None = None,
    absent: str = "skip",
) -> dict[str, Any]:
    """`miou`, `accuracy`, `iou` and the like, in [0, 1], from a confusion matrix [C, C].

    A class that occurs neither as truth nor as prediction has IoU None. By `absent='skip'` it is
    left out of means; by `'zero'` it counts 0 there, as in the code of the UniMatch family. With
    no pixel counted, every mean is None.

    Args:
        boundary_iou: float64 [C], NaN for absent classes.

    Returns:
        `{'miou', 'accuracy', 'iou': {class: value}, 'mean_dice', 'dice': {…}}`, and with
        `boundary_iou` also `'boundary_miou'` and `'boundary_iou': {…}`.
    """
    total = counts.sum()
    named = {"miou": ("iou", class_iou(counts)), "mean_dice": ("dice", class_dice(counts))}
    if boundary_iou is not None:
        named["boundary_miou"] = ("boundary_iou", boundary_iou)
    result: dict[str, Any] = {}
    for mean, (name, values) in named.items():
        result[mean] = _mean(values, absent)
        result[name] = {
            label: None if np.isnan(value) else float(value)
            for label, value in zip(class_names, values, strict=True)
        }
    result["accuracy"] = float(np.trace(counts) / total) if total else None
    return result


def _mean(values: np.ndarray, absent: str) -> float | None:
    present = ~np.isnan(values)
    if not present.any():
        return None
    return float(np.nansum(values) / (len(values) if absent == "zero" else present.sum()))


def table(results: dict[str, dict[str, Any]], absent: str = "skip") -> str:
    """Per-class IoU and the means in percent, a column for each network.

    Args:
        results: network name → `summary`.
        absent: as in `summary`; the table says so if there are such classes.
    """
    names = list(next(iter(results.values()))["iou"])
    means = {"mIoU": "miou", "boundary mIoU": "boundary_miou", "mean Dice": "mean_dice"}
    width = min(_LONGEST_NAME, max(len(name) for name in ("class", *means, *names)))

    def row(label, values):
        label = label if len(label) <= width else f"{label[: width - 1]}…"
        cells = ("      –" if value is None else f"{100 * value:7.2f}" for value in values)
        return f"  {label:<{width}}  " + "   ".join(f"{cell:>8}" for cell in cells)

    head = f"  {'class':<{width}}  " + "   ".join(f"{name:>8}" for name in results)
    rule = "  " + "─" * (len(head) - 2)
    lines = [row(name, [result["iou"][name] for result in results.values()]) for name in names]
    last = [row(n, [result.get(key) for result in results.values()]) for n, key in means.items()]
    if any(value is None for result in results.values() for value in result["iou"].values()):
        counted = "is left out of the means" if absent == "skip" else "counts 0 in the means"
        last.append(f"  –: neither true nor predicted; {counted} (eval.absent={absent})")
    for name, result in results.items():
        last += _labels_lines(name, result["pseudo_label"]) if "pseudo_label" in result else []
        last += _not_finite_lines(name, result.get("not_finite", 0.0))
    return "\n".join([head, rule, *lines, rule, *last])


def _not_finite_lines(network: str, share: float) -> list[str]:
    if not share:
        return []
    text = (
        f"warning: for {100 * share:.3g} % of the pixels the {network}'s output is not a number, "
        "and they count as wrong: the network has diverged, and the run does not recover from "
        "that. Train again in another workdir with a lower optimizer.learning_rate or with "
        "optimizer.clip_norm=1; an earlier --checkpoint may still be whole"
    )
    return textwrap.wrap(text, 78, initial_indent="  ", subsequent_indent="    ")


def _labels_lines(network: str, labels: Mapping[str, Any]) -> list[str]:
    """Pseudo-labels in total and, because those of one class alone teach little, by class."""

    def percent(value):
        return "–" if value is None else f"{100 * value:.2f} %"

    lines = [
        f"  the {network}'s labels of confidence ≥ {labels['confidence']:g}: "
        f"{percent(labels['share'])} of the pixels, {percent(labels['accuracy'])} of them right"
    ]
    classes = labels.get("classes", {})
    shares = {name: one["share"] for name, one in classes.items() if one["share"]}
    most = sorted(shares, key=shares.get, reverse=True)
    if not most:
        return lines
    parts = [f"{n} {percent(shares[n])}" for n in most[:_MOST_LABELED]]
    parts += [f"{len(most) - len(parts)} more"] * (len(most) > len(parts))
    none = [name for name in classes if name not in most]
    if none:
        named = ", ".join(none[:_MOST_LABELED]) + ", …" * (len(none) > _MOST_LABELED)
        parts.append(f"none for {len(none)} of {len(classes)} classes ({named})")
    text = "by class: " + "; ".join(parts)
    return lines + textwrap.wrap(text, 78, initial_indent="    ", subsequent_indent="      ")


# Names of an evaluation's mIoU among the metrics begin with this.
MIOU = "miou_"


def scores(results: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """The numbers of an evaluation that are plotted over the steps.

    Args:
        results: network name → `summary`, with `pseudo_label` for the network that labels.
    """
    named = {f"{MIOU}{name}": result["miou"] for name, result in results.items()}
    for result in results.values():
        for key in ("share", "accuracy") if "pseudo_label" in result else ():
            named[f"pseudo_label_{key}"] = result["pseudo_label"][key]
    return named
