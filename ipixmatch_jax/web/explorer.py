"""The relation explorer's data: probabilities on a coarse grid, packed for a page."""

import base64

import numpy as np
from PIL import Image

GRID = 48


def grid_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the explorer's grid: at most 48 cells a side, none finer than a pixel."""
    shrink = min(1.0, GRID / max(size))
    return max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))


def centers(cells: int, pixels: int) -> np.ndarray:
    """The pixel in the middle of each cell along one axis, int64 [cells]."""
    return ((np.arange(cells) + 0.5) * pixels / cells).astype(int)


def packed(probs: np.ndarray, size: tuple[int, int]) -> str:
    """Probabilities [H, W, C] averaged over the cells of a grid, eight bits each, in base64.

    The order is row, column, class.
    """
    planes = [
        Image.fromarray(np.ascontiguousarray(probs[..., c], np.float32)).resize(
            size[::-1], Image.Resampling.BOX
        )
        for c in range(probs.shape[-1])
    ]
    cells = np.stack([np.asarray(plane) for plane in planes], -1)
    return as_base64((255 * cells).round().clip(0, 255).astype(np.uint8))


def as_base64(array: np.ndarray) -> str:
    """The bytes of an array in base64."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
