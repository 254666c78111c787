"""Segmentation metrics: a confusion matrix on the device, mIoU and a table on the host."""

from collections.abc import Sequence
from typing import Any

import clu.metrics
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np


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

        # A product of one-hot maps: exact in float32 up to 2^24 pixels an image, and no scatter.
        def count(one_predicted, one_mask):
            rows = jax.nn.one_hot(one_mask.reshape(-1), num_classes, dtype=jnp.float32)
            columns = jax.nn.one_hot(one_predicted.reshape(-1), num_classes, dtype=jnp.float32)
            return jnp.einsum("nr,nc->rc", rows, columns).astype(jnp.int32)

        return cls(jax.vmap(count)(predicted, mask).sum(0))

    def merge(self, other: "ConfusionMatrix") -> "ConfusionMatrix":
        return ConfusionMatrix(self.counts + other.counts)

    def compute(self) -> np.ndarray:
        """IoU of every class, float64 [C]; NaN where a class is neither true nor predicted."""
        return class_iou(np.asarray(self.counts))


def class_iou(counts: np.ndarray) -> np.ndarray:
    """Intersection over union from a confusion matrix [C, C]: float64 [C], NaN for absent ones."""
    counts = counts.astype(np.float64)
    intersection = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - intersection
    return np.divide(intersection, union, out=np.full(len(counts), np.nan), where=union > 0)


def summary(counts: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """`{'miou', 'accuracy', 'iou': {class: value}}` in [0, 1].

    mIoU is the mean over the classes that occur as truth or prediction; an absent class has IoU
    None. With no pixel counted, mIoU and accuracy are None.
    """
    iou = class_iou(counts)
    present = ~np.isnan(iou)
    total = counts.sum()
    return {
        "miou": float(iou[present].mean()) if present.any() else None,
        "accuracy": float(np.trace(counts) / total) if total else None,
        "iou": {
            name: None if np.isnan(value) else float(value)
            for name, value in zip(class_names, iou, strict=True)
        },
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """Per-class IoU in percent, a column for each network.

    Args:
        results: network name → `summary`.
    """
    names = list(next(iter(results.values()))["iou"])
    width = max(len("class"), *(len(name) for name in names))

    def row(label, values):
        cells = ("      –" if value is None else f"{100 * value:7.2f}" for value in values)
        return f"  {label:<{width}}  " + "   ".join(f"{cell:>8}" for cell in cells)

    head = f"  {'class':<{width}}  " + "   ".join(f"{name:>8}" for name in results)
    rule = "  " + "─" * (len(head) - 2)
    lines = [row(name, [result["iou"][name] for result in results.values()]) for name in names]
    last = [row("mIoU", [result["miou"] for result in results.values()])]
    return "\n".join([head, rule, *lines, rule, *last])
