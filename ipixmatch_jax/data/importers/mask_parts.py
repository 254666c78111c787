"""Several mask files per image, one for each class or object: masks/cat/ID.png, masks_cat/ID.png,
masks/cat/ID_c.png (IDRiD), masks/ID/1.png, masks/ID_cat.png.

The names of classes come from the folders or file names; numbers are objects. Pixels that two
classes claim are ignored, unless one of them lies inside the other in all images.
"""

import os
import re
from collections import defaultdict

import numpy as np

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES, image_size
from ipixmatch_jax.data.files.mask_checks import counts_of, histogram_text, percent
from ipixmatch_jax.data.files.masks import MASK_SUFFIXES
from ipixmatch_jax.data.importers import names as folder_names
from ipixmatch_jax.data.importers.drawing import background_first, gray, union_of_files
from ipixmatch_jax.data.importers.found import Choices, Classes, Drawn, Found, Item, some
from ipixmatch_jax.data.importers.mask_tables import naming, tables_of_masks
from ipixmatch_jax.data.importers.nested_classes import nested_classes
from ipixmatch_jax.data.importers.places import Place, places
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import as_path

# Names of parts that are other views of a whole mask, or masks of other people, and no class.
_VIEWS = frozenset("color colors color colored rgb vis viz overlay preview instance instances ids"
                   " labelids instanceids labeltrainids semantic panoptic pred prediction v version"
                   " annotator rater expert reader observer user round old new raw binary final"
                   " fixed backup copy resized manual refined machine train_id train_ids"
                   " train_color trainids label_ids instance_ids".split())  # fmt: skip
# Words in the names of folders that tell the form of the masks, and no class: SegmentationClassNpy.
_FORMS = frozenset("class classes object objects npy png jpg tif tiff gif bmp ids id".split())
# Words whose number names a class: class1 and class2, grade3 and grade4.
_NUMBERED = frozenset("class cls label category type grade stage level layer channel".split())
_MOST_CLASSES = 200
# Images that all have the same count of parts: fewer may have it by chance.
_FEWEST_IMAGES = 4
# Larger numbers than this count no classes.
_MOST_COUNTED = 50
# Digits of padded numbers: CelebAMask-HQ has five.
_WIDTHS = range(2, 9)
# Share of the pixels that must be dark or bright in a mask of a single class.
_CLEAR = 0.9
# Masks that are looked for in tables.
_NAMED = 20
# Share of the foreground that several classes may claim.
_MOST_SHARED = 0.5
# Numbers below this are ids; smoothed edges reach higher.
_FEW_LEVELS = 32

# Part -> paths of its files, for one image.
Parts = dict[str, list[str]]


class MaskParts:
    """One mask file per class or object."""

    name = "mask-parts"
    source = "one mask file per class or object"

    def sniff(self, tree: FolderTree) -> str:
        # Its names of masks end with a number of the object, which its tables explain.
        if tables_of_masks(tree):
            return ""
        form = _form(_Layout(tree))
        if form is None:
            return ""
        image, parts = next((i, p) for i, p in form.items() if sum(map(len, p.values())) > 1)
        files = [path for paths in parts.values() for path in paths]
        return f"{len(files)} masks for {image}: {some(files, 2)}"

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        layout, found = _Layout(tree), Found()
        form = _form(layout) or {}
        doubt = _doubtful(form)
        if doubt:
            found.problems.append(
                f"{tree.root}: masks {doubt} may be two classes or two objects of one class; "
                "expected objects to be numbered from 0 or 1 on in each image, without a gap; put "
                "the masks of each class into a folder of its name (masks/NAME/ID.png), or unite "
                "the objects of each image in one file"
            )
        labels = {_class_of(part) for parts in form.values() for part in parts}
        objects = labels == {""}
        names, table = background_first(sorted(labels - {""}) or ["object"])
        found.classes = Classes(names)
        table[""] = 1 if objects else IGNORE
        counts: dict[str, int] = defaultdict(int)
        by_class = {
            image: _by_class(tree, parts) for image, parts in form.items()
            if parts and layout.split(image) != "unlabeled"
        }  # fmt: skip
        for own in by_class.values():
            for name, files in own.items():
                counts[name] += len(files)
        nested = [] if objects else nested_classes(
            [(tree.path("", image), paths) for image, paths in by_class.items()]
        )  # fmt: skip
        inside = tuple((table[inner], table[outer]) for inner, outer in nested)
        for image in layout.images:
            drawn = None
            if image in by_class:
                files = [(table[k], v) for k, v in by_class[image].items()]
                drawn = drawn_parts(tree.path("", image), files, inside)
            path = tree.path("", image)
            found.items.append(Item(layout.id(image), path, drawn, layout.split(image)))
        if objects:
            found.notes.append(f"{counts['']} objects, drawn together as class 1 of 2")
            found.warnings += _named_in_table(tree, form)
        else:
            shown = some([f"{name} ({n})" for name, n in sorted(counts.items()) if name], 12)
            lying = some([f"{inner} in {outer}" for inner, outer in nested], 6)
            found.notes.append(
                f"masks per class: {shown}; pixels that two classes claim are ignored"
                + f", unless one class lies inside the other in all images: {lying}" * bool(nested)
            )
        bare = [i.id for i in found.items if i.mask is None and i.split in ("val", "test")]
        if bare:
            found.warnings.append(
                f"{len(bare)} val or test images have no mask and are left out: {some(bare)}"
            )
        taken = {f for parts in form.values() for files in parts.values() for f in files}
        left = [path for path in layout.masks if path not in taken]
        if left:
            found.warnings.append(f"{len(left)} masks belong to no image: {some(left)}")
        if "" in labels and not objects:
            found.problems.append(
                f"{tree.root}: some masks are named by a class, others by a number alone; expected "
                "one form; rename the masks"
            )
        return found


