"""Checks that shapes lie where their images are, before any is drawn."""

from collections.abc import Iterable

import numpy as np

from ipixmatch_jax.errors import DataError

# A point this share of a side beyond the image is no slip of the hand.
_BEYOND = 0.1
# Share and number of shapes of which a few are tolerated.
_MOST_OUTSIDE, _LEAST = 0.1, 3
# Coordinates of shapes that are shares of the image, and the smallest side of an image.
_SHARE, _SMALLEST = 1.0, 6


def check_places(shapes: Iterable[tuple[str, tuple[int, int], np.ndarray]], where: str) -> None:
    """Raises a DataError if shapes were drawn for images of another size, or in shares of a size.

    Args:
        shapes: (name of the image, its (H, W), points [N,2] as x, y).
        where: the annotations, for messages.
    """
    count, outside, first = 0, 0, ""
    highest = 0.0
    for name, (height, width), points in shapes:
        if not len(points) or not np.isfinite(points).all() or min(height, width) < _SMALLEST:
            continue
        count += 1
        highest = max(highest, float(points.max()))
        side = np.array([width, height])
        if (points > (1 + _BEYOND) * side).any() or (points < -_BEYOND * side).any():
            outside += 1
            (left, top), (right, bottom) = points.min(0), points.max(0)
            first = first or (
                f"{name} is {width}x{height} (width x height), and a shape of it covers x "
                f"{left:g} to {right:g} and y {top:g} to {bottom:g}"
            )
    if count >= _LEAST and highest <= _SHARE:
        raise DataError(
            f"{where}: all points of {count} shapes lie between 0 and 1: they are shares of width "
            "and height, and the format has pixels; expected pixels; multiply them by the size of "
            "the image, or export YOLO polygons, whose points are shares"
        )
    if outside >= _LEAST and outside > _MOST_OUTSIDE * count:
        raise DataError(
            f"{where}: {outside} of {count} shapes lie beyond their images: {first}; the shapes "
            "were drawn on images of another size; expected the images that were annotated; put "
            "those here, or scale the shapes"
        )
