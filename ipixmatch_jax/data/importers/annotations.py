"""Common code of formats in which annotation files describe the masks of images."""

import contextlib
import os
import posixpath
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ipixmatch_jax.data.files.images import image_size
from ipixmatch_jax.data.importers import names as folder_names
from ipixmatch_jax.data.importers.beside import looks_like_mask
from ipixmatch_jax.data.importers.bounding_boxes import drop_bounding_boxes
from ipixmatch_jax.data.importers.covered_shapes import covered_shapes
from ipixmatch_jax.data.importers.drawing import background_first, drawn_shapes, stored_size
from ipixmatch_jax.data.importers.found import Choices, Classes, Drawn, Found, Item, some
from ipixmatch_jax.data.importers.image_index import ImageIndex
from ipixmatch_jax.data.importers.names import folded
from ipixmatch_jax.data.importers.parts import parts_of
from ipixmatch_jax.data.importers.places import item_id, place_of, split_of
from ipixmatch_jax.data.importers.shape_places import check_places
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError

# Class ids are 0..254; 255 means ignore.
MOST_CLASSES = 255
# Share of rectangles among the shapes from which on they may be boxes.
_MOSTLY = 0.5
# Spaces and underscores between words; those of _background_ are a part of the label.
_WITHIN = re.compile(r"(?<=[^\W_])[\s_]+(?=[^\W_])")
# Labels that mean a class in some data sets, such as a void in a casting, and none in others.
_DOUBTFUL = frozenset("void unlabeled unlabelled unannotated".split())
# Images whose shapes are compared with their size.
_CHECKED = 200


@dataclass
class Sheet:
    """The annotations of one image.

    Attributes:
        source: the annotation file, relative to the root.
        image: file name or path of the image, as the annotations give it.
        size: (H, W) as the annotations give it, or None.
        shapes: (label, shape) in drawing order; see `drawing.draw_shapes`.
        split: train, val or test; '' takes it from the folders.
        mask: a mask that is drawn in another way than from `shapes`.
        known: False if the image is listed without any annotation.
        shares: the annotations give shares of width and height, and `size` is that of the file.
    """

    source: str
    image: str
    size: tuple[int, int] | None = None
    shapes: list[tuple[str, dict]] = field(default_factory=list)
    split: str = ""
    mask: Drawn | None = None
    known: bool = True
    shares: bool = False


def collect(
    tree: FolderTree,
    sheets: Sequence[Sheet],
    labels: Iterable[str] | None,
    choices: Choices,
    classes: Classes | None = None,
) -> Found:
    """The items of annotated images; images that no sheet names are unlabeled.

    Args:
        tree: the folder.
        sheets: the annotations.
        labels: class names in the order of the ids; None takes the labels in use, sorted.
        choices: `unannotated` says what images without annotation are.
        classes: the classes, if `sheets` bring masks of their own.
    """
    found, index = Found(), ImageIndex(tree)
    found.warnings += drop_bounding_boxes([(sheet.image, sheet.shapes) for sheet in sheets])
    table = _settle_classes(tree, sheets, labels, classes, found)
    missing: list[str] = []
    taken: dict[str, tuple[str, str]] = {}
    twins: list[str] = []
    lengths = Counter(sheet.source for sheet in sheets)
    placed: list[tuple[int, Sheet, str, Item]] = []
    # Each job of CVAT lists all images: those without annotation there may have some elsewhere.
    for place, sheet in sorted(enumerate(sheets), key=lambda one: not one[1].known):
        try:
            split = sheet.split or split_of("", sheet.source, "")
            parts = parts_of(sheet.source, several=lengths[sheet.source] > 1)
            path = index.find(sheet.image, posixpath.dirname(sheet.source), split, parts)
        except DataError as error:
            found.problems.append(str(error))
            continue
        if not path:
            missing.append(sheet.image)
            continue
        split = sheet.split or split_of(path, sheet.source)
        if path in taken and not sheet.known and split == taken[path][1]:
            twins.append(path)
            continue
        if path in taken:
            found.problems.append(
                f"{tree.path('', path)}: annotated twice, as {taken[path][0]} and as {sheet.image}"
                + (f", the second time in {sheet.source}" if sheet.source else "")
                + "; expected one annotation per image; remove one, or put both images here"
            )
            continue
        taken[path] = sheet.image, split
        placed.append((place, sheet, path, _item(tree, sheet, path, split, table, choices)))
    placed.sort(key=lambda one: one[0])
    found.items = [item for *_, item in placed]
    some_images = _some_images(tree, [(s, path) for _, s, path, _ in placed if s.shapes])
    check_places(_corners(some_images), str(tree.root))
    found.warnings += covered_shapes(some_images)
    found.warnings += _other_numbers([(sheet.image, path) for _, sheet, path, _ in placed])
    if twins:
        found.notes.append(
            f"{len(twins)} images are listed once more without annotation, which does not count: "
            f"{some(twins, 3)}"
        )
    empty = [path for _, sheet, path, _ in placed if not sheet.known]
    _remarks(tree, found, index, sheets, missing, empty, taken, choices)
    return found