def _named_in_table(tree: FolderTree, form: dict[str, Parts]) -> list[str]:
    """A warning if a table names the masks of objects, and may tell their classes."""
    files = [file for parts in form.values() for own in parts.values() for file in own]
    table = naming(tree, files[:_NAMED])
    if not table:
        return []
    return [
        f"{table} names the masks and may tell the class of each, which is not read; if there are "
        "several classes, put the masks of each into masks/CLASS/"
    ]


def _by_class(tree: FolderTree, parts: Parts) -> dict[str, list[str]]:
    """Class -> the files of its masks, for one image."""
    found: dict[str, list[str]] = defaultdict(list)
    for part, files in parts.items():
        found[_class_of(part)] += [tree.path("", file) for file in files]
    return found


class _Layout:
    """The images and masks of a tree, by the roles of its folders."""

    def __init__(self, tree: FolderTree):
        self.places = {place.folder: place for place in places(tree, {})}
        paths = tree.with_ending(*IMAGE_SUFFIXES)
        named = [path for path in paths if self.place(path).role == "image"]
        plain = [path for path in paths if not self.place(path).role]
        # Folders without a role are images only if no folder is named so; see `folders`.
        pool = [path for path in plain if self.place(path).split == "unlabeled"]
        self.images = named + pool if named else plain
        masks = tree.with_ending(*MASK_SUFFIXES)
        self.masks = [path for path in masks if self.place(path).role == "mask"]
        self._tails: dict[str, set[str]] = {}

    def place(self, path: str) -> Place:
        return self.places[path.rpartition("/")[0]]

    def split(self, path: str) -> str:
        return self.place(path).split or "train"

    def tails(self, folder: str, known: dict) -> set[str]:
        """The parts behind the names of images in a folder of masks."""
        if not self._tails:
            for mask in self.masks:
                found = _name_and_part(mask, self, known)
                self._tails.setdefault(mask.rpartition("/")[0], set()).add(
                    found[1] if found else ""
                )
        return self._tails[folder]

    def id(self, path: str) -> str:
        group, split = self.place(path).group, self.split(path)
        stem = _stem(path)
        name = f"{group}/{stem}" if group else stem
        return name if split == "train" else f"{split}/{name}"


def _stem(path: str) -> str:
    return os.path.splitext(path.rpartition("/")[2])[0]


def _class_of(part: str) -> str:
    """`cat` of cat, cat_0 and cat-12; '' of a number: an object without a class.

    The number stays if it is that of a class: class_1, grade3.
    """
    word = re.sub(r"[_\-. ]?\d+$", "", part).strip("_-. ")
    return part if word.lower() in _NUMBERED else word


