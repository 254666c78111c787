"""Bicubic resizing equal to PyTorch's, as one matrix per axis."""

from functools import lru_cache

import numpy as np


def bicubic_matrix(size_in: int, size_out: int, scale: float, antialias: bool) -> np.ndarray:
    """Weights [size_out,size_in] float64 of `torch.nn.functional.interpolate(mode='bicubic')`.

    Pixels have half-pixel centers (`align_corners=False`), and the border is repeated.

    Args:
        size_in: pixels of the input along the axis.
        size_out: pixels of the output.
        scale: step on the input per output pixel: size_in / size_out if PyTorch gets `size`,
            1 / scale_factor if it gets `scale_factor`.
        antialias: widen the kernel by `scale` when shrinking, renormalize it at the border instead
            of repeating the border, and use Keys' a = −0.5 instead of −0.75.
    """
    return (_antialiased if antialias else _plain)(size_in, size_out, scale)


@lru_cache(maxsize=64)
def _plain(size_in: int, size_out: int, scale: float) -> np.ndarray:
    matrix = np.zeros((size_out, size_in))
    at = (np.arange(size_out) + 0.5) * scale - 0.5
    first = np.floor(at).astype(int) - 1
    for tap in range(4):
        column = np.clip(first + tap, 0, size_in - 1)
        np.add.at(matrix, (np.arange(size_out), column), _keys(at - (first + tap), -0.75))
    return matrix


@lru_cache(maxsize=64)
def _antialiased(size_in: int, size_out: int, scale: float) -> np.ndarray:
    widening = max(scale, 1.0)
    center = (np.arange(size_out)[:, None] + 0.5) * scale
    matrix = _keys((np.arange(size_in)[None] + 0.5 - center) / widening, -0.5)
    return matrix / matrix.sum(axis=1, keepdims=True)


def _keys(x: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel (IEEE TASSP 29, 1981); 0 for |x| ≥ 2."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
