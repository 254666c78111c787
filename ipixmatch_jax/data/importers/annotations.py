"""Common code of formats in which annotation files describe the masks of images."""

import os
import posixpath
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES, image_size
from ipixmatch_jax.data.importers import names as folder_names
from ipixmatch_jax.data.importers.beside import looks_like_mask
from ipixmatch_jax.data.importers.bounding_boxes import drop_bounding_boxes
from ipixmatch_jax.data.importers.drawing import background_first, drawn_shapes, stored_size
from ipixmatch_jax.data.importers.found import Choices, Classes, Drawn, Found, Item, some
from ipixmatch_jax.data.importers.names import folded, without_upload_prefix
from ipixmatch_jax.data.importers.parts import parts_of
from ipixmatch_jax.data.importers.places import place_of
from ipixmatch_jax.data.importers.shape_places import check_places
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError

# LabelMe may name its own file as the image.
_NO_IMAGES = (".json", ".xml", ".txt", ".csv")
# Class ids are 0..254; 255 means ignore.
MOST_CLASSES = 255
# Share of rectangles among the shapes from which on they may be boxes.
_MOSTLY = 0.5
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


class ImageIndex:
    """Finds images of a tree by the names in annotation files."""

    def __init__(self, tree: FolderTree):
        self.tree = tree
        above = len(tree.top.split("/")) if tree.top else 0
        self.images: list[str] = [
            path
            for path in tree.with_ending(*IMAGE_SUFFIXES)
            if not any(folder_names.role(p) == "preview" for p in path.split("/")[above:-1])
        ]
        # File name of an image as the annotations gave it -> its path, if an upload prefix differs,
        # the spelling (case and Unicode form), or the ending.
        self.renamed: dict[str, str] = {}
        self.respelled: dict[str, str] = {}
        self.converted: dict[str, str] = {}
        self._folders = {part for path in self.images for part in path.split("/")[:-1]}
        self._places = {folded(posixpath.dirname(path)) for path in self.images}
        self._by_name: dict[str, list[str]] = {}
        self._by_plain: dict[str, list[str]] = {}
        self._by_letters: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        for path in self.images:
            base = posixpath.basename(path)
            self._by_name.setdefault(base, []).append(path)
            self._by_letters.setdefault(folded(base), []).append(path)
            if place_of(posixpath.dirname(path)).role != "mask":
                self._by_stem.setdefault(os.path.splitext(base)[0], []).append(path)
            if without_upload_prefix(base) != base:
                self._by_plain.setdefault(without_upload_prefix(base), []).append(path)

    def find(self, name: str, near: str = "", split: str = "", parts: Sequence[str] = ()) -> str:
        """The relative path of an image; '' if there is none.

        If no image has the name, the case of letters, their Unicode form, Label Studio's upload
        prefix or the ending may differ; the prefix is removed from the name, or from the images.

        Args:
            name: file name or path; folders in it may be those of another machine.
            near: the folder of the annotation file, preferred if several images fit.
            split: likewise, the split of the annotations; '' if nothing tells it. An image in a
                folder of another split does not fit.
            parts: likewise, names of the part of the data set that is annotated, such as siteA; see
                `parts_of`. An image in images/siteB does not fit if there is images/siteA.

        Raises:
            DataError: several images fit.
        """
        name = posixpath.normpath(name.replace("\\", "/"))
        for start in (near, ""):
            path = posixpath.normpath(posixpath.join(start, name))
            if self.tree.has(path) and not path.lower().endswith(_NO_IMAGES):
                return path
        folder, base = posixpath.split(name)
        plain = without_upload_prefix(base)
        if not name.startswith("/") and name[1:2] != ":":
            # The folders of another machine tell no split.
            split = folder_names.split_of_path(folder, split)
        tables = ((base, self._by_name), (folded(base), self._by_letters),
                  (plain, self._by_name), (base, self._by_plain))  # fmt: skip
        for number, (key, table) in enumerate(tables):
            candidates = [p for p in table.get(key, ()) if self._may_be(p, folder, split, parts)]
            if not candidates:
                continue
            path = self._single(candidates, posixpath.join(folder, key), name, near, split)
            if number:
                (self.respelled if number == 1 else self.renamed)[name] = path
            return path
        stem = os.path.splitext(base)[0]
        found = self._by_stem.get(stem, ())
        candidates = [path for path in found if self._may_be(path, folder, split, parts)]
        if len(candidates) == 1:
            self.converted[name] = candidates[0]
            return candidates[0]
        return ""

    def _may_be(self, path: str, folder: str, split: str, named: Sequence[str]) -> bool:
        """False if an image of that name is another one, and the one that is meant is missing.

        The folder in a name may be that of another machine. If it exists here, the image lies in
        it; and the annotations of train do not describe the images of test.
        """
        last = folder.rpartition("/")[2]
        parts = path.split("/")[:-1]
        own = folder_names.split_of_path("/".join(parts), "")
        if split and own and split != own:
            return False
        # Is there a folder like this one, but of the part that is meant?
        groups = place_of("/".join(parts)).group.split("/") if named else ()
        here = {folded(name) for name in parts}
        for part in named:
            others = ((*parts[:i], part, *parts[i + 1 :])
                      for i, name in enumerate(parts) if name in groups)  # fmt: skip
            absent = folded(part) not in here
            if absent and any(folded("/".join(other)) in self._places for other in others):
                return False
        return last in parts or last not in self._folders

    def _single(self, candidates: list[str], key: str, name: str, near: str, split: str) -> str:
        if len(candidates) > 1:
            longest = max(_common_tail(path, key) for path in candidates)
            fitting = [path for path in candidates if _common_tail(path, key) == longest]
            inside = [path for path in fitting if near and path.startswith(f"{near}/")]
            if len(inside) != 1:
                inside = [path for path in fitting if split_of(path) == (split or "train")]
            if len(inside) != 1:
                # siteA/json/1.json describes siteA/images/1.jpg, and not siteB/images/1.jpg.
                shared = {path: _common_start(path, near) for path in fitting}
                inside = [path for path in fitting if 0 < shared[path] == max(shared.values())]
            candidates = inside if len(inside) == 1 else fitting
        if len(candidates) > 1:
            raise DataError(
                f"{self.tree.path('', candidates[0])}: {len(candidates)} images fit {name!r} of "
                f"the annotations: {some(candidates)}; expected one; rename or remove the others"
            )
        return candidates[0]


