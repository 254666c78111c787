"""KITTI-STEP: panoptic_maps/SPLIT/SEQUENCE with the images of KITTI's tracking benchmark.

Red is the train id of Cityscapes, 255 is ignored; green and blue number the objects.
"""

import os

import numpy as np

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.files.stored_masks import read_stored
from ipixmatch_jax.data.importers.cityscapes_classes import CLASSES, PALETTE
from ipixmatch_jax.data.importers.found import (
    Choices,
    Classes,
    Drawn,
    Found,
    Item,
    drawn_from,
    some,
)
from ipixmatch_jax.data.importers.names import with_split
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError

_MAPS = "panoptic_maps"


class KittiStep:
    """training/image_02/SEQUENCE, or images/SPLIT/SEQUENCE, with panoptic_maps/SPLIT/SEQUENCE."""

    name = "kitti-step"
    source = "KITTI-STEP (panoptic_maps with image_02)"

    def sniff(self, tree: FolderTree) -> str:
        found = _folders(tree)
        return f"{found[0][0]} with {found[0][1]}" if found else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        found = Found(classes=Classes(CLASSES, PALETTE))
        taken = set()
        for images, maps in _folders(tree):
            taken.add(images)
            split, sequence = maps.split("/")[-2:]
            for name in tree.files[images]:
                stem, ending = os.path.splitext(name)
                if ending.lower() not in IMAGE_SUFFIXES:
                    continue
                has = tree.has(f"{maps}/{stem}.png")
                mask = _train_ids(tree.path(maps, f"{stem}.png")) if has else None
                name = with_split(f"{sequence}/{stem}", split)
                found.items.append(Item(name, tree.path(images, stem + ending), mask, split))
        found.notes.append("masks: red of panoptic_maps, 19 train ids of Cityscapes")
        others = [
            folder for folder, files in tree.files.items()
            if folder not in taken and _MAPS not in folder.split("/")
            and any(file.lower().endswith(IMAGE_SUFFIXES) for file in files)
        ]  # fmt: skip
        if others:
            found.warnings.append(
                f"{len(others)} folders of images have no maps and are left out: {some(others, 3)};"
                " to train on them without masks, add them to data.folder.unlabeled_folders"
            )
        return found


def _folders(tree: FolderTree) -> list[tuple[str, str]]:
    """(images, maps) of each sequence. KITTI's testing images have other scenes of equal names."""
    found = []
    for maps in tree.files:
        parts = maps.split("/")
        if parts[-3:-2] != [_MAPS] or parts[-2] not in ("train", "val"):
            continue
        base, (split, sequence) = parts[:-3], parts[-2:]
        ends = (f"training/image_02/{sequence}", f"images/{split}/{sequence}")
        inside = [folder for folder in tree.files if folder.split("/")[: len(base)] == base]
        for end in ends:
            own = [folder for folder in inside if f"/{folder}".endswith(f"/{end}")]
            if own:
                found += [(own[0], maps)] if len(own) == 1 else []
                break
    return found


def _train_ids(path: str) -> Drawn:
    def draw() -> np.ndarray:
        stored = read_stored(path, path)
        if stored.colors is None:
            raise DataError(
                f"{path}: one channel; expected KITTI-STEP's three (class, object, object); set "
                "data.folder.train_images and data.folder.train_masks if it holds class ids"
            )
        ids = stored.colors[..., 0]
        wrong = set(np.unique(ids).tolist()) - {*range(len(CLASSES)), IGNORE}
        if wrong:
            raise DataError(
                f"{path}: red is {max(wrong)}; expected train ids 0..{len(CLASSES) - 1}, or "
                f"{IGNORE}; download the map again"
            )
        return ids

    return drawn_from(path, b"step", draw)