def _settle_classes(
    tree: FolderTree, sheets: Sequence[Sheet], labels: Iterable[str] | None,
    classes: Classes | None, found: Found,
) -> dict[str, int]:  # fmt: skip
    """Sets the classes of `found`, and returns the class id of each label."""
    used = sorted({label for sheet in sheets for label, _ in sheet.shapes})
    given = tuple(labels) if labels is not None else ()
    _check_named(tree, sheets)
    check_spelling(tree, used, given)
    found.warnings += doubtful_labels(used)
    names, table = background_first([*given, *(u for u in used if u not in given)])
    extra = [u for u in used if given and u not in given and table[u] not in (0, IGNORE)]
    if extra:
        found.warnings.append(
            f"{len(extra)} labels are in use but not in the list of classes, and were added: "
            f"{some(extra)}"
        )
    found.classes = classes or Classes(names=names)
    if len(found.classes.names) > MOST_CLASSES:
        raise DataError(
            f"{tree.root}: {len(found.classes.names)} classes, background included; expected at "
            f"most {MOST_CLASSES}; merge labels in the annotation tool, or export fewer"
        )
    return table


def _other_numbers(names: Iterable[tuple[str, str]]) -> list[str]:
    """A warning about images in cam2 that the annotations name in cam1; [] without any."""
    found = [f"{name} -> {path}" for name, path in names if _of_other_number(name, path)]
    if not found:
        return []
    return [
        f"{len(found)} images are found in a folder of another number than that of the "
        f"annotations: {some(found, 3)}; if they are other images, put the right ones here"
    ]


def _of_other_number(name: str, path: str) -> bool:
    """True if a name in annotations and a path first differ, from their ends, in a number."""
    parts = (part.replace("\\", "/").split("/")[-2::-1] for part in (name, path))
    for one, other in zip(*parts, strict=False):
        if folded(one) != folded(other):
            plain = [re.sub(r"\d+", "#", folded(part)) for part in (one, other)]
            return plain[0] == plain[1]
    return False


