"""Cityscapes (leftImg8bit, gtFine) and KITTI semantics 2015 (training/image_2), 19 classes.

Masks are labelTrainIds, or labelIds and instanceIds converted as the official scripts do.
"""

import itertools
import os
import re

import numpy as np

from ipixmatch_jax.data.importers.cityscapes_classes import CLASSES, PALETTE, train_id_lookup
from ipixmatch_jax.data.importers.class_files import find_classes
from ipixmatch_jax.data.importers.drawing import gray
from ipixmatch_jax.data.importers.found import (
    Choices,
    Classes,
    Drawn,
    Found,
    Item,
    drawn_from,
    without_mask,
)
from ipixmatch_jax.data.importers.idd import is_idd
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError

# Kinds of mask files, in the order of preference, and the divisor of object ids.
_KINDS = {"labelTrainIds": 0, "labelIds": 1, "instanceIds": 1000}
_IMAGE = re.compile(
    r"(.*?)leftImg8bit/(train|val|test|train_extra|default)/(.*)_leftImg8bit\.(png|jpg)$"
)


class Cityscapes:
    """leftImg8bit/SPLIT/CITY and gtFine/SPLIT/CITY."""

    name = "cityscapes"
    source = "Cityscapes (leftImg8bit, gtFine or gtCoarse)"

    def sniff(self, tree: FolderTree) -> str:
        if is_idd(tree):
            return ""
        for folder in tree.files:
            parts = folder.split("/")
            if "leftImg8bit" in parts and any(
                "gtFine" in other or "gtCoarse" in other for other in tree.files
            ):
                return "folders leftImg8bit and gtFine"
        return ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        own = _own_classes(tree)
        found = Found(classes=own or Classes(CLASSES, PALETTE))
        used: dict[str, int] = {}
        bare: list[str] = []
        for path in tree.with_ending(".png", ".jpg"):
            parts = _IMAGE.match(path)
            if not parts:
                continue
            base, split, stem, _ = parts.groups()
            kind, mask = _mask_of(tree, base, split, stem)
            used[kind] = used.get(kind, 0) + bool(mask)
            bare += [path] * (not mask and split in ("val", "test"))
            split = {"train_extra": "train", "default": "train"}.get(split, split)
            name = f"{base}{stem}" if split == "train" else f"{split}/{base}{stem}"
            divisor = 0 if own and kind == "labelIds" else _KINDS.get(kind, 0)
            drawn = _converted(tree.path("", mask), divisor) if mask else None
            found.items.append(Item(name, tree.path("", path), drawn, split))
        counts = ", ".join(f"{count} {kind}" for kind, count in used.items() if count)
        found.notes.append(f"masks: {counts or 'none'}")
        if not counts and tree.with_ending("_polygons.json"):
            found.problems.append(
                f"{tree.root}: _gtFine_polygons.json without label files; expected "
                "_gtFine_labelTrainIds.png (Cityscapes: createTrainIdLabelImgs.py of "
                "cityscapesscripts) or _gtFine_labellevel3Ids.png (IDD: createLabels.py --id-type "
                "level3Id of AutoNUE); make them with these scripts"
            )
        if own:
            found.notes.append("classes of label_colors.txt or dataset_meta.json, not Cityscapes'")
        found.warnings += without_mask(bare)
        return found


def _own_classes(tree: FolderTree) -> Classes | None:
    """The classes of the files that CVAT and Datumaro write, if they are others."""
    own = find_classes(tree)
    if not own.path.endswith(("label_colors.txt", "dataset_meta.json")):
        return None
    known = set(CLASSES) | {"background", "unlabeled"}
    if not own.names or set(own.names) <= known:
        return None
    if own.unlisted:
        # Both tools number the classes from 1 on then.
        return Classes(("background", *own.names), ((0, 0, 0), *own.palette))
    return Classes(own.names, own.palette)


def _mask_of(tree: FolderTree, base: str, split: str, stem: str) -> tuple[str, str]:
    # CVAT puts the images below imgsFine/.
    bases = dict.fromkeys((base, base.removesuffix("imgsFine/")))
    for place, above in itertools.product(("gtFine", "gtCoarse"), bases):
        for kind in _KINDS:
            path = f"{above}{place}/{split}/{stem}_{place}_{kind}.png"
            if tree.has(path):
                return kind, path
    return "", ""


def _converted(path: str, divisor: int) -> str | Drawn:
    """A mask of label ids or object ids as train ids; a file of train ids as it is."""
    if divisor == 0:
        return path

    def draw() -> np.ndarray:
        values = gray(path).astype(np.int64)
        if divisor > 1:
            values = np.where(values >= divisor, values // divisor, values)
        if values.max() > IGNORE or (values < 0).any():
            raise DataError(f"{path}: value {values.max()}; expected label ids 0..33")
        return np.array(train_id_lookup(), np.uint8)[values]

    return drawn_from(path, b"city%d" % divisor, draw)


class Kitti:
    """training/image_2 with training/semantic (label ids) or training/instance (256 per object)."""

    name = "kitti"
    source = "KITTI semantics 2015 (training/image_2)"

    def sniff(self, tree: FolderTree) -> str:
        return f"{_kitti(tree)[0]} and {_kitti(tree)[1]}" if _kitti(tree) else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        images, masks, divisor = _kitti(tree)
        found = Found(classes=Classes(CLASSES, PALETTE))
        for file in tree.files[images]:
            mask = file if tree.has(f"{masks}/{file}") else ""
            drawn = _converted(tree.path(masks, mask), divisor) if mask else None
            stem = os.path.splitext(file)[0]
            found.items.append(Item(stem, tree.path(images, file), drawn, "train"))
        found.notes.append(f"masks of {masks}, label ids of Cityscapes as 19 train ids")
        return found


def _kitti(tree: FolderTree) -> tuple[str, str, int] | None:
    for folder in tree.files:
        if folder.split("/")[-2:] == ["training", "image_2"]:
            base = folder.removesuffix("image_2")
            for name, divisor in (("semantic", 1), ("instance", 256)):
                if f"{base}{name}" in tree.files:
                    return folder, f"{base}{name}", divisor
    return None