def _doubtful(form: dict[str, Parts]) -> str:
    """Two parts whose numbers may be classes; '' if they count objects, as 1, 2, 3 in each image.

    Numbers of objects begin with 0 or 1 in every image, have no gap, and differ in their count.
    """
    numbers: dict[str, list[list[int]]] = {}
    names: dict[tuple[str, int], str] = {}
    for parts in form.values():
        own: dict[str, list[int]] = {}
        for part in parts:
            word, found = _class_of(part), re.search(r"\d+$", part)
            if word != part and found:
                own.setdefault(word, []).append(int(found.group()))
                names[word, int(found.group())] = part
        for word, values in own.items():
            numbers.setdefault(word, []).append(sorted(values))
    files = [(part, file) for parts in form.values() for part, own in parts.items() for file in own]
    inside = all(os.path.dirname(file).endswith(f"/{part}") for part, file in files)
    folders = sorted({int(part) for part, _ in files if part.isdigit()})
    if inside and len(folders) > 1:
        # masks/1/ID.png: objects of different images share no folder.
        return f"in the folders {folders[0]} and {folders[1]}"
    for word, lists in numbers.items():
        first = min(values[0] for values in lists)
        counted = all(values == list(range(first, first + len(values))) for values in lists)
        lengths = {len(values) for values in lists}
        if not word and max(map(max, lists)) > _MOST_COUNTED:
            # Numbers of objects in the whole data set.
            continue
        always = lengths != {1} and len(lengths) == 1 and len(lists) >= _FEWEST_IMAGES
        if not counted or first > 1 or always:
            both = sorted({value for values in lists for value in values})
            return " and ".join(names[word, value] for value in both[:2])
    return ""


def _form(layout: _Layout) -> dict[str, Parts] | None:
    """The parts of each image if the masks are parts of one of the forms, else None."""
    masks = layout.masks
    if not _possible(layout):
        return None
    stems: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in layout.images:
        stems[layout.split(path), _stem(path)].append(path)
    # Images of equal names in several folders: which one a mask belongs to is not certain.
    if any(len(paths) > 1 for paths in stems.values()):
        return None
    known = {key: paths[0] for key, paths in stems.items()}
    # 00012_hair.png belongs to 12.jpg; only numbers are written with zeros.
    for (split, stem), image in list(known.items()):
        for width in _WIDTHS if stem.isdigit() else ():
            known.setdefault((split, stem.zfill(width)), image)
    best: dict[str, Parts] | None = None
    for rule in (_folder_is_class, _folder_names_class, _folder_is_image, _name_and_part):
        parts: dict[str, Parts] = {}
        fitting = 0
        for mask in masks:
            found = rule(mask, layout, known)
            if found:
                parts.setdefault(found[0], {}).setdefault(found[1], []).append(mask)
                fitting += 1
        sure = fitting >= 0.9 * len(masks) and _convincing(parts)
        # A folder may have the name of an image by chance.
        if sure and (best is None or len(parts) > len(best)):
            best = parts
    return best


def _possible(layout: _Layout) -> bool:
    """True if the names of masks alone allow several masks per image."""
    files = [path.rpartition("/")[2] for path in layout.masks]
    inside = any(layout.place(path).group for path in layout.masks)
    starts = [re.split(r"[_\-. ]", os.path.splitext(file)[0])[0] for file in files]
    return inside or len(set(files)) < len(files) or len(set(starts)) < len(starts)


