"""CVAT "for images 1.1" XML: polygons, masks, boxes and ellipses per image; CVAT 2.x."""

import xml.etree.ElementTree as ElementTree

import numpy as np

from ipixmatch_jax.data.importers.annotations import Sheet, collect
from ipixmatch_jax.data.importers.contents import content, head
from ipixmatch_jax.data.importers.drawing import turned_box
from ipixmatch_jax.data.importers.found import Choices, Found, some
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError

_KINDS = ("polygon", "mask", "box", "ellipse")
_LINES = ("polyline", "points", "cuboid", "skeleton")


class CvatXml:
    """CVAT's own XML."""

    name = "cvat-xml"
    source = "CVAT for images 1.1 (XML)"

    def sniff(self, tree: FolderTree) -> str:
        files = [path for path in tree.with_ending(".xml")[:50] if _starts(tree.path("", path))]
        return f"annotations of images in {some(files, 3)}" if files else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        sheets, labels, boxes, areas, left = [], [], 0, 0, {}
        for path in tree.with_ending(".xml"):
            full = tree.path("", path)
            if not _starts(full):
                continue
            root = _parsed(full)
            for name in root.iterfind("meta//labels/label/name"):
                labels += [name.text] * (name.text not in labels)
            if root.find("track") is not None:
                raise DataError(
                    f"{full}: tracks of a video, which are interpolated between frames; expected "
                    "one entry per image; export 'CVAT for images' or 'Segmentation mask' instead"
                )
            for image in root.iterfind("image"):
                for kind in _LINES:
                    left[kind] = left.get(kind, 0) + len(image.findall(kind))
                shapes = image.findall("box")
                boxes += len(shapes)
                areas += sum(len(image.findall(kind)) for kind in _KINDS if kind != "box")
                sheets.append(_sheet(path, image, full))
        if sheets and not boxes and not areas:
            raise DataError(
                f"{tree.root}: {len(sheets)} images in CVAT's XML, and no shape with an area; "
                "expected polygons or masks; draw them, or export COCO JSON (V7 leaves polygons "
                "out of this format)"
            )
        if boxes and not areas:
            raise DataError(
                f"{tree.root}: {boxes} boxes and no polygon or mask: object detection, not "
                "segmentation; draw polygons or masks in CVAT"
            )
        found = collect(tree, sheets, labels or None, choices)
        lines = {kind: count for kind, count in left.items() if count}
        if lines:
            shown = ", ".join(f"{count} {kind}" for kind, count in lines.items())
            found.warnings.append(f"shapes without an area are not drawn: {shown}")
        # Those that bound another shape were taken out.
        boxes = sum(shape["kind"] == "rectangle" and label != "ignore"
                    for sheet in sheets for label, shape in sheet.shapes)  # fmt: skip
        if boxes:
            found.warnings.append(f"{boxes} boxes are drawn as filled rectangles")
        return found


def _starts(path: str) -> bool:
    start = head(path)
    return b"<annotations>" in start and (b"<image " in start or b"<version>1.1" in start)


def _parsed(path: str) -> ElementTree.Element:
    text = content(path)
    if b"<!ENTITY" in text:
        raise DataError(f"{path}: XML with entities is not read; export the annotations again")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise DataError(f"{path}: cannot be read as XML ({error}); export it again") from None


def _sheet(source: str, image: ElementTree.Element, path: str) -> Sheet:
    try:
        size = (int(image.get("height", "")), int(image.get("width", "")))
        found = [one for one in image if one.tag in _KINDS]
        found.sort(key=lambda one: int(one.get("z_order", "0")))
        shapes = [(one.get("label", ""), _shape(one)) for one in found]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: image {image.get('name')}: {error}; export it again") from None
    # A project's export has a folder for each subset.
    subset, name = image.get("subset", ""), str(image.get("name"))
    name = f"images/{subset}/{name}" if subset and subset != "default" else name
    # A tag or a point alone does not say that all pixels are background.
    return Sheet(source, name, size, shapes, known=bool(shapes))


def _shape(element: ElementTree.Element) -> dict:
    def value(key: str) -> float:
        return float(element.get(key, ""))

    if element.tag == "polygon":
        points = [[float(v) for v in p.split(",")] for p in element.get("points", "").split(";")]
        return {"kind": "polygon", "points": points}
    angle = float(element.get("rotation", "0"))
    if element.tag == "box":
        corners = [[value("xtl"), value("ytl")], [value("xbr"), value("ybr")]]
        if angle:
            return {"kind": "polygon", "points": turned_box(*corners, angle)}
        return {"kind": "rectangle", "points": corners}
    if element.tag == "ellipse":
        return {"kind": "ellipse", "center": [value("cx"), value("cy")],
                "radii": [value("rx"), value("ry")], "angle": angle}  # fmt: skip
    height, width = int(value("height")), int(value("width"))
    runs = [int(part) for part in element.get("rle", "").split(",")]
    if sum(runs) != height * width:
        raise ValueError("the run lengths of a mask do not add up to its box")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    corner = (int(value("left")), int(value("top")))
    return {"kind": "mask", "pixels": flat.reshape(height, width), "at": corner}
