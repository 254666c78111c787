"""Bounding boxes next to the polygons or masks of the same objects, as detection needs them.

They are no areas: drawn, they would cover the background around each object.
"""

from collections.abc import Sequence

import numpy as np

from ipixmatch_jax.data.importers.drawing import is_rectangle
from ipixmatch_jax.data.importers.found import some

Shape = tuple[str, dict]
Bounds = tuple[float, float, float, float]

# A box may end at the last pixel of its object or behind it, and be rounded.
_NEAR = 2.0
# Fewer boxes may coincide by chance; and this share of all boxes are those of other shapes.
_LEAST, _MOSTLY = 2, 0.5


def drop_bounding_boxes(images: Sequence[tuple[str, list[Shape]]]) -> list[str]:
    """Takes out rectangles that are the bounding box of another shape of the same label.

    Nothing changes unless most rectangles are such boxes. The other rectangles are boxes of objects
    without a shape then: their pixels are ignored, unless a shape covers them.

    Args:
        images: the name and the shapes of each image; the lists are changed.

    Returns:
        Warnings.
    """
    twins = {id(shapes): _twins(shapes) for _, shapes in images}
    boxes = sum(_box(shape) is not None for _, shapes in images for _, shape in shapes)
    count = sum(map(len, twins.values()))
    if count < _LEAST or count < _MOSTLY * boxes:
        return []
    lonely = []
    for name, shapes in images:
        kept, ignored = [], []
        for number, (label, shape) in enumerate(shapes):
            if number in twins[id(shapes)]:
                continue
            alone = _box(shape) is not None
            (ignored if alone else kept).append(("ignore" if alone else label, shape))
        lonely += [name] * len(ignored)
        shapes[:] = [*ignored, *kept]
    warnings = [
        f"{count} rectangles are the bounding boxes of polygons or masks of the same label, and "
        "are not drawn"
    ]
    if lonely:
        warnings.append(
            f"{len(lonely)} rectangles have no polygon or mask of their own; the pixels in them "
            f"are ignored: {some(list(dict.fromkeys(lonely)), 3)}"
        )
    return warnings


def _twins(shapes: Sequence[Shape]) -> set[int]:
    """The numbers of the rectangles that bound another shape of the same label."""
    boxes = {number: box for number, (_, shape) in enumerate(shapes) if (box := _box(shape))}
    # Most annotations have no boxes; the bounds of masks and polygons take time.
    areas: dict[str, list[Bounds]] = {}
    for number, (label, shape) in enumerate(shapes if boxes else ()):
        bounds = None if number in boxes else _bounds(shape)
        if bounds:
            areas.setdefault(label, []).append(bounds)
    return {
        number
        for number, box in boxes.items()
        if any(
            max(abs(a - b) for a, b in zip(box, other, strict=True)) <= _NEAR
            for other in areas.get(shapes[number][0], ())
        )
    }


def _box(shape: dict) -> Bounds | None:
    """Left, top, right and bottom of an upright rectangle; None for other shapes."""
    points = shape.get("points")
    if shape["kind"] == "rectangle":
        return _of_points(points)
    if shape["kind"] != "polygon" or shape.get("holes") or not is_rectangle(points):
        return None
    columns, rows = ({round(float(p[axis]), 1) for p in points} for axis in (0, 1))
    return _of_points(points) if len(columns) == len(rows) == 2 else None


def _bounds(shape: dict) -> Bounds | None:
    if shape["kind"] == "polygon" and len(shape["points"]) > 2:
        return _of_points(shape["points"])
    if shape["kind"] == "mask" and shape["pixels"].any():
        left, top = shape["at"]
        rows, columns = (np.flatnonzero(shape["pixels"].any(axis)) for axis in (1, 0))
        return (left + columns[0], top + rows[0], left + columns[-1], top + rows[-1])
    return None


def _of_points(points: Sequence[Sequence[float]]) -> Bounds:
    array = np.asarray(points, float)
    return (*array.min(0), *array.max(0))
