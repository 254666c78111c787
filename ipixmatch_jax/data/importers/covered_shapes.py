"""Shapes that lie wholly below later ones of other labels: a cat that was drawn before its sofa."""

from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw

from ipixmatch_jax.data.importers.drawing import background_first, signed_area
from ipixmatch_jax.data.importers.found import some
from ipixmatch_jax.data.records import IGNORE

# Side of the small copies on which shapes are drawn, and the least area there that can be judged.
_SIDE, _LEAST = 256, 12.0

Shape = tuple[str, dict]


def covered_shapes(images: Iterable[tuple[str, tuple[int, int], list[Shape]]]) -> list[str]:
    """A warning about shapes that no pixel shows, since they are drawn in their order.

    Args:
        images: (name, (H, W), shapes in the order in which they are drawn).
    """
    found: list[str] = []
    count = 0
    for name, size, shapes in images:
        hidden = _hidden(size, shapes)
        count += len(hidden)
        found += [f"{label} below {other} in {name}" for label, other in hidden[:1]]
    if not found:
        return []
    return [
        f"{count} shapes of {len(found)} images lie wholly below later shapes of other labels, and "
        f"are not seen: {some(found, 3)}; move them to the front in the annotation tool"
    ]


def _hidden(size: tuple[int, int], shapes: list[Shape]) -> list[tuple[str, str]]:
    """(label, label above it) of each shape that is wholly covered."""
    drawn = [(number, points) for number, (_, shape) in enumerate(shapes)
             if (points := _outline(shape, _SIDE / max(*size, 1))) is not None]  # fmt: skip
    if len(drawn) < 2 or min(size) < 1:
        return []
    above = _canvas(size)
    for number, points in drawn:
        ImageDraw.Draw(above).polygon(points, fill=number + 1, outline=number + 1)
    order = np.array(above)
    seen, hidden = set(np.unique(order).tolist()), []
    for number, points in drawn:
        if number + 1 in seen or abs(signed_area(points)) < _LEAST:
            continue
        own = _canvas(size)
        ImageDraw.Draw(own).polygon(points, fill=1, outline=1)
        over = {shapes[one - 1][0] for one in np.unique(order[np.array(own) > 0]).tolist() if one}
        others = sorted(over - {shapes[number][0]})
        if others and _counts(shapes[number][0]) and any(map(_counts, others)):
            hidden.append((shapes[number][0], others[0]))
    return hidden


def _counts(label: str) -> bool:
    """False for background and for pixels to ignore."""
    return background_first([label])[1][label] not in (0, IGNORE)


def _canvas(size: tuple[int, int]) -> Image.Image:
    scale = _SIDE / max(size)
    return Image.new("I", (max(1, round(size[1] * scale)), max(1, round(size[0] * scale))), 0)


def _outline(shape: dict, scale: float) -> list[tuple[float, float]] | None:
    """The corners of a polygon or rectangle; None for other shapes."""
    try:
        points = np.asarray(shape["points"], float) * scale
    except (KeyError, TypeError, ValueError):
        return None
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        return None
    if shape["kind"] == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        points = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    # What a hole shows below is not known from the outline.
    closed = shape["kind"] in ("polygon", "rectangle") and not shape.get("holes")
    return [(float(x), float(y)) for x, y in points] if closed and len(points) > 2 else None
