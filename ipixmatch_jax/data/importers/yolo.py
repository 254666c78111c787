"""YOLO segmentation labels: one .txt per image with `class x y x y …`, relative to the image.

Written for Ultralytics YOLOv5 to YOLO11. An empty file means an image without objects.
"""

import os
import re
from collections import Counter

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES, image_size
from ipixmatch_jax.data.files.masks import MASK_SUFFIXES
from ipixmatch_jax.data.files.split_lists import decoded
from ipixmatch_jax.data.importers.annotations import Sheet, collect, mostly_rectangles
from ipixmatch_jax.data.importers.class_files import find_classes
from ipixmatch_jax.data.importers.coco_names import COCO_NAMES
from ipixmatch_jax.data.importers.drawing import is_rectangle, stored_size
from ipixmatch_jax.data.importers.found import Choices, Found, some
from ipixmatch_jax.data.importers.names import without_upload_prefix
from ipixmatch_jax.data.importers.places import places, split_of
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.data.importers.yolo_names import read_yolo_names
from ipixmatch_jax.data.importers.yolo_splits import apply_yaml
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import as_path

_LINE = re.compile(r"^\s*\d+(\.0*)?(\s+[-+.\deE]+){4,}\s*$")
# The same, with coordinates from 0 to 1.
_SHARES = re.compile(
    r"^\s*\d+(\.0*)?(\s+(0?\.\d+([eE][-+]?\d+)?|\d(\.\d+)?[eE]-\d+|0|1(\.0*)?)){4,}\s*$"
)
# (line number, class, points in [0, 1])
Row = tuple[int, int, list[tuple[float, float]]]
# Lines with a box before the polygon: their number and share, and the rounding of the box.
_LEAST_BOXED, _MOSTLY_BOXED, _EXACT = 3, 0.8, 0.005
# Ultralytics' key of data sets for pose.
_KEYPOINTS = re.compile(r"^\s*kpt_shape\s*:", re.MULTILINE)
_COCO = re.compile(r"(^|[/_-])coco(8|128|2017)?(-seg)?($|/)", re.IGNORECASE)


class Yolo:
    """YOLO polygons."""

    name = "yolo"
    source = "YOLO polygons (Ultralytics YOLOv5 to YOLO11)"

    def sniff(self, tree: FolderTree) -> str:
        files = _label_files(tree)
        if files and _mask_files(tree) and not _name_images(tree, files):
            return ""
        for path in files[:50]:
            lines = [line for line in _labels_text(tree, path).splitlines() if line.strip()]
            if lines and all(map(_LINE.match, lines)):
                return f"lines of a class and coordinates in {path}"
        return ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        for path in tree.with_ending(".yaml", ".yml"):
            if _KEYPOINTS.search(_text(tree, path)):
                raise DataError(
                    f"{tree.path('', path)}: kpt_shape: the labels are boxes and keypoints "
                    "(pose), not masks; expected polygons; export segmentation labels"
                )
        sheets, classes, boxes, polygons = [], set(), "", 0
        labeled: list[tuple[str, str, list[Row]]] = []
        partners, notes = _partners(tree)
        for path, image in partners.items():
            if not image:
                sheets.append(Sheet(path, os.path.splitext(path)[0], known=False))
                continue
            rows = _rows(tree.path("", path), _labels_text(tree, path))
            boxes = boxes or next((f"{path} line {n}" for n, _, p in rows if len(p) == 2), "")
            polygons += sum(len(p) > 2 for _, _, p in rows)
            classes |= {row[1] for row in rows}
            labeled.append((path, image, rows))
        if boxes:
            raise DataError(
                f"{tree.root}: {boxes} holds a box (class and 4 numbers); expected polygons (class "
                f"and 6 or more); {polygons} other lines are polygons; export segmentation labels"
            )
        boxed = _leave_out_boxes([rows for _, _, rows in labeled])
        sheets += [_sheet(tree, path, image, rows, choices) for path, image, rows in labeled]
        names, note = _names(tree, classes)
        for sheet in sheets:
            sheet.shapes = [(names[int(label)], shape) for label, shape in sheet.shapes]
        found = collect(tree, sheets, [name for name in names if name], choices)
        found.notes.append(note)
        doubled = sorted({name for name in names if name and names.count(name) > 1})
        if doubled:
            found.warnings.append(
                f"several classes have one name and become one class: {some(doubled)}"
            )
        empty = [sheet.source for sheet in sheets if sheet.known and not sheet.shapes]
        if empty:
            found.notes.append(
                f"{len(empty)} label files are empty, so their images are all background: "
                f"{some(empty, 3)}; remove the file of an image that nobody has labeled (Label "
                "Studio writes one for each task)"
            )
        found.problems += _twins(tree, sheets)
        if not choices.get("own_lists"):
            apply_yaml(tree, found)
        shapes = [shape["points"] for sheet in sheets for _, shape in sheet.shapes]
        if shapes:
            # Oriented boxes (OBB) have four corners, too.
            found.warnings += mostly_rectangles(sum(map(is_rectangle, shapes)), len(shapes))
        if boxed:
            found.notes.append(
                f"{boxed} lines hold a box (center, width and height) before the polygon; it is "
                "left out"
            )
        found.notes += notes
        return found


