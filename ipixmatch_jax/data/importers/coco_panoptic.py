"""COCO panoptic segmentation: a JSON file of segments and a PNG per image, ids in its colors.

The id of a segment is red + 256 green + 65536 blue; 0 and crowds are ignored, and so are segments
that the JSON does not list. Written for the format of COCO 2017.
"""

import os

import numpy as np

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.files.stored_masks import read_stored
from ipixmatch_jax.data.importers.annotations import Sheet, collect, doubtful_labels
from ipixmatch_jax.data.importers.contents import json_with, read_json
from ipixmatch_jax.data.importers.found import Choices, Classes, Drawn, Found, some
from ipixmatch_jax.data.importers.image_index import ImageIndex
from ipixmatch_jax.data.importers.mapillary import Mapillary
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import as_path

_KEYS = ("images", "annotations", "categories", "segments_info")


class CocoPanoptic:
    """panoptic_train.json with a folder of PNG files."""

    name = "coco-panoptic"
    source = "COCO panoptic (JSON with PNG files)"

    def sniff(self, tree: FolderTree) -> str:
        # Mapillary's panoptic files repeat its labels.
        files = [] if Mapillary().sniff(tree) else json_with(tree, _KEYS)
        return f"segments of PNG files in {some(files, 3)}" if files else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        contents = {path: read_json(tree.path("", path)) for path in json_with(tree, _KEYS)}
        names: dict[int, str] = {}
        pictures = _pictures(tree)
        sheets, missing = [], []
        try:
            for path, content in contents.items():
                for category in content["categories"]:
                    known = names.setdefault(int(category["id"]), str(category["name"]))
                    if known != str(category["name"]):
                        raise DataError(
                            f"{tree.path('', path)}: category {category['id']} is "
                            f"{category['name']!r} here and {known!r} in another file; expected "
                            "the same categories in all files; export them together"
                        )
            class_of = {key: number for number, key in enumerate(sorted(names))}
            for path, content in contents.items():
                sheets += _sheets(tree, path, content, class_of, pictures, missing)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{tree.root}: no panoptic annotations: {type(error).__name__} {error}; expected "
                "images, categories, and annotations with file_name and segments_info"
            ) from None
        classes = Classes(tuple(names[key] for key in sorted(names)))
        found = collect(tree, sheets, None, choices, classes)
        found.warnings += doubtful_labels(classes.names)
        used = {picture for paths in pictures.values() for picture in paths}
        found.items = [
            i for i in found.items if os.path.relpath(i.image, str(tree.root)) not in used
        ]
        if missing:
            found.warnings.append(f"{len(missing)} PNG files do not exist: {some(missing)}")
        return found


def _pictures(tree: FolderTree) -> dict[str, list[str]]:
    """File name -> relative paths of the PNG files in folders that hold no other images."""
    found: dict[str, list[str]] = {}
    for path in tree.with_ending(".png"):
        folder = path.rpartition("/")[0]
        others = (n for n in tree.files[folder] if n.lower().endswith(IMAGE_SUFFIXES))
        if "panoptic" in folder.lower() or all(n.lower().endswith(".png") for n in others):
            found.setdefault(path.rpartition("/")[2], []).append(path)
    return found


def _sheets(
    tree: FolderTree, path: str, content: dict, class_of: dict[int, int],
    pictures: dict[str, list[str]], missing: list[str],
) -> list[Sheet]:  # fmt: skip
    images = {image["id"]: image for image in content["images"]}
    stems = {_stem(image["file_name"]) for image in content["images"]}
    stem = os.path.splitext(path)[0]
    index, sheets = ImageIndex(tree), []
    for annotation in content["annotations"]:
        name = annotation["file_name"].rpartition("/")[2]
        found = pictures.get(name, [])
        # The folder has the name of the JSON; else the name must be the only one.
        near = [p for p in found if p.rpartition("/")[0] == stem] or [
            p for p in found if p.rpartition("/")[0].rpartition("/")[2] == stem.rpartition("/")[2]
        ]
        found = near or [p for p in found if "panoptic" in p.rpartition("/")[0].lower()] or found
        image = images[annotation["image_id"]]
        if _stem(name) in stems - {_stem(image["file_name"])}:
            raise DataError(
                f"{tree.path('', path)}: the annotation of {image['file_name']} names {name}, the "
                "PNG file of another image; expected that of its image; export both again"
            )
        if len(found) > 1:
            raise DataError(
                f"{tree.path('', found[0])}: {len(found)} files are named {name}: {some(found)}; "
                f"expected the PNG files of {path} in a folder {stem}"
            )
        if not found:
            missing.append(name)
            continue
        segments = {int(s["id"]): IGNORE if s.get("iscrowd") else class_of[s["category_id"]]
                    for s in annotation["segments_info"]}  # fmt: skip
        size = (int(image["height"]), int(image["width"]))
        mask = _drawn(tree.path("", found[0]), segments, size)
        file = index.find(image["file_name"], os.path.dirname(path)) or image["file_name"]
        sheets.append(Sheet(path, file, size, mask=mask))
    return sheets


def _stem(name: str) -> str:
    return os.path.splitext(name.replace("\\", "/").rpartition("/")[2])[0]


def _drawn(path: str, segments: dict[int, int], size: tuple[int, int]) -> Drawn:
    def draw() -> np.ndarray:
        stored = read_stored(path, path)
        colors = stored.shown()
        if colors is None or colors.shape[:2] != size:
            raise DataError(f"{path}: expected {size[1]}x{size[0]} colors of 8 bits")
        numbers = colors.astype(np.int64) @ (1, 256, 65536)
        if stored.values is not None and not stored.palette:
            numbers = stored.values
            if {*np.unique(numbers).tolist()} - {0} != segments.keys():
                raise DataError(
                    f"{path}: gray, and its values are not the segments of the JSON; expected "
                    "the number of a segment as red + 256 green + 65536 blue; save the PNG in RGB"
                )
        ids = np.full(size, IGNORE, np.uint8)
        for number in np.unique(numbers).tolist():
            if number and number not in segments:
                raise DataError(
                    f"{path}: segment {number} is not in the JSON; expected every segment there; "
                    "export both again"
                )
            ids[numbers == number] = segments.get(number, IGNORE)
        return ids

    def content() -> bytes:
        return (
            repr(("panoptic", size, sorted(segments.items()))).encode() + as_path(path).read_bytes()
        )

    return Drawn(path, content, draw)
