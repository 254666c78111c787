"""Polygons and other shapes to class-id masks."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ipixmatch_jax.data.files.images import image_orientation, image_size
from ipixmatch_jax.data.files.orientation import turned_size
from ipixmatch_jax.data.files.stored_masks import read_stored
from ipixmatch_jax.data.importers.found import Drawn
from ipixmatch_jax.data.records import IGNORE, is_background
from ipixmatch_jax.errors import DataError

# (class id, shape): a shape is {"kind": ..., ...}; see `draw_shapes`.
Shape = tuple[int, dict]


def draw_shapes(size: tuple[int, int], shapes: Sequence[Shape], name: str) -> np.ndarray:
    """Draws shapes in their order; later ones cover earlier ones.

    Args:
        size: (H, W).
        shapes: (class id, shape). Kinds: `polygon` (`points` [[x, y], ...], optional `holes`),
            `rectangle` (two `points`), `circle` (center and a point on it), `ellipse`
            (`center`, `radii`, optional `angle` in degrees), `line` (`points`, `width`), `mask`
            (`pixels` bool [h,w], `at` (x, y)).
        name: the source, for messages.

    Returns:
        uint8 [H,W]; 0 where nothing is drawn.

    Raises:
        DataError: an unknown kind, or points that are no numbers.
    """
    ids = np.zeros(size, np.uint8)
    for class_id, shape in shapes:
        kind = shape.get("kind")
        if kind not in _KINDS:
            raise DataError(
                f"{name}: shape {kind!r} has no area; expected {', '.join(sorted(_KINDS))}; draw "
                "polygons, or remove the shape"
            )
        try:
            ids[_KINDS[kind](size, shape)] = class_id
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise DataError(f"{name}: a {kind} cannot be drawn ({error})") from None
    return ids


def _canvas(size: tuple[int, int]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    canvas = Image.new("1", (size[1], size[0]), 0)
    return canvas, ImageDraw.Draw(canvas)


def _points(points: Any) -> list[tuple[float, float]]:
    pairs = [(float(x), float(y)) for x, y in points]
    if not np.isfinite(pairs).all():
        raise ValueError("a point is not finite")
    return pairs


def _polygon(size: tuple[int, int], shape: dict) -> np.ndarray:
    points = _points(shape["points"])
    if len(points) < 3:
        raise ValueError(f"{len(points)} points; expected 3 or more")
    canvas, brush = _canvas(size)
    brush.polygon(points, fill=1, outline=1)
    for hole in shape.get("holes", ()):
        brush.polygon(_points(hole), fill=0, outline=0)
    return np.array(canvas)


def _rectangle(size: tuple[int, int], shape: dict) -> np.ndarray:
    (x0, y0), (x1, y1) = _points(shape["points"])
    canvas, brush = _canvas(size)
    brush.rectangle((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), fill=1)
    return np.array(canvas)


def _circle(size: tuple[int, int], shape: dict) -> np.ndarray:
    (x, y), (px, py) = _points(shape["points"])
    radius = float(np.hypot(px - x, py - y))
    return _ellipse(size, {"center": (x, y), "radii": (radius, radius)})


def _ellipse(size: tuple[int, int], shape: dict) -> np.ndarray:
    (x, y), (rx, ry) = shape["center"], shape["radii"]
    angle = np.deg2rad(float(shape.get("angle", 0.0)))
    rows, columns = np.mgrid[: size[0], : size[1]]
    dx, dy = columns - float(x), rows - float(y)
    along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    return (along / max(rx, 1e-6)) ** 2 + (across / max(ry, 1e-6)) ** 2 <= 1


def _line(size: tuple[int, int], shape: dict) -> np.ndarray:
    canvas, brush = _canvas(size)
    brush.line(_points(shape["points"]), fill=1, width=int(shape.get("width", 10)))
    return np.array(canvas)


def _mask(size: tuple[int, int], shape: dict) -> np.ndarray:
    pixels, (left, top) = shape["pixels"], (int(v) for v in shape["at"])
    whole = np.zeros(size, bool)
    height, width = min(pixels.shape[0], size[0] - top), min(pixels.shape[1], size[1] - left)
    if top < 0 or left < 0:
        raise ValueError(f"its corner is at {left}, {top}")
    whole[top : top + height, left : left + width] = pixels[:height, :width]
    return whole


_KINDS = {
    "polygon": _polygon, "rectangle": _rectangle, "circle": _circle, "ellipse": _ellipse,
    "line": _line, "mask": _mask,
}  # fmt: skip


def stored_size(image: str) -> tuple[int, int]:
    """The (H, W) of an image file before EXIF turns it."""
    return turned_size(image_size(image, image), image_orientation(image, image))


def drawn_shapes(
    image: str, size: tuple[int, int] | None, shapes: Sequence[Shape], name: str
) -> Drawn:
    """The lazily drawn mask of an image; `size` None takes the size of the image file."""

    def content() -> bytes:
        plain = [
            (class_id, {k: v.tobytes().hex() if isinstance(v, np.ndarray) else v
                        for k, v in shape.items()})
            for class_id, shape in shapes
        ]  # fmt: skip
        where = size or image_size(image, image)
        return json.dumps(["shapes", list(where), plain], default=str).encode()

    def draw() -> np.ndarray:
        return draw_shapes(size or image_size(image, image), shapes, name)

    return Drawn(name, content, draw)


def union_of_files(paths: Sequence[str], image: str) -> np.ndarray:
    """Pixels above half of the brightest value in any of the files, as 0 and 1: uint8 [H,W].

    Raises:
        DataError: a file is unreadable or of another size than the image.
    """
    size = image_size(image, image)
    ids = np.zeros(size, np.uint8)
    for path in paths:
        pixels = gray(path)
        if pixels.shape != size:
            raise DataError(
                f"{path}: {pixels.shape[1]}x{pixels.shape[0]} (width x height), its image {image} "
                f"is {size[1]}x{size[0]}; expected the same size"
            )
        ids |= (pixels > pixels.max() / 2).astype(np.uint8)
    return ids


def gray(path: str) -> np.ndarray:
    """A mask file as the numbers that it stores [H,W]; of colors, the largest channel.

    Raises:
        DataError: unreadable.
    """
    stored = read_stored(path, path)
    array = stored.colors.max(-1) if stored.gray is None else stored.gray
    return array.astype(np.uint8) if array.dtype == bool else array


def is_rectangle(points: Sequence[Sequence[float]]) -> bool:
    """True if a polygon has four corners, all of a right angle within 3 degrees."""
    if len(points) != 4:
        return False
    corners = np.asarray(points, float)
    sides = np.roll(corners, -1, axis=0) - corners
    lengths = np.linalg.norm(sides, axis=1)
    cosines = (sides * np.roll(sides, -1, axis=0)).sum(1)
    return bool((np.abs(cosines) <= 0.05 * lengths * np.roll(lengths, -1) + 1e-9).all())


def turned_box(low: Sequence[float], high: Sequence[float], angle: float) -> list[list[float]]:
    """The corners of a box that is turned about its center.

    Args:
        low: (x, y) of the upper left corner before the turn.
        high: (x, y) of the lower right corner.
        angle: degrees, clockwise as seen in the image.

    Returns:
        Four [x, y].
    """
    center = (np.asarray(low, float) + np.asarray(high, float)) / 2
    half = (np.asarray(high, float) - np.asarray(low, float)) / 2
    turn = np.deg2rad(angle)
    cosine, sine = np.cos(turn), np.sin(turn)
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    corners = (signs * half) @ np.array([[cosine, sine], [-sine, cosine]]) + center
    return corners.tolist()


def signed_area(points: Any) -> float:
    """The area of a polygon of N points, [N,2]; below 0 if they go round the other way."""
    x, y = np.reshape(points, (-1, 2)).T
    return float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


# Names of pixels that do not count, by their letters alone.
_IGNORED = frozenset("ignore ignored ignoreregion ignoredregion dontcare donotcare".split())


def _letters(name: str) -> str:
    return "".join(char for char in name.lower() if char not in " _-'’`")


def background_first(names: Sequence[str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Class names with a background in front, and the id of each name; ignored labels are 255.

    A name such as `background` or `_background_` becomes class 0; without one it is added. Labels
    to ignore are `ignore`, `don't care` and the like.
    """
    ignored = [name for name in names if _letters(name) in _IGNORED]
    backgrounds = [name for name in names if is_background(name)]
    rest = [n for n in dict.fromkeys(names) if n not in backgrounds and n not in ignored]
    table = dict.fromkeys(backgrounds, 0) | dict.fromkeys(ignored, IGNORE)
    table |= {name: index for index, name in enumerate(rest, start=1)}
    return ("background", *rest), table
