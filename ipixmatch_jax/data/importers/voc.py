"""Pascal VOC folders: VOC 2012 itself, CVAT "Segmentation mask 1.1", labelme2voc of labelme 3 to 5.

Images in JPEGImages, masks in SegmentationClass (colors of labelmap.txt, or ids), or in
SegmentationClassNpy (-1 is ignored); lists in ImageSets/Segmentation.
"""

import io
import posixpath
from collections.abc import Collection, Sequence

import numpy as np

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.files.split_lists import short_id
from ipixmatch_jax.data.files.stored_masks import read_stored
from ipixmatch_jax.data.importers.class_file import ClassFile
from ipixmatch_jax.data.importers.class_files import find_classes
from ipixmatch_jax.data.importers.contents import content
from ipixmatch_jax.data.importers.found import (
    Choices,
    Classes,
    Drawn,
    Found,
    Item,
    drawn_from,
    some,
)
from ipixmatch_jax.data.importers.names import is_only_split, split
from ipixmatch_jax.data.importers.pairing import pair
from ipixmatch_jax.data.importers.places import item_id
from ipixmatch_jax.data.importers.split_files import apply_lists
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import as_path

# Mask folders in the order of preference.
_MASKS = ("SegmentationClass", "SegmentationClassPNG", "SegmentationClassNpy")
_MASK_ENDINGS = (".png", ".npy")
# The border of VOC's own masks, where they are shown as colors.
_BORDER = (224, 224, 192)
# Masks in which the form of all is looked up.
_SAMPLE = 20


class Voc:
    """Folders as Pascal VOC has them."""

    name = "voc"
    source = "Pascal VOC folders (VOC 2012, CVAT mask 1.1, labelme2voc)"

    def sniff(self, tree: FolderTree) -> str:
        bases = _bases(tree)
        return f"JPEGImages and {_mask_folder(tree, bases[0])}" if bases else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        bases = _bases(tree)
        if len(bases) != 1:
            shown = some([base or "." for base in bases])
            raise DataError(
                f"{tree.root}: {len(bases)} folders with JPEGImages and SegmentationClass: "
                f"{shown}; expected one; point at one of them"
            )
        found = _read(tree, bases[0])
        lists = posixpath.join(bases[0], "ImageSets", "Segmentation")
        if not _stems(tree, lists, (".txt",)) and not choices.get("own_lists"):
            apply_lists(tree, found, masks=False)
        return found


def _bases(tree: FolderTree) -> list[str]:
    """Folders with JPEGImages and masks; '' is the root."""
    found = {folder.rpartition("JPEGImages")[0].strip("/")
             for folder in tree.files if folder.split("/")[-1] == "JPEGImages"}  # fmt: skip
    return sorted(base for base in found if _mask_folder(tree, base))


def _mask_folder(tree: FolderTree, base: str) -> str:
    folders = [posixpath.join(base, name) for name in _MASKS]
    return next((f for f in folders if _stems(tree, f, _MASK_ENDINGS)), "")


def _stems(tree: FolderTree, folder: str, endings: tuple[str, ...]) -> dict[str, str]:
    """Stem -> relative path of the files in one folder."""
    names = [name for name in tree.files.get(folder, ()) if name.lower().endswith(endings)]
    return {posixpath.splitext(name)[0]: posixpath.join(folder, name) for name in names}


