"""COCO JSON: polygons, run lengths and crowds of any category ids.

Written for the format of COCO 2017 as CVAT 2.x (COCO 1.0), Roboflow, labelme2coco and Label Studio
export it. Regions are decoded by pycocotools.
"""

import json
import posixpath
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlparse

import numpy as np

from ipixmatch_jax.data.importers.annotations import (
    Sheet,
    check_spelling,
    collect,
    doubtful_labels,
    mostly_rectangles,
)
from ipixmatch_jax.data.importers.coco_regions import (
    check_boxes,
    check_runs,
    doubtful_holes,
    draw_annotations,
)
from ipixmatch_jax.data.importers.coco_settle import settle
from ipixmatch_jax.data.importers.contents import json_with, read_json
from ipixmatch_jax.data.importers.drawing import background_first, is_rectangle
from ipixmatch_jax.data.importers.found import Choices, Classes, Drawn, Found, some
from ipixmatch_jax.data.importers.names import folded
from ipixmatch_jax.data.importers.shape_places import check_places
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError

_KEYS = ("images", "annotations", "categories")
# Share of crowds in COCO 2017: 0.012.
_MOST_CROWDS = 0.05
# Objects whose points are compared with the size of their image.
_CHECKED = 500


class Coco:
    """COCO instance annotations."""

    name = "coco"
    source = "COCO JSON (COCO 2017, CVAT, Roboflow, labelme2coco)"

    def sniff(self, tree: FolderTree) -> str:
        files = _files(tree)
        return f"images, annotations and categories in {some(files, 3)}" if files else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        contents = {path: _as_lists(read_json(tree.path("", path))) for path in _files(tree)}
        for path, content in contents.items():
            settle(content, tree.path("", path))
        keypoints = _keypoints(contents)
        bare = _without_regions(contents)
        contents = {p: one for p, one in contents.items() if p not in {*keypoints, *bare}}
        # Class ids depend on the categories of all files.
        own = {path: _categories(content["categories"]) for path, content in contents.items()}
        categories, renumbered = _united(own, tree)
        used = {
            own[path].get(one["category_id"], "")
            for path, content in contents.items()
            for one in content["annotations"]
        }
        check_spelling(tree, sorted(used - {""}), ())
        names, table = background_first(categories)
        annotations = [one for content in contents.values() for one in content["annotations"]]
        for path, content in contents.items():
            _no_crowds(content["annotations"])
            check_boxes(content["annotations"], tree.path("", path))
            check_runs(content["annotations"], tree.path("", path))
            check_places(_polygons(content), tree.path("", path))
        sheets = [
            sheet
            for path, content in contents.items()
            for sheet in _sheets(
                path, content, {k: table[n] for k, n in own[path].items()}, tree.path("", path)
            )
        ]
        boxes, regions = _counted(annotations, f"{tree.root}", some(list(contents), 3))
        found = collect(tree, sheets, None, choices, Classes(names=names))
        found.warnings += doubtful_labels(sorted(used))
        found.warnings += [
            f"{path}: {text}" for path, one in contents.items() for text in doubtful_holes(one)
        ]
        doubled = sorted({n for n in categories if categories.count(n) > 1})
        if renumbered:
            found.notes.append(f"categories are matched by their names: {renumbered}")
        if doubled:
            found.warnings.append(
                f"several categories have one name and become one class: {some(doubled)}"
            )
        polygons = [a["segmentation"] for a in annotations if a.get("segmentation")]
        # sahi's slices hold boxes in place of run lengths.
        found.warnings += mostly_rectangles(sum(map(_is_box, polygons)), len(polygons))
        if keypoints:
            found.notes.append(f"keypoints of the same images are not read: {some(keypoints)}")
        if bare:
            found.notes.append(f"files without regions of the same images: {some(bare)}")
        if regions < boxes:
            found.warnings.append(
                f"{boxes - regions} of {boxes} annotations have a box but no region; the pixels in "
                "their boxes are ignored, except in boxes of regions of the same category"
            )
        return found


def _as_lists(content: Any) -> Any:
    """The content with lists in place of {number: entry}, as LIVECell writes its annotations."""
    for key in _KEYS if isinstance(content, dict) else ():
        table = content.get(key)
        if isinstance(table, dict) and all(isinstance(one, dict) for one in table.values()):
            content[key] = list(table.values())
    return content