def _convincing(parts: dict[str, Parts]) -> bool:
    labels = {_class_of(part) for found in parts.values() for part in found}
    several = sum(sum(map(len, found.values())) > 1 for found in parts.values())
    if len(labels) == 1 and "" not in labels and all(len(own) == 1 for own in parts.values()):
        # Two folders with a file X_lab for each image: two forms of one mask.
        return False
    whole = any(part.lower() in _VIEWS or folder_names.role(part) for part in labels if part)
    return several >= max(1, len(parts) // 4) and len(labels) <= _MOST_CLASSES and not whole


def _folder_is_class(mask: str, layout: _Layout, known: dict) -> tuple[str, str] | None:
    """`masks/cat/ID.png` is cat; `2. Cats/ID_CT.png` is Cats."""
    folder = mask.rpartition("/")[0]
    last = folder.rpartition("/")[2]
    if not layout.place(mask).group.endswith(last):
        return None
    image = known.get((layout.split(mask), _stem(mask)))
    if not image and len(layout.tails(folder, known)) == 1:
        image, _ = _name_and_part(mask, layout, known) or ("", "")
    if not image or layout.place(image).group.endswith(last):
        return None
    return image, re.sub(r"^\d+[._\-) ]+(?=\D)", "", last)


def _folder_names_class(mask: str, layout: _Layout, known: dict) -> tuple[str, str] | None:
    """`masks_cat/ID.png` and `cat_masks/ID.png` are cat."""
    image = known.get((layout.split(mask), _stem(mask)))
    last = mask.rpartition("/")[0].rpartition("/")[2]
    if not image or folder_names.role(last) != "mask":
        return None
    words = re.split(r"[_\-. ]+|(?<=[a-z])(?=[A-Z])", last)
    rest = [word for word in words if not folder_names.is_only_mask(word)]
    named = 0 < len(rest) < len(words) and _FORMS.isdisjoint(word.lower() for word in rest)
    return (image, "_".join(rest)) if named else None


def _folder_is_image(mask: str, layout: _Layout, known: dict) -> tuple[str, str] | None:
    parts = mask.rpartition("/")[0].split("/")
    image = known.get((layout.split(mask), parts[-1]))
    return (image, _stem(mask)) if image else None


def _name_and_part(mask: str, layout: _Layout, known: dict) -> tuple[str, str] | None:
    stem, split = _stem(mask), layout.split(mask)
    if (split, stem) in known:
        return None
    # The longest image name: photo_1_cat belongs to photo_1, not to photo.
    for end in range(len(stem) - 1, 0, -1):
        if stem[end] in "_-. " and (split, stem[:end]) in known:
            return known[split, stem[:end]], stem[end + 1 :]
    return None


def _check_binary(path: str) -> None:
    """Raise a DataError if a file holds more than background and foreground."""
    pixels = gray(path)
    counts = counts_of(pixels)
    clear = sum(n for v, n in counts.items() if min(v, pixels.max() - v) <= 0.25 * pixels.max())
    few = pixels.max() < _FEW_LEVELS
    if len(counts) > 2 and (few or clear < _CLEAR * pixels.size):
        raise DataError(
            f"{path}: holds {histogram_text(counts)}; expected background and one class or object, "
            "as there are several masks for its image; keep one mask per image if it holds class "
            "ids"
        )


def drawn_parts(
    image: str, parts: list[tuple[int, list[str]]], inside: tuple[tuple[int, int], ...] = ()
) -> Drawn:
    """The mask of an image from files of background and one class each.

    Args:
        image: the image file.
        parts: (class id, paths of its files). Pixels that two classes claim become 255; drawing
            raises a DataError if that is most of the foreground.
        inside: (inner, outer) ids of classes; pixels of both are the inner one.
    """

    def content() -> bytes:
        pieces = [b"parts", *(b"%d in %d" % pair for pair in inside)]
        for class_id, paths in parts:
            pieces += [b"%d" % class_id, *(as_path(path).read_bytes() for path in paths)]
        return b"|".join(pieces)

    def draw() -> np.ndarray:
        ids = np.zeros(image_size(image, image), np.uint8)
        claims = np.zeros(ids.shape, np.uint8)
        for path in (path for _, paths in parts for path in paths):
            _check_binary(path)
        masks = {class_id: union_of_files(paths, image) > 0 for class_id, paths in parts}
        for class_id, own in masks.items():
            pixels = own.copy()
            for inner, outer in inside:
                if outer == class_id and inner in masks:
                    pixels &= ~masks[inner]
            # A mask of background claims nothing.
            if class_id:
                claims += pixels
                ids[pixels] = class_id
        both = claims > 1
        if both.sum() > _MOST_SHARED * (claims > 0).sum():
            folders = sorted({os.path.dirname(path) for _, paths in parts for path in paths})
            raise DataError(
                f"{image}: {percent(both.sum() / (claims > 0).sum())} of the foreground belongs to "
                f"two of its {len(parts)} masks; expected one mask per class or object; they look "
                "like masks of several people: set data.folder.format=folders and "
                f"data.folder.train_masks to the folder that counts, such as {folders[0]}"
            )
        ids[both] = IGNORE
        return ids

    return Drawn(image, content, draw)
