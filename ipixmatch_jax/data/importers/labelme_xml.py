"""LabelMe's XML of the MIT web tool, also CVAT's "LabelMe 3.0": Annotations, Images and Masks."""

import io
import posixpath
import xml.etree.ElementTree as ElementTree

import numpy as np
from PIL import Image

from ipixmatch_jax.data.importers.annotations import Sheet
from ipixmatch_jax.data.importers.contents import content, head
from ipixmatch_jax.data.importers.found import Choices, Found
from ipixmatch_jax.data.importers.own_names import collect_by_names
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError


class LabelMeXml:
    """One XML per image, with polygons and mask files."""

    name = "labelme-xml"
    source = "LabelMe XML (MIT web tool, CVAT LabelMe 3.0)"

    def sniff(self, tree: FolderTree) -> str:
        for path in tree.with_ending(".xml")[:20]:
            start = head(tree.path("", path))
            if b"<annotation>" not in start or b"<object>" not in start:
                continue
            if b"<pt>" in start:
                return f"objects with polygons in {path}"
            if b"<segm>" in start and b"<mask>" in start:
                return f"objects with mask files in {path}"
        return ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        sheets = [_sheet(tree, path) for path in tree.with_ending(".xml")]
        return collect_by_names(tree, sheets, None, choices, tool="LabelMe", key="filename")


def _sheet(tree: FolderTree, path: str) -> Sheet:
    full = tree.path("", path)
    text = content(full)
    try:
        if b"<!ENTITY" in text:
            raise ValueError("XML with entities is not read")
        root = ElementTree.fromstring(text)
        image = posixpath.join(root.findtext("folder", ""), root.findtext("filename", ""))
        size = root.find("imagesize")
        shapes = [
            (one.findtext("name", "").strip(), _shape(tree, one, root.findtext("folder", ""), path))
            for one in root.iterfind("object")
            if one.findtext("deleted", "0").strip() != "1"
        ]
        rows, columns = (size.findtext("nrows", ""), size.findtext("ncols", ""))
        return Sheet(path, image, (int(rows), int(columns)), shapes, known=bool(shapes))
    except (ElementTree.ParseError, AttributeError, TypeError, ValueError) as error:
        raise DataError(f"{full}: no LabelMe annotation ({error}); export it again") from None


def _shape(tree: FolderTree, one: ElementTree.Element, folder: str, source: str) -> dict:
    polygon = one.find("polygon")
    if polygon is not None:
        points = [[float(p.findtext("x", "")), float(p.findtext("y", ""))]
                  for p in polygon.iterfind("pt")]  # fmt: skip
        return {"kind": "polygon", "points": points}
    file = one.findtext("segm/mask", "").strip()
    candidates = [path for path in tree.with_ending(".png")
                  if path.endswith(f"{folder}/{file}") and "mask" in path.lower()]  # fmt: skip
    if len(candidates) > 1:
        # anna/Annotations/1.xml means anna/Masks/1_mask_0.png, and not that of bert.
        shared = {p: len(posixpath.commonpath([p, source]).split("/")) for p in candidates
                  if posixpath.commonpath([p, source])}  # fmt: skip
        nearest = max(shared.values(), default=0)
        candidates = [path for path, count in shared.items() if count == nearest]
    if not file or len(candidates) != 1:
        raise DataError(
            f"{tree.path('', source)}: mask file {file!r} is not there; export the masks, too"
        )
    try:
        with Image.open(io.BytesIO(content(tree.path("", candidates[0])))) as picture:
            array = np.asarray(picture.convert("RGBA"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{tree.path('', candidates[0])}: cannot be read ({error})") from None
    # The web tool writes the object's pixels with any opacity.
    return {"kind": "mask", "pixels": array[..., 3] > 0, "at": (0, 0)}