def _common_start(path: str, folder: str) -> int:
    """The folders from the root on that two paths share."""
    return len(os.path.commonprefix([path.split("/")[:-1], folder.split("/")]))


def _common_tail(path: str, name: str) -> int:
    pairs = zip(reversed(path.split("/")), reversed(name.split("/")), strict=False)
    count = 0
    for one, other in pairs:
        if one != other:
            break
        count += 1
    return count


def split_of(path: str, source: str = "", default: str = "train") -> str:
    """The split by the folders of an image, or by the name of the annotation file; or `default`."""
    folders = "/".join([*path.split("/")[:-1], *source.split("/")[:-1]])
    stem = os.path.splitext(source.rpartition("/")[2])[0]
    return folder_names.split_of_path(folders, folder_names.split(stem) or default)


def item_id(path: str, split: str) -> str:
    """The id of an image: its path without ending and without folders such as images and train.

    Validation and test images have their split as a prefix.
    """
    folder, _, name = path.rpartition("/")
    group = place_of(folder).group
    stem = os.path.splitext(f"{group}/{name}" if group else name)[0]
    return folder_names.with_split(stem, split)


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
    used = sorted({label for sheet in sheets for label, _ in sheet.shapes})
    given = tuple(labels) if labels is not None else ()
    _check_named(tree, sheets)
    _check_spelling(tree, used, given)
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
    missing: list[str] = []
    empty: list[str] = []
    taken: dict[str, str] = {}
    lengths = Counter(sheet.source for sheet in sheets)
    located: list[tuple[Sheet, str]] = []
    for sheet in sheets:
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
        if path in taken:
            found.problems.append(
                f"{tree.path('', path)}: annotated twice, as {taken[path]} and as {sheet.image}"
                + (f", the second time in {sheet.source}" if sheet.source else "")
                + "; expected one annotation per image; remove one, or put both images here"
            )
            continue
        taken[path] = sheet.image
        located += [(sheet, path)] if sheet.shapes else []
        split = sheet.split or split_of(path, sheet.source)
        if not sheet.known:
            empty.append(path)
        found.items.append(_item(tree, sheet, path, split, table, choices))
    _check_places(tree, located)
    _remarks(tree, found, index, sheets, missing, empty, taken, choices)
    return found


def _check_places(tree: FolderTree, located: Sequence[tuple[Sheet, str]]) -> None:
    """Raises a DataError if the shapes of a few hundred images do not lie in them."""

    def shapes() -> Iterator[tuple[str, tuple[int, int], np.ndarray]]:
        for sheet, path in located[:: max(1, len(located) // _CHECKED)]:
            full = tree.path("", path)
            try:
                size = sheet.size or image_size(full, full)
                for _, shape in sheet.shapes:
                    if shape["kind"] in ("polygon", "rectangle"):
                        yield path, size, np.asarray(shape["points"], float)
            except (DataError, TypeError, ValueError, KeyError):
                # Said when the image is read or the shape is drawn.
                continue

    check_places(shapes(), str(tree.root))


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


def _check_spelling(tree: FolderTree, used: Sequence[str], given: Sequence[str]) -> None:
    """Raise a DataError if a label in use differs from another only in case, spaces or form."""
    seen: dict[str, str] = {}
    for label in [*used, *(label for label in given if label not in used)]:
        other = seen.setdefault(" ".join(folded(label).split()), label)
        if other != label and other in used:
            raise DataError(
                f"{tree.root}: labels {other!r} and {label!r} differ in case or spaces alone; "
                "expected one spelling per class; rename one of them in the annotation tool"
            )


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