def _read(tree: FolderTree, base: str) -> Found:
    found, classes = Found(), find_classes(tree)
    folder = _mask_folder(tree, base)
    images = _stems(tree, posixpath.join(base, "JPEGImages"), IMAGE_SUFFIXES)
    masks = _stems(tree, folder, _MASK_ENDINGS)
    pairs = pair([("", stem) for stem in images], [("", stem) for stem in masks])
    found.notes, found.warnings = list(pairs.notes), list(pairs.warnings)
    mask_of = {image[1]: masks[mask[1]] for mask, image in pairs.pairs.items()}
    splits = _lists(tree, base, images)
    unlisted = [stem for stem in mask_of if splits and stem not in splits]
    if unlisted:
        found.notes.append(
            f"{len(unlisted)} images with a mask are in no list of ImageSets/Segmentation and are "
            f"labeled: {some(unlisted, 3)}"
        )
    missing = [stem for stem in splits if stem not in images]
    if missing:
        found.warnings.append(
            f"{len(missing)} ids of ImageSets/Segmentation have no image: {some(missing)}"
        )
    for stem, path in images.items():
        own = splits.get(stem, "train")
        mask = mask_of.get(stem)
        drawn = mask and _mask(tree, mask)
        inner = posixpath.relpath(path, base) if base else path
        name = item_id(posixpath.basename(inner), own)
        found.items.append(Item(name, tree.path("", path), drawn or None, own))
    if classes.path.endswith("labelmap.txt"):
        found.classes = _by_color(classes)
        drawn = [str(item.mask) for item in found.items if isinstance(item.mask, str)]
        if _are_ids(drawn[:_SAMPLE], len(classes.names)) and not _ignored(classes):
            found.classes = Classes(classes.names)
        by = "colors" if found.classes.palette else "order"
        found.notes.append(f"classes by the {by} of {classes.path}")
    last = folder.rpartition("/")[2]
    others = [n for n in _MASKS if n != last and posixpath.join(base, n) in tree.files]
    if others:
        found.notes.append(f"masks of {folder}; not read: {some(others)}")
    return found


def _are_ids(paths: Sequence[str], classes: int) -> bool:
    """True if masks are gray and no value is too large for an id: someone removed the colors."""
    stored = [read_stored(path, path) for path in paths]
    return bool(stored) and all(
        one.gray is not None
        and not one.palette
        and np.isin(one.gray, (*range(classes), IGNORE)).all()
        for one in stored
    )


def _ignored(classes: ClassFile) -> list[str]:
    return [name for name in classes.names if name.strip("_").lower() in ("ignore", "void")]


def _by_color(classes: ClassFile) -> Classes:
    skipped = _ignored(classes)
    both = list(zip(classes.names, classes.palette, strict=True))
    named = [(name, color) for name, color in both if name not in skipped]
    ignored = [color for name, color in both if name in skipped]
    colors = tuple(color for _, color in named)
    if len(set(colors)) < len(colors):
        raise DataError(f"{classes.path}: two labels have the same color; give each its own")
    ignored += [_BORDER] * (_BORDER not in (*colors, *ignored))
    return Classes(tuple(name for name, _ in named), colors, "colors", tuple(ignored))


def _lists(tree: FolderTree, base: str, images: Collection[str]) -> dict[str, str]:
    """Id -> split by the lists train.txt, val.txt and test.txt; later ones do not overrule.

    CVAT names the lists as the subsets of the project: Train.txt, Validation.txt.
    """
    folder, splits = posixpath.join(base, "ImageSets", "Segmentation"), {}
    stems = _stems(tree, folder, (".txt",))
    split_of = {stem: split(stem) for stem in stems if is_only_split(stem)}
    for own in ("val", "test", "train"):
        for stem in sorted(name for name, found in split_of.items() if found == own):
            path = tree.path("", stems[stem])
            try:
                lines = as_path(path).read_bytes().decode("utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(
                    f"{path}: cannot be read ({error}); expected one id per line"
                ) from None
            for line in filter(str.strip, lines):
                name = line.split()[0]
                name = line.strip().strip('"') if name not in images else name
                name = name if name in images else short_id(name)
                splits.setdefault(name if name in images else line.split()[0], own)
    return splits


def _mask(tree: FolderTree, path: str) -> str | Drawn:
    full = tree.path("", path)
    return drawn_array(full) if path.endswith(".npy") else full


def drawn_array(path: str) -> Drawn:
    """The mask of an array of integers, in which -1 means ignore."""

    def draw() -> np.ndarray:
        try:
            ids = np.load(io.BytesIO(content(path)), allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise DataError(f"{path}: cannot be read as an array ({error})") from None
        if ids.ndim != 2 or ids.dtype.kind not in "iu" or ids.min() < -1 or ids.max() > IGNORE:
            raise DataError(
                f"{path}: holds {ids.dtype}{list(ids.shape)}; expected integers [height, width] "
                f"from -1 (ignore) to {IGNORE}"
            )
        return np.where(ids == -1, IGNORE, ids).astype(np.uint8)

    return drawn_from(path, b"npy", draw)