def _labels_text(tree: FolderTree, path: str) -> str:
    """The text of a label file; commas between numbers that have points separate them."""
    text = _text(tree, path)
    return text.replace(",", " ") if "," in text and "." in text else text


def _partners(tree: FolderTree) -> tuple[dict[str, str], list[str]]:
    """The image of each label file, '' without one; and notes about names that differ."""
    images = {os.path.splitext(path)[0]: path for path in tree.with_ending(*IMAGE_SUFFIXES)}
    uploaded, named = _without_prefixes(images), _by_names(images)
    partners: dict[str, str] = {}
    renamed: list[str] = []
    moved: list[str] = []
    for path in _label_files(tree):
        stem = os.path.splitext(path)[0]
        image = _image_of(stem, images)
        if not image and "labels" not in stem.lower().split("/"):
            image = named.get(stem.rpartition("/")[2], "")
        if not image:
            # Label Studio's upload prefix may be in the name of the labels, or of the image.
            folder, _, name = stem.rpartition("/")
            bare = f"{folder}/{without_upload_prefix(name)}"
            image = _image_of(bare, images) if bare != stem else _image_of(stem, uploaded)
            renamed += [f"{path} -> {image}"] if image else []
        if not image:
            # Images that were moved into another folder, but not into that of another split.
            other = named.get(stem.rpartition("/")[2], "")
            image = other if split_of("", path, "") in ("", split_of(other)) else ""
            moved += [f"{path} -> {image}"] if image else []
        partners[path] = image
    reasons = (
        (moved, "their names, in folders that do not fit those of the labels"),
        (renamed, "names without Label Studio's upload prefix"),
    )
    return partners, [
        f"{len(found)} images found by {reason}: {some(found, 3)}"
        for found, reason in reasons
        if found
    ]


def _twins(tree: FolderTree, sheets: list[Sheet]) -> list[str]:
    """An error if labels fit two images: a.txt with a.jpg and a.png."""
    paths: dict[str, list[str]] = {}
    for path in tree.with_ending(*IMAGE_SUFFIXES):
        paths.setdefault(os.path.splitext(path)[0], []).append(path)
    for sheet in sheets:
        fitting = paths.get(os.path.splitext(sheet.image)[0], ())
        if len(fitting) > 1:
            return [
                f"{tree.path('', sheet.source)}: {len(fitting)} images have its name: "
                f"{some(fitting)}; expected one; rename or remove the others"
            ]
    return []


