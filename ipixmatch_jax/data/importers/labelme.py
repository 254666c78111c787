"""LabelMe JSON next to the images; written for labelme 3.x to 5.x, and X-AnyLabeling 2 and 3.

A label `__ignore__` marks pixels to ignore, `_background_` is class 0. Shapes are drawn in the
order of the file, as labelme2voc does.
"""

import base64
import io
import os
import posixpath
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.importers.annotations import Sheet
from ipixmatch_jax.data.importers.class_files import find_classes
from ipixmatch_jax.data.importers.contents import NotUnicodeError, json_with, read_json
from ipixmatch_jax.data.importers.contents import content as file_bytes
from ipixmatch_jax.data.importers.encodings import in_code_page
from ipixmatch_jax.data.importers.found import Choices, Found, some
from ipixmatch_jax.data.importers.image_folders import written_next_to
from ipixmatch_jax.data.importers.names import folded
from ipixmatch_jax.data.importers.own_names import collect_by_names
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError

_KEYS = {"shapes", "imagePath"}
# Labels of single objects.
_INSTANCE = re.compile(r"(.*\S)-\d+$")
_POINTS = {"polygon": "polygon", "rectangle": "rectangle", "circle": "circle", "line": "line",
           "linestrip": "line"}  # fmt: skip


class LabelMe:
    """LabelMe's JSON files."""

    name = "labelme"
    source = "LabelMe JSON (labelme 3 to 5)"

    def sniff(self, tree: FolderTree) -> str:
        for path in json_with(tree, _KEYS)[:20]:
            if _is_labelme(tree.path("", path)):
                return f"shapes and imagePath in {path}"
        return ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        sheets, others, pages, held = [], [], [], 0
        images = {folded(posixpath.basename(p)) for p in tree.with_ending(*IMAGE_SUFFIXES)}
        for path in tree.with_ending(".json"):
            try:
                content = read_json(tree.path("", path))
            except NotUnicodeError:
                full = tree.path("", path)
                content, page = in_code_page(file_bytes(full), images, full)
                pages += [f"{path} ({page})" if page else path]
            if not isinstance(content, dict) or not content.keys() >= _KEYS:
                others.append(path)
                continue
            sheets.append(_sheet(path, content, tree.path("", path)))
            held += bool(content.get("imageData"))
        listed = find_classes(tree)
        doubtful = _merge_instances(tree, sheets, listed.names)
        found = collect_by_names(
            tree, sheets, listed.names or None, choices, tool="LabelMe", key="imagePath"
        )
        found.problems += doubtful
        if pages:
            found.notes.append(
                f"{len(pages)} LabelMe files are not UTF-8; their labels have no other letters, or "
                f"the name of their image tells the code page: {some(pages, 3)}"
            )
        if held and not found.items:
            found.warnings.append(
                f"{held} of the JSON files hold their photo themselves (imageData): write them out "
                "with `labelme_export_json FILE` of LabelMe 5 (pip install 'labelme<6'), each as "
                "the image that imagePath names"
            )
        copies = [
            item for item in found.items
            if item.mask is None and written_next_to(tree, posixpath.dirname(
                posixpath.relpath(item.image, str(tree.root))))
        ]  # fmt: skip
        if copies:
            found.items = [item for item in found.items if item not in copies]
            found.notes.append(
                f"{len(copies)} images of labelme_json_to_dataset are not used: their JSON is read"
            )
        if listed.names:
            found.notes.append(f"classes of {listed.path}")
        stems = {os.path.splitext(path)[0] for path in tree.with_ending(*IMAGE_SUFFIXES)}
        beside = [path for path in others if os.path.splitext(path)[0] in stems]
        if beside:
            found.warnings.append(
                f"{len(beside)} JSON files with the name of the photo next to them are no LabelMe "
                f"files, and are not read: {some(beside, 3)}; if they are annotations of another "
                "program, export all annotations in one form"
            )
        if others:
            found.notes.append(f"{len(others)} JSON files are no LabelMe files: {some(others, 3)}")
        return found


def _merge_instances(tree: FolderTree, sheets: list[Sheet], listed: Sequence[str]) -> list[str]:
    """Renames `cat-1` and `cat-2`, two cats of labelme 1 to 3, to `cat` if the list has that class.

    Returns:
        An error if no list says whether they are classes.
    """
    labels = sorted({label for sheet in sheets for label, _ in sheet.shapes} - {*listed})
    objects: dict[str, list[str]] = {}
    for label in labels:
        match = _INSTANCE.match(label)
        if match:
            objects.setdefault(match.group(1), []).append(label)
    table = {label: name for name, own in objects.items() if name in listed for label in own}
    for sheet in sheets:
        sheet.shapes = [(table.get(label, label), shape) for label, shape in sheet.shapes]
    doubtful = [own for name, own in objects.items() if name not in listed and len(own) > 1]
    return [
        f"{tree.root}: labels {some(own)} may be classes, or objects of one class (labelme 1 to 3);"
        f" expected a file labels.txt with one class per line; list {own[0]} and the others, or "
        f"{own[0].rpartition('-')[0]} alone"
        for own in doubtful[:1]
    ]


def _is_labelme(path: str) -> bool:
    try:
        content = read_json(path)
    except NotUnicodeError:
        return True
    except DataError:
        return False
    return isinstance(content, dict) and content.keys() >= _KEYS


def _sheet(source: str, content: dict, path: str) -> Sheet:
    try:
        shapes = [
            # A label of null is none.
            (str("" if shape["label"] is None else shape["label"]), _shape(shape, path))
            for shape in content["shapes"]
        ]
        height, width = content.get("imageHeight"), content.get("imageWidth")
        size = (int(height), int(width)) if height and width else None
        return Sheet(source, str(content["imagePath"]), size, shapes)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: no LabelMe file: {type(error).__name__} {error}; save it again in LabelMe"
        ) from None


def _shape(shape: dict, path: str) -> dict:
    kind = shape.get("shape_type") or "polygon"
    if kind == "mask":
        with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as picture:
            pixels = np.array(picture) > 0
        return {"kind": "mask", "pixels": pixels, "at": shape["points"][0]}
    corners = shape["points"]
    if kind in ("rectangle", "rotation") and len(corners) == 4:
        # X-AnyLabeling writes all four corners.
        if kind == "rectangle":
            return {"kind": "rectangle", "points": [corners[0], corners[2]]}
        return {"kind": "polygon", "points": corners}
    if kind not in _POINTS:
        raise DataError(
            f"{path}: shape {kind!r} of label {shape['label']!r} has no area; expected polygon, "
            "rectangle, circle, line or mask; draw a polygon, or remove the shape"
        )
    return {"kind": _POINTS[kind], "points": corners}