def _some_images(
    tree: FolderTree, located: Sequence[tuple[Sheet, str]]
) -> list[tuple[str, tuple[int, int], list[tuple[str, dict]]]]:
    """Path, size and shapes of a few hundred images; those that cannot be read are said later."""
    images = []
    for sheet, path in located[:: max(1, len(located) // _CHECKED)]:
        full = tree.path("", path)
        with contextlib.suppress(DataError):
            images.append((path, sheet.size or image_size(full, full), sheet.shapes))
    return images


def _corners(
    images: Iterable[tuple[str, tuple[int, int], list[tuple[str, dict]]]],
) -> Iterator[tuple[str, tuple[int, int], np.ndarray]]:
    """Path, size and corners of each polygon and rectangle."""
    for path, size, drawn in images:
        # A shape that cannot be read is said when it is drawn.
        with contextlib.suppress(TypeError, ValueError, KeyError):
            for _, shape in drawn:
                if shape["kind"] in ("polygon", "rectangle"):
                    yield path, size, np.asarray(shape["points"], float)


def _check_named(tree: FolderTree, sheets: Sequence[Sheet]) -> None:
    """Raise a DataError if a shape has no label: it would be a class without a name."""
    bare = [sheet for sheet in sheets if any(not label.strip() for label, _ in sheet.shapes)]
    if bare:
        source, image = tree.path("", bare[0].source), bare[0].image
        others = f", and shapes of {len(bare) - 1} other images" * (len(bare) > 1)
        raise DataError(
            f"{source}: a shape of {image}{others} has no label; expected the name of a class; "
            "give it one in the annotation tool, or remove the shape"
        )


def check_spelling(tree: FolderTree, used: Sequence[str], given: Sequence[str]) -> None:
    """Raise a DataError if a label in use differs from another only in case, spaces or form."""
    seen: dict[str, str] = {}
    for label in [*used, *(label for label in given if label not in used)]:
        other = seen.setdefault(_WITHIN.sub(" ", folded(label).strip()), label)
        if other != label and other in used:
            raise DataError(
                f"{tree.root}: labels {other!r} and {label!r} differ in case or spaces alone (_ is "
                "one); expected one spelling per class; rename one of them in the annotation tool"
            )


def doubtful_labels(used: Iterable[str]) -> list[str]:
    """The warning about labels such as void, which may be a class or pixels that do not count."""
    found = [label for label in used if label.strip("_ ").lower() in _DOUBTFUL]
    if not found:
        return []
    return [
        f"label {some(found)} is a class like the others; if its pixels are not to count, call it "
        "ignore in the annotation tool, and if they show no object, background"
    ]


def _item(
    tree: FolderTree, sheet: Sheet, path: str, split: str, table: dict[str, int], choices: Choices
) -> Item:
    image = tree.path("", path)
    if not sheet.known and choices.get("unannotated") != "background":
        return Item(item_id(path, split), image, None, split)
    mask = sheet.mask
    if mask is None:
        shapes = [(table[label], shape) for label, shape in sheet.shapes]
        # The user says that shapes were drawn on the pixels before EXIF turns them.
        stored = sheet.size is None and choices.get("exif") == "stored"
        size = stored_size(image) if stored else sheet.size
        mask = drawn_shapes(image, size, shapes, tree.path("", path))
        kinds = {sheet.size is None: "pixels", sheet.shares: "shares"}
        mask = mask._replace(unsized=kinds.get(True, ""))
    if isinstance(mask, Drawn) and sheet.source:
        mask = mask._replace(source=f"{tree.path('', sheet.source)}, image {path}")
    return Item(item_id(path, split), image, mask, split)


def _is_mask(tree: FolderTree, path: str) -> bool:
    """True if a file has a word for masks in its name, and few colors."""
    stem = os.path.splitext(path.rpartition("/")[2])[0]
    named = folder_names.role(stem) in ("mask", "preview")
    return named and looks_like_mask(tree.path("", path))


def mostly_rectangles(count: int, total: int) -> list[str]:
    """The warning about annotations that may be those of object detection; [] if few are."""
    if count < _MOSTLY * total:
        return []
    shown = f"all {total}" if count == total else f"{count} of {total}"
    return [
        f"{shown} shapes are rectangles, drawn as filled areas; boxes around objects are no masks: "
        "draw polygons, unless the objects are rectangular"
    ]


def _remarks(
    tree: FolderTree, found: Found, index: ImageIndex, sheets: Sequence[Sheet],
    missing: list[str], empty: list[str], taken: Collection[str], choices: Choices,
) -> None:  # fmt: skip
    spellings = (
        (index.renamed, "names without Label Studio's upload prefix"),
        (index.respelled, "names in another case or Unicode form"),
        (index.converted, "names with another ending"),
    )
    for renamed, reason in spellings:
        if renamed:
            shown = some([f"{name} -> {path}" for name, path in renamed.items()], 3)
            found.notes.append(f"{len(renamed)} images found by {reason}: {shown}")
    rest = [
        path for path in index.images
        if path not in taken and place_of(path.rpartition("/")[0]).role != "mask"
    ]  # fmt: skip
    # labelme_json_to_dataset leaves label.png and label_viz.png next to its photos.
    masks = [path for path in rest if _is_mask(tree, path)]
    if masks:
        rest = [path for path in rest if path not in masks]
        found.notes.append(f"{len(masks)} masks next to photos are not used: {some(masks, 3)}")
    for path in rest:
        split = split_of(path)
        found.items.append(Item(item_id(path, split), tree.path("", path), None, split))
    if rest:
        found.notes.append(f"{len(rest)} images are not in the annotations: {some(rest, 3)}")
    left = [path for path in [*rest, *empty] if split_of(path) in ("val", "test")]
    if empty:
        background = choices.get("unannotated") == "background"
        text = "read as all background" if background else "unlabeled"
        found.notes.append(
            f"{len(empty)} images are listed without any annotation: {text} "
            f"(data.folder.unannotated): {some(empty, 3)}"
        )
    if left and not (choices.get("unannotated") == "background" and not rest):
        found.warnings.append(f"{len(left)} val or test images have no mask: {some(left, 3)}")
    kinds = [shape["kind"] for sheet in sheets for _, shape in sheet.shapes]
    if set(kinds) == {"rectangle"}:
        found.warnings += mostly_rectangles(len(kinds), len(kinds))
    if missing:
        found.warnings.append(
            f"{len(missing)} annotated images do not exist: {some(missing)}; put them next to the "
            "annotations"
        )