def _label_files(tree: FolderTree) -> list[str]:
    """Text files in folders named labels, or with an image of their name in their folder."""
    texts = tree.with_ending(".txt")
    if not texts:
        return []
    images = {os.path.splitext(path)[0] for path in tree.with_ending(*IMAGE_SUFFIXES)}
    found = [
        path for path in texts
        if "labels" in path.lower().split("/")[:-1] or os.path.splitext(path)[0] in images
    ]  # fmt: skip
    if found:
        return found
    # V7 writes annotations/X.txt for images/X.jpg. Texts of other numbers, such as SYNTHIA's GTTXT,
    # have such names too.
    names = {stem.rpartition("/")[2] for stem in images}
    found = [path for path in texts if path.rpartition("/")[2][:-4] in names]
    contents = filter(str.strip, (_text(tree, path) for path in found[:50]))
    lines = next(contents, "").strip().splitlines()
    return found if all(map(_SHARES.match, lines)) else []


def _name_images(tree: FolderTree, files: list[str]) -> bool:
    """True if a text file has the name of an image, by any of the rules."""
    images, texts = (
        {os.path.splitext(path.rpartition("/")[2])[0] for path in paths}
        for paths in (tree.with_ending(*IMAGE_SUFFIXES), files)
    )
    images, texts = (own | set(map(without_upload_prefix, own)) for own in (images, texts))
    return not images.isdisjoint(texts)


def _mask_files(tree: FolderTree) -> bool:
    """True if a folder named like those of masks holds pictures."""
    return any(
        place.role == "mask" and name.lower().endswith(MASK_SUFFIXES)
        for place in places(tree, {})
        for name in tree.files[place.folder]
    )


def _without_prefixes(images: dict[str, str]) -> dict[str, str]:
    """Stem without Label Studio's upload prefix -> image, for stems that one image alone has."""
    found: dict[str, list[str]] = {}
    for stem, path in images.items():
        folder, slash, name = stem.rpartition("/")
        plain = without_upload_prefix(name)
        if plain != name:
            found.setdefault(folder + slash + plain, []).append(path)
    return {stem: paths[0] for stem, paths in found.items() if len(paths) == 1}


def _image_of(stem: str, images: dict[str, str]) -> str:
    """The image of a label file: with images in place of labels, or in the same folder."""
    parts = stem.split("/")
    for index in range(len(parts) - 2, -1, -1):
        if parts[index].lower() == "labels":
            for place in ("images", "Images", "imgs", "img", "JPEGImages"):
                path = "/".join((*parts[:index], place, *parts[index + 1 :]))
                if path in images:
                    # labels/ may hold masks of the same names.
                    return images[path]
    if stem in images:
        return images[stem]
    for index in range(len(parts) - 2, -1, -1):
        # labels/ next to the images, as predictions are saved.
        path = "/".join((*parts[:index], *parts[index + 1 :]))
        if parts[index].lower() == "labels" and path in images:
            return images[path]
    return ""


def _by_names(images: dict[str, str]) -> dict[str, str]:
    """Name without folder and ending -> image, for names that one image alone has."""
    count = Counter(stem.rpartition("/")[2] for stem in images)
    return {name: path for stem, path in images.items()
            if count[name := stem.rpartition("/")[2]] == 1}  # fmt: skip


def _text(tree: FolderTree, path: str) -> str:
    try:
        return decoded(as_path(tree.path("", path)).read_bytes(), "replace")
    except OSError as error:
        raise DataError(f"{tree.path('', path)}: cannot be read ({error.strerror})") from None


def _rows(path: str, text: str) -> list[Row]:
    """(line number, class, points in [0, 1]) of each line."""
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            label, values = int(words[0].split(".")[0]), [float(word) for word in words[1:]]
        except ValueError:
            values = []
        inside = all(-0.01 <= value <= 1.01 for value in values)
        if len(values) < 4 or len(values) % 2 or not inside:
            raise DataError(
                f"{path} line {number}: {line[:60]!r}; expected a class and pairs of numbers in "
                "[0, 1]; export the labels again"
            )
        rows.append((number, label, list(zip(values[::2], values[1::2], strict=True))))
    return rows


