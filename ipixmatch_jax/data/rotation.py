"""Rotation of a crop by any angle: where each of its pixels lies, and the values there."""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image


class Sampling(NamedTuple):
    """The places of a turned window's pixels in an axis-aligned region of the image.

    Attributes:
        top, left, height, width: the region, in pixels of the image: all that the pixels need.
        matrix: (a, b, c, d, e, f): x = a·column + b·row + c and y = d·column + e·row + f, for
            coordinates in which pixel i reaches from i to i + 1; x and y are in the region.
        rows, columns: int64 [h,w], the pixel of the region that a pixel of the window lies in.
        inside: bool [h,w], False for pixels beyond the image.
    """

    top: int
    left: int
    height: int
    width: int
    matrix: tuple[float, ...]
    rows: np.ndarray
    columns: np.ndarray
    inside: np.ndarray


def sampling_of(
    size: tuple[int, int], top: int, left: int, height: int, width: int, angle: float
) -> Sampling:
    """The places of a window's pixels after a turn about the window's center.

    Args:
        size: (H, W) of the image.
        top, left, height, width: the window before the turn, in pixels of the image.
        angle: degrees, counterclockwise as seen; exact at multiples of 90.
    """
    cosine, sine = (round(f(math.radians(angle)), 15) for f in (math.cos, math.sin))
    # Column x and row y of the window, pixel centers at .5, come from (x - w/2, y - h/2) turned
    # back about the center.
    x_start = left + width / 2 - cosine * width / 2 + sine * height / 2
    y_start = top + height / 2 - sine * width / 2 - cosine * height / 2
    y, x = np.ogrid[0.5 : height + 0.5, 0.5 : width + 0.5]
    columns = np.floor(cosine * x - sine * y + x_start).astype(np.int64)
    rows = np.floor(sine * x + cosine * y + y_start).astype(np.int64)
    inside = (rows >= 0) & (rows < size[0]) & (columns >= 0) & (columns < size[1])
    # One pixel more on each side, as far as the image goes: bilinear neighbors.
    row_0, row_1 = _span(rows, size[0])
    column_0, column_1 = _span(columns, size[1])
    return Sampling(
        row_0,
        column_0,
        row_1 - row_0,
        column_1 - column_0,
        (cosine, -sine, x_start - column_0, sine, cosine, y_start - row_0),
        np.clip(rows - row_0, 0, row_1 - row_0 - 1),
        np.clip(columns - column_0, 0, column_1 - column_0 - 1),
        inside,
    )


def _span(places: np.ndarray, length: int) -> tuple[int, int]:
    """First and one past the last pixel that are needed of an axis; at least one pixel."""
    first = min(max(int(places.min()) - 1, 0), length - 1)
    return first, max(min(int(places.max()) + 2, length), first + 1)


def nearest(region: np.ndarray, sampling: Sampling, fill: int) -> np.ndarray:
    """The pixel of a region [H,W] in which each pixel lies; `fill` outside of the image."""
    return np.where(sampling.inside, region[sampling.rows, sampling.columns], fill).astype(
        region.dtype
    )


def bilinear(region: np.ndarray, sampling: Sampling) -> np.ndarray:
    """Interpolates a region uint8 [H,W,C] at each pixel's place; 0 outside of the image.

    At the image's border, the outermost pixels continue: no value mixes with what is outside.
    """
    height, width = sampling.inside.shape
    a, b, c, d, e, f = sampling.matrix
    matrix = (a, b, c + 1, d, e, f + 1)
    padded = np.pad(region, ((1, 1), (1, 1), (0, 0)), mode="edge")
    # Band by band if it is not RGB: Pillow would treat a fourth band as alpha, and has no fifth.
    rgb = padded.shape[-1] == 3
    planes = [padded] if rgb else [padded[..., band] for band in range(padded.shape[-1])]
    turned = [
        Image.fromarray(plane).transform(
            (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
        )
        for plane in planes
    ]
    image = np.array(turned[0]) if rgb else np.stack(list(map(np.asarray, turned)), -1)
    image[~sampling.inside] = 0
    return image