def _counted(annotations: list[dict], root: str, files: str) -> tuple[int, int]:
    """The number of annotations, and of those with a region.

    Raises:
        DataError: there is none.
    """
    boxes, regions = len(annotations), sum(bool(a.get("segmentation")) for a in annotations)
    if not boxes:
        raise DataError(
            f"{root}: no annotation in {files}; expected polygons or "
            "run lengths of objects; draw masks in the annotation tool, and export again"
        )
    if not regions:
        raise DataError(
            f"{root}: {boxes} COCO annotations, none with a segmentation: object boxes, "
            "not masks; expected polygons or run lengths; export instance segmentation"
        )
    return boxes, regions


def _files(tree: FolderTree) -> list[str]:
    """The files with the three keys of COCO JSON, and with regions instead of PNG files."""
    panoptic = json_with(tree, ("segments_info",))
    return [path for path in json_with(tree, _KEYS) if path not in panoptic]


def _is_box(segmentation: list | dict) -> bool:
    """True if a region is one polygon with four right angles, as converters write for boxes."""
    try:
        (polygon,) = segmentation
        return not isinstance(segmentation, dict) and is_rectangle(np.reshape(polygon, (-1, 2)))
    except (TypeError, ValueError):
        return False


def _keypoints(contents: dict[str, dict]) -> list[str]:
    """The files of keypoints (person_keypoints_val2017.json) whose images another file lists."""
    named = [
        path
        for path, content in contents.items()
        if content["categories"] and all("keypoints" in one for one in content["categories"])
    ]
    listed = {path: _listed(content) for path, content in contents.items() if named}
    others = set().union(*(names for path, names in listed.items() if path not in named))
    return [path for path in named if listed[path] & others]


def _without_regions(contents: dict[str, dict]) -> list[str]:
    """Files without a region whose images a file next to them describes, such as image_info."""
    drawn: dict[str, set[str]] = {}
    for path, content in contents.items():
        if any(one.get("segmentation") for one in content["annotations"]):
            drawn.setdefault(posixpath.dirname(path), set()).update(_listed(content))
    return [
        path
        for path, content in contents.items()
        if drawn.get(posixpath.dirname(path), set()) >= _listed(content)
        and not any(one.get("segmentation") for one in content["annotations"])
        and posixpath.dirname(path) in drawn
    ]


def _listed(content: dict) -> set[str]:
    return {str(image.get("file_name")) for image in content["images"]}


def _no_crowds(annotations: list[dict]) -> None:
    """Takes the mark off crowds that are single objects: CVAT marks every brush stroke so.

    They are drawn in the order of their size, like other objects; real crowds are few.
    """
    crowds = [one for one in annotations if one.get("iscrowd")]
    if len(crowds) > _MOST_CROWDS * len(annotations):
        for one in crowds:
            one["iscrowd"] = 0


