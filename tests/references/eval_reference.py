"""Evaluation in plain NumPy, of a small model, for the tests of the real one."""

from typing import Any

import flax.linen as nn
import numpy as np

from ipixmatch_jax.models.extent import mean_of_image
from ipixmatch_jax.models.layers import convolution

CLASSES = 4


class Toy(nn.Module):
    """A toy model: a convolution that sees the border, and the mean of the whole input image.

    `seen` collects the shape of every image that it is traced with. With a `frame_multiple` it
    heeds the `extent` of images in a frame.
    """

    seen: Any = ()
    size_multiple: int = 1
    frame_multiple: int = 0
    extent: Any = None
    input_mean: tuple[float, ...] = (0.5, 0.4, 0.3)
    input_std: tuple[float, ...] = (0.2, 0.25, 0.3)

    @nn.compact
    def __call__(self, images, train=False):
        if any(side % self.size_multiple for side in images.shape[1:3]):
            raise ValueError(f"{images.shape} is no multiple of {self.size_multiple}")
        if isinstance(self.seen, Shapes):
            self.seen.shapes.append(images.shape)
        sides = () if self.extent is None else images.shape[1:3]
        if any(side % self.frame_multiple for side in sides):
            raise ValueError(f"{images.shape} is no frame")
        local = nn.Conv(
            CLASSES,
            (3, 3),
            name="local",
            precision="highest",
            conv_general_dilated=convolution(self.extent),
        )(images)
        pooled = mean_of_image(images, self.extent)
        return local + nn.Dense(CLASSES, name="pooled", precision="highest")(pooled)

    def within(self, extent):
        return self.clone(extent=extent)


class Shapes:
    """Hashed by identity, as a field of a module must be."""

    def __init__(self):
        self.shapes = []


def toy_variables(seed: int = 0, absent: bool = False) -> dict[str, Any]:
    """Its weights; with `absent` it never predicts the last class."""
    rng = np.random.default_rng(seed)
    bias = np.zeros(CLASSES, np.float32)
    bias[-1] = -1e3 if absent else 0
    params = {
        "local": {
            "kernel": rng.normal(0, 0.5, (3, 3, 3, CLASSES)).astype(np.float32),
            "bias": bias,
        },
        "pooled": {
            "kernel": rng.normal(0, 2, (3, CLASSES)).astype(np.float32),
            "bias": np.zeros(CLASSES, np.float32),
        },
    }
    return {"params": params, "batch_stats": {}}


def as_network(variables, model: Toy | None = None):
    from ipixmatch_jax.methods import Network

    return Network(model or Toy(), **variables)


def normalized(image: np.ndarray) -> np.ndarray:
    """uint8 [H,W,3] → float64 as the toy expects it."""
    return (image / 255.0 - np.array(Toy.input_mean)) / np.array(Toy.input_std)


def toy_logits(variables, image: np.ndarray) -> np.ndarray:
    """Logits [H,W,C] of one image [H,W,3], by loops over the kernel."""
    params = variables["params"]
    height, width = image.shape[:2]
    padded = np.pad(image.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    logits = np.zeros((height, width, CLASSES)) + params["local"]["bias"]
    for i in range(3):
        for j in range(3):
            patch = padded[i : i + height, j : j + width]
            logits += patch @ params["local"]["kernel"][i, j].astype(np.float64)
    return logits + image.mean((0, 1)) @ params["pooled"]["kernel"].astype(np.float64)


def softmax(logits: np.ndarray) -> np.ndarray:
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear with aligned corners, one axis after the other, by `np.interp`."""
    for axis, length in enumerate(size):
        old = image.shape[axis]
        at = np.linspace(0, old - 1, length) if length > 1 else np.zeros(1)
        image = np.apply_along_axis(lambda line: np.interp(at, np.arange(old), line), axis, image)  # noqa: B023
    return image


def sliding_clipped(variables, image: np.ndarray, window: int) -> np.ndarray:
    """Sums of probabilities as in UniMatch's first version."""
    height, width = image.shape[:2]
    total = np.zeros((height, width, CLASSES))
    row = 0
    while row < height:
        column = 0
        while column < width:
            bottom, right = min(height, row + window), min(width, column + window)
            crop = image[row:bottom, column:right]
            total[row:bottom, column:right] += softmax(toy_logits(variables, crop))
            column += int(window * 2 / 3)
        row += int(window * 2 / 3)
    return total


def sliding_shifted(variables, image: np.ndarray, window: int) -> np.ndarray:
    """Sums of probabilities as in UniMatch's second version: full windows only."""
    height, width = image.shape[:2]
    total = np.zeros((height, width, CLASSES))
    row = 0
    while True:
        column = 0
        while True:
            where = np.s_[row : row + window, column : column + window]
            total[where] += softmax(toy_logits(variables, image[where]))
            if column == width - window:
                break
            column = min(column + int(window * 2 / 3), width - window)
        if row == height - window:
            break
        row = min(row + int(window * 2 / 3), height - window)
    return total


def confusion(predicted: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Pixel counts by true and predicted class."""
    counts = np.zeros((CLASSES, CLASSES), np.int64)
    for t, p in zip(mask.ravel(), predicted.ravel(), strict=True):
        if t < CLASSES:
            counts[t, p] += 1
    return counts


def eroded(region: np.ndarray, times: int) -> np.ndarray:
    """A binary mask after erosions by a 3 x 3 square, with nothing around the image."""
    for _ in range(times):
        padded = np.pad(region, 1)
        parts = [
            padded[i : i + region.shape[0], j : j + region.shape[1]]
            for i in range(3)
            for j in range(3)
        ]
        region = np.logical_and.reduce(parts)
    return region


def boundary_counts(predicted: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """For every class, the pixels in both boundary regions, and in at least one of them; [2,C].

    As Cheng et al. (2103.16562): a mask less its erosion by 2 % of the diagonal. Pixels without a
    true class belong to every mask while it is eroded, and are not counted.
    """
    times = max(1, round(0.02 * np.hypot(*mask.shape)))
    unknown = mask >= CLASSES
    counts = np.zeros((2, CLASSES), np.int64)
    for c in range(CLASSES):
        near = []
        for ids in (mask, predicted):
            region = (ids == c) | unknown
            near.append(region & ~eroded(region, times) & ~unknown)
        counts[0, c] = (near[0] & near[1]).sum()
        counts[1, c] = (near[0] | near[1]).sum()
    return counts
