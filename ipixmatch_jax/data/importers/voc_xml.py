"""Pascal VOC XML with polygons, as Roboflow and supervision write it: <polygon><x1>…</x1><y1>….

Pascal VOC counts pixels from 1 on. Pixels in a box without a polygon are ignored.
"""

import io
import re
import xml.etree.ElementTree as ElementTree

from ipixmatch_jax.data.importers.annotations import Sheet
from ipixmatch_jax.data.importers.contents import content, head
from ipixmatch_jax.data.importers.found import Choices, Found
from ipixmatch_jax.data.importers.own_names import collect_by_names
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError

_CORNER = re.compile(r"([xy])(\d+)")
_WORDS = (b"<annotation", b"<object>", b"<polygon>", b"<x1>", b"<y1>")


class VocXml:
    """One XML per image, with a polygon for each object."""

    name = "voc-xml"
    source = "Pascal VOC XML with polygons (Roboflow, supervision)"

    def sniff(self, tree: FolderTree) -> str:
        # Images without objects come first in some exports.
        for path in tree.with_ending(".xml")[:100]:
            start = head(tree.path("", path))
            if all(word in start for word in _WORDS):
                return f"objects with polygons in {path}"
        return ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        parsed = [_sheet(tree, path) for path in tree.with_ending(".xml")]
        sheets = [sheet for sheet, _ in parsed if sheet]
        found = collect_by_names(tree, sheets, None, choices, tool="Pascal VOC", key="filename")
        boxes = sum(count for _, count in parsed)
        if boxes:
            found.warnings.append(
                f"{boxes} objects have a box but no polygon; the pixels in their boxes are ignored"
            )
        return found


def _sheet(tree: FolderTree, path: str) -> tuple[Sheet | None, int]:
    """The annotations of one image and the number of boxes; None for XML of other programs."""
    full = tree.path("", path)
    text = content(full)
    try:
        if b"<!ENTITY" in text:
            raise ValueError("XML with entities is not read")
        root = ElementTree.parse(io.BytesIO(text)).getroot()
        if root.tag != "annotation" or root.find("filename") is None:
            return None, 0
        polygons, boxes = [], []
        for one in root.iterfind("object"):
            drawn = [(one.findtext("name", "").strip(), {"kind": "polygon", "points": _points(p)})
                     for p in one.iterfind("polygon") if len(p)]  # fmt: skip
            polygons += drawn
            boxes += [] if drawn else [("ignore", _box(one))]
        size = root.find("size")
        stated = [int(float(size.findtext(key, "0"))) for key in ("height", "width")] \
            if size is not None else [0, 0]  # fmt: skip
        name = root.findtext("filename", "").strip()
        shapes = [*boxes, *polygons]
        where = (stated[0], stated[1]) if all(stated) else None
        return Sheet(path, name, where, shapes, known=bool(shapes)), len(boxes)
    except (ElementTree.ParseError, AttributeError, TypeError, ValueError) as error:
        raise DataError(
            f"{full}: no Pascal VOC annotation ({error}); expected <polygon> with <x1>, <y1>, "
            "<x2>, …; export it again"
        ) from None


def _points(polygon: ElementTree.Element) -> list[list[float]]:
    """The corners in the order of their numbers, counted from 0 on."""
    values: dict[int, dict[str, float]] = {}
    for one in polygon:
        found = _CORNER.fullmatch(one.tag)
        if found:
            values.setdefault(int(found[2]), {})[found[1]] = float(one.text or "") - 1
    if any(len(corner) != 2 for corner in values.values()):
        raise ValueError("a corner of a polygon has one coordinate")
    return [[values[number]["x"], values[number]["y"]] for number in sorted(values)]


def _box(one: ElementTree.Element) -> dict:
    low, high = (
        [float(one.findtext(f"bndbox/{axis}{end}", "")) - 1 for axis in "xy"]
        for end in ("min", "max")
    )
    return {"kind": "rectangle", "points": [low, high]}