def _polygons(content: dict) -> Iterator[tuple[str, tuple[int, int], np.ndarray]]:
    """The points of a few hundred objects, each with the name and size of its image."""
    sizes = {image.get("id"): image for image in content["images"]}
    annotations = content["annotations"]
    for annotation in annotations[:: max(1, len(annotations) // _CHECKED)]:
        image, polygons = sizes.get(annotation.get("image_id")), annotation.get("segmentation")
        try:
            size = int(image["height"]), int(image["width"])
            points = [np.reshape(polygon, (-1, 2)).astype(float) for polygon in polygons]
            yield _image_name(image), size, np.concatenate(points)
        except (TypeError, ValueError, KeyError):
            # Run lengths, or damage that is told when the objects are drawn.
            continue


def _image_name(image: dict) -> str:
    """The file of an image; LVIS gives its address alone, and addresses may have a query."""
    name = str(image.get("file_name") or image["coco_url"])
    return urlparse(name).path if "://" in name else name


def _categories(entries: list[dict]) -> dict[int, str]:
    """The name of each category id of one file."""
    parents = {entry.get("supercategory") for entry in entries}
    # Roboflow lists the name of the project as a category, which no annotation uses.
    return {
        entry["id"]: str(entry["name"]) for entry in entries
        if entry.get("supercategory") != "none" or entry["name"] not in parents
    }  # fmt: skip


def _united(own: dict[str, dict[int, str]], tree: FolderTree) -> tuple[list[str], str]:
    """The names of all files in the order of the ids, and an id that two files use differently.

    Tools number the categories of each project by themselves; then the names tell the class.

    Raises:
        DataError: the ids differ, and names differ in case or spaces alone.
    """
    names: dict[int, str] = {}
    renumbered = ""
    for path, categories in own.items():
        for key, name in categories.items():
            known = names.setdefault(key, name)
            if known != name and not renumbered:
                renumbered = f"{key} is {name!r} in {path} and {known!r} in another file"
    if not renumbered:
        return [names[key] for key in sorted(names)], ""
    united = list(dict.fromkeys(one[key] for one in own.values() for key in sorted(one)))
    seen: dict[str, str] = {}
    for name in united:
        other = seen.setdefault(" ".join(folded(name).split()), name)
        if other != name:
            raise DataError(
                f"{tree.root}: category {renumbered}, and {other!r} and {name!r} differ in case or "
                "spaces alone; expected the same categories in all files; rename one of them in "
                "the annotation tool"
            )
    return united, renumbered


def _sheets(source: str, content: dict, class_of: dict[int, int], path: str) -> list[Sheet]:
    of_image: dict[int, list[dict]] = {}
    try:
        for annotation in content["annotations"]:
            of_image.setdefault(annotation["image_id"], []).append(annotation)
        sheets = []
        _check_ids(content["images"], path)
        for image in content["images"]:
            own = of_image.pop(image["id"], [])
            name = _image_name(image)
            if not own and image["height"] is None:
                # Label Studio does not know the size of an image without annotations.
                sheets.append(Sheet(source, name, known=False))
                continue
            size = (int(image["height"]), int(image["width"]))
            mask = _drawn(name, size, own, class_of, path)
            sheets.append(Sheet(source, name, size, mask=mask, known=bool(own)))
    except (KeyError, TypeError, ValueError) as error:
        what = f"an entry has no {error}" if isinstance(error, KeyError) else f"{error}"
        raise DataError(
            f"{path}: no COCO annotations: {what}; expected images with id, file_name, height and "
            "width, and annotations with image_id and category_id; export them again"
        ) from None
    if of_image:
        raise DataError(
            f"{path}: annotations of {len(of_image)} image ids that `images` does not list: "
            f"{some(list(map(str, of_image)))}; export the annotations again"
        )
    return sheets


def _check_ids(images: list[dict], path: str) -> None:
    """Raise a DataError if two images have one id: whose the annotations are is not known."""
    names: dict[Any, str] = {}
    for image in images:
        name = _image_name(image)
        if names.setdefault(image["id"], name) != name:
            raise DataError(
                f"{path}: {names[image['id']]} and {name} both have the id {image['id']}; expected "
                "an id of its own for each image; export the annotations again"
            )


def _bounds_one_of(annotation: dict, regions: list[dict]) -> bool:
    """True if a box is that of a region of the same category, which is written twice."""
    return any(
        annotation.get("category_id") == one.get("category_id")
        and len(one.get("bbox") or ()) == 4
        and max(abs(a - b) for a, b in zip(annotation["bbox"], one["bbox"], strict=True)) <= 2
        for one in regions
    )


def _drawn(
    name: str, size: tuple[int, int], own: list[dict], class_of: dict[int, int], path: str
) -> Drawn:
    keys = ("category_id", "segmentation", "iscrowd", "area", "bbox")

    def content() -> bytes:
        kept = [{key: annotation.get(key) for key in keys} for annotation in own]
        used = sorted((k, v) for k, v in class_of.items())
        return json.dumps(["coco, areas, holes", list(size), used, kept], default=str).encode()

    def draw() -> np.ndarray:
        regions = [annotation for annotation in own if annotation.get("segmentation")]
        try:
            mask = draw_annotations(size, regions, class_of)
        except DataError as error:
            raise DataError(f"{path}, image {name}: {error}") from None
        for annotation in own:
            if (
                not annotation.get("segmentation")
                and annotation.get("bbox")
                and not _bounds_one_of(annotation, regions)
            ):
                left, top, width, height = (int(round(v)) for v in annotation["bbox"])
                box = mask[max(top, 0) : top + height, max(left, 0) : left + width]
                # An object without a region: background would be wrong there.
                box[box == 0] = IGNORE
        return mask

    return Drawn(name, content, draw)