def _leave_out_boxes(files: list[list[Row]]) -> int:
    """Takes the box out of lines `class x y width height x y x y …`, if nearly all are such lines.

    Returns:
        The number of boxes; 0 if the lines are polygons alone.
    """
    total = sum(map(len, files))
    boxed = [(rows, place) for rows in files for place, row in enumerate(rows) if _has_box(row[2])]
    if len(boxed) < _LEAST_BOXED or len(boxed) < _MOSTLY_BOXED * total:
        return 0
    for rows, place in boxed:
        number, label, points = rows[place]
        rows[place] = (number, label, points[2:])
    return len(boxed)


def _has_box(points: list[tuple[float, float]]) -> bool:
    """True if the first two pairs are the center and the size of the box of the others."""
    if len(points) < 5:
        return False
    columns, lines = zip(*points[2:], strict=True)
    box = (
        (min(columns) + max(columns)) / 2, (min(lines) + max(lines)) / 2,
        max(columns) - min(columns), max(lines) - min(lines),
    )  # fmt: skip
    return max(abs(a - b) for a, b in zip(box, (*points[0], *points[1]), strict=True)) <= _EXACT


def _sheet(tree: FolderTree, path: str, image: str, rows: list[Row], choices: Choices) -> Sheet:
    full = tree.path("", image)
    stored = choices.get("exif") == "stored"
    height, width = stored_size(full) if stored else image_size(full, full)
    # Six decimals of a share are exact to hundredths of a pixel, not to the border of one.
    shapes = [
        (str(label), {"kind": "polygon",
                      "points": [[round(x * width, 2), round(y * height, 2)] for x, y in points]})
        for _, label, points in rows
    ]  # fmt: skip
    return Sheet(path, image, (height, width), shapes, shares=True)


def _names(tree: FolderTree, classes: set[int]) -> tuple[tuple[str, ...], str]:
    """Names of the YOLO classes, and where they come from."""
    count = max(classes, default=-1) + 1
    stated: dict[tuple[str, ...], str] = {}
    for path in tree.with_ending(".yaml", ".yml", ".names", ".labels"):
        names = read_yolo_names(tree.path("", path))
        if names:
            stated.setdefault(names, path)
    if len(stated) > 1:
        (names, path), (others, other), *_ = stated.items()
        raise DataError(
            f"{tree.path('', path)}: class names {some(names)}, but {other} has {some(others)}; "
            "expected one list of names; remove the file that does not belong to these labels"
        )
    file = find_classes(tree)
    for names, path in stated.items():
        if names != file.names and sorted(names) == sorted(file.names):
            raise DataError(
                f"{tree.path('', path)}, {file.path}: list the same classes in another order; "
                "expected one list of names; remove the file that does not belong to these labels"
            )
        return _enough(names, classes, path)
    if file.names:
        return _enough(file.names, classes, file.path)
    if _COCO.search(str(tree.root)) or any(_COCO.search(folder) for folder in tree.files):
        return _enough(COCO_NAMES, classes, "COCO, by the name of the folder")
    return (
        tuple(f"class {index}" for index in range(count)),
        f"no data.yaml or classes.txt: {count} classes without names",
    )


def _enough(names: tuple[str, ...], classes: set[int], path: str) -> tuple[tuple[str, ...], str]:
    count = max(classes, default=-1) + 1
    if len(names) < count:
        raise DataError(
            f"{path}: {len(names)} class names, and the labels use class {count - 1}; expected "
            f"{count} names or more; add them"
        )
    bare = sorted(number for number in classes if not names[number].strip())
    if bare:
        raise DataError(
            f"{path}: no name for class {bare[0]}, which the labels use; expected a name for each "
            "class; add it, or correct the numbers of the names"
        )
    return tuple(names), f"class names of {path}"
