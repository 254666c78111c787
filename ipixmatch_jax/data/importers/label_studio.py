"""Label Studio exports in JSON (full): polygonlabels, brushlabels, rectanglelabels, ellipselabels.

Written for Label Studio 1.x. Brush masks are run-length encoded as label-studio-converter's
`brush.py` describes.
"""

import posixpath
from urllib.parse import unquote, urlparse

import numpy as np

from ipixmatch_jax.data.importers.annotations import Sheet, collect
from ipixmatch_jax.data.importers.contents import check_json, json_with, read_json
from ipixmatch_jax.data.importers.found import Choices, Found, some
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError

_KEYS = {"data", "annotations"}
_KINDS = ("polygonlabels", "brushlabels", "rectanglelabels", "ellipselabels")
_OTHERS = ("choices", "textarea", "rating", "relation")


class LabelStudio:
    """Label Studio's full JSON."""

    name = "label-studio"
    source = "Label Studio JSON (1.x)"

    def sniff(self, tree: FolderTree) -> str:
        files = [path for path in json_with(tree, _KEYS)[:50] if _tasks(tree, path)]
        return f"tasks with annotations in {some(files, 3)}" if files else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        check_json(tree, _KEYS)
        sheets, several = [], []
        for path in json_with(tree, _KEYS):
            for task in _tasks(tree, path):
                full = tree.path("", path)
                done = [a for a in task["annotations"] if not a.get("was_cancelled")]
                several += [str(task.get("id"))] * (len(done) > 1)
                sheets.append(_sheet(path, task, done, full))
        if several:
            raise DataError(
                f"{tree.root}: tasks with several annotations: {some(several)}; expected one per "
                "task; delete the others in Label Studio"
            )
        return collect(tree, sheets, None, choices)


def _tasks(tree: FolderTree, path: str) -> list[dict]:
    try:
        content = read_json(tree.path("", path))
    except DataError:
        return []
    fits = isinstance(content, list) and content and all(
        isinstance(task, dict) and task.keys() >= _KEYS for task in content
    )  # fmt: skip
    return content if fits else []


def _image_name(task: dict, path: str) -> str:
    texts = [value for value in task["data"].values() if isinstance(value, str)]
    named = [text for text in texts if posixpath.splitext(urlparse(text).path)[1] or "?d=" in text]
    if len(named) != 1:
        raise DataError(
            f"{path}: task {task.get('id')} names {len(named)} files; expected one image"
        )
    parsed = urlparse(named[0])
    name = parsed.query.partition("d=")[2] if "d=" in parsed.query else parsed.path
    return posixpath.basename(unquote(name))


def _sheet(source: str, task: dict, done: list[dict], path: str) -> Sheet:
    shapes, size = [], None
    for result in (result for annotation in done for result in annotation.get("result", ())):
        kind = result.get("type")
        if kind in _OTHERS:
            continue
        if kind not in _KINDS:
            raise DataError(
                f"{path}: task {task.get('id')} has a {kind!r}; expected {', '.join(_KINDS)}"
            )
        try:
            size = (int(result["original_height"]), int(result["original_width"]))
            labels = result["value"][kind]
            if len(labels) != 1 or result.get("image_rotation"):
                raise ValueError(f"{len(labels)} labels, rotation {result.get('image_rotation')}")
            shapes.append((str(labels[0]), _shape(kind, result["value"], size)))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DataError(
                f"{path}: task {task.get('id')}: a {kind} cannot be read ({error}); export again"
            ) from None
    name = _image_name(task, path)
    return Sheet(source, name, size, shapes, known=bool(done))


def _shape(kind: str, value: dict, size: tuple[int, int]) -> dict:
    height, width = size
    if kind == "polygonlabels":
        points = [[x * width / 100, y * height / 100] for x, y in value["points"]]
        return {"kind": "polygon", "points": points}
    if kind == "brushlabels":
        pixels = decode_brush(value["rle"], height * width * 4).reshape(height, width, 4)
        return {"kind": "mask", "pixels": pixels[..., 3] > 127, "at": (0, 0)}
    x, y = value["x"] * width / 100, value["y"] * height / 100
    if value.get("rotation") and kind == "rectanglelabels":
        raise ValueError("a rotated rectangle; draw a polygon")
    if kind == "rectanglelabels":
        far = [x + value["width"] * width / 100, y + value["height"] * height / 100]
        return {"kind": "rectangle", "points": [[x, y], far]}
    radii = [value["radiusX"] * width / 100, value["radiusY"] * height / 100]
    return {"kind": "ellipse", "center": [x, y], "radii": radii,
            "angle": value.get("rotation", 0.0)}  # fmt: skip


def decode_brush(encoded: list[int], count: int) -> np.ndarray:
    """Decodes Label Studio's run lengths of RGBA pixels: uint8 [count].

    A header of 32 bits holds the number of values, 5 bits their size less one, four times 4 bits
    the sizes of run lengths less one. Then, for each run: 1 bit (1: repeated, 0: literal), 2 bits
    that choose the size of the length, the length less one, and one value or as many as the length.

    Raises:
        ValueError: the data is too short, or holds another number of values.
    """
    bits = np.unpackbits(np.asarray(encoded, np.uint8))
    weights = 1 << np.arange(63, -1, -1, dtype=np.uint64)
    position = 0

    def number(size: int) -> int:
        nonlocal position
        part = bits[position : position + size]
        if len(part) < size:
            raise ValueError("the run lengths end too early")
        position += size
        return int((part * weights[64 - size :]).sum())

    total, word = number(32), number(5) + 1
    sizes = [number(4) + 1 for _ in range(4)]
    if total != count or word != 8:
        raise ValueError(f"run lengths of {total} values of {word} bits; expected {count} of 8")
    values = np.empty(count, np.uint8)
    filled = 0
    while filled < count:
        repeated, size = number(1), sizes[number(2)]
        length = number(size) + 1
        if filled + length > count:
            raise ValueError("the run lengths are too long")
        if repeated:
            values[filled : filled + length] = number(word)
        else:
            part = bits[position : position + 8 * length]
            if len(part) < 8 * length:
                raise ValueError("the run lengths end too early")
            values[filled : filled + length] = np.packbits(part)
            position += 8 * length
        filled += length
    return values
