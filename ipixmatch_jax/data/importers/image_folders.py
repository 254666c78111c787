"""A folder per image with files such as image.png and mask.png; the folder is the image's name.

Folders that `labelme_json_to_dataset` wrote hold the names of their own ids: the ids of one folder
may be others in the next.
"""

import os
import re
from collections.abc import Mapping

import numpy as np

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.files.masks import MASK_SUFFIXES
from ipixmatch_jax.data.importers import names as folder_names
from ipixmatch_jax.data.importers.contents import content
from ipixmatch_jax.data.importers.drawing import background_first, gray
from ipixmatch_jax.data.importers.found import (
    Choices,
    Classes,
    Drawn,
    Found,
    Item,
    drawn_from,
    some,
)
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError

# A folder of more files holds many images.
_MOST_FILES = 50
# Class names of one folder, one per line in the order of the ids.
_NAMES = "label_names.txt"


class ImageFolders:
    """CASE/image.png and CASE/mask.png, or img and label."""

    name = "image-folders"
    source = "one folder per image (image.png, mask.png)"

    def sniff(self, tree: FolderTree) -> str:
        pairs = _pairs(tree)
        if len(pairs) < 2 or all(written_next_to(tree, folder) for folder in pairs):
            return ""
        folder, (image, mask) = next(iter(pairs.items()))
        return f"{folder}/{image} with {mask}, and {len(pairs) - 1} other folders like it"

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        found, pairs = Found(), _pairs(tree)
        named = _named(tree, pairs)
        lists = list(named.values())
        equal = all(own == lists[0] for own in lists)
        names, table = background_first(
            lists[0] if lists and equal else sorted({name for own in lists for name in own})
        )
        if named:
            found.classes = Classes(names)
            found.notes.append(f"classes of {_NAMES} in every folder: {some(list(names), 12)}")
        for folder, (image, mask) in pairs.items():
            split = folder_names.split_of_path(folder)
            name = folder_names.with_split(folder, split)
            path = tree.path(folder, mask) if split != "unlabeled" else None
            if path and named:
                path = _renumbered(path, named[folder], table)
            found.items.append(Item(name, tree.path(folder, image), path, split))
        others = [
            folder for folder, files in tree.files.items()
            if folder not in pairs and any(f.lower().endswith(IMAGE_SUFFIXES) for f in files)
        ]  # fmt: skip
        if others:
            found.warnings.append(
                f"{len(others)} folders do not hold one image and one mask and are left out: "
                f"{some(others)}"
            )
        return found


def written_next_to(tree: FolderTree, folder: str) -> bool:
    """True if labelme_json_to_dataset wrote a folder: X_json next to X.json, which holds more."""
    return folder.endswith("_json") and tree.has(f"{folder.removesuffix('_json')}.json")


def _pairs(tree: FolderTree) -> dict[str, tuple[str, str]]:
    """Folder -> (image, mask) of the folders with exactly one of each, told by their names."""
    pairs = {}
    for folder, files in tree.files.items():
        if len(files) > _MOST_FILES:
            continue
        roles: dict[str, list[str]] = {"image": [], "mask": []}
        for file in files:
            stem, ending = os.path.splitext(file)
            # plant3/plant3_rgb.png: the name of the folder tells no role.
            stem = re.sub(rf"^{re.escape(folder.rpartition('/')[2])}[_\-. ]", "", stem)
            if len(folder_names.words(stem)) == 1 and ending.lower() in IMAGE_SUFFIXES:
                roles.setdefault(folder_names.role(stem), []).append(file)
        (images, masks) = roles["image"], roles["mask"]
        if folder and len(images) == len(masks) == 1 and masks[0].lower().endswith(MASK_SUFFIXES):
            pairs[folder] = (images[0], masks[0])
    return pairs


def _named(tree: FolderTree, pairs: Mapping[str, tuple[str, str]]) -> dict[str, list[str]]:
    """Folder -> the names of its ids, if the folders have files of names; else {}.

    Raises:
        DataError: some folders have one, others have none.
    """
    own = [folder for folder in pairs if tree.has(f"{folder}/{_NAMES}")]
    if own and len(own) < len(pairs):
        bare = next(folder for folder in pairs if folder not in own)
        raise DataError(
            f"{tree.path(bare)}: no {_NAMES}, which {len(own)} of {len(pairs)} folders have; each "
            "folder numbers its classes by itself; expected one in every folder; write it, or move "
            "the folder away"
        )
    return {
        folder: [
            line.strip()
            for line in content(tree.path(folder, _NAMES)).decode("utf-8-sig").splitlines()
        ]
        for folder in own
    }


def _renumbered(path: str, names: list[str], table: Mapping[str, int]) -> Drawn:
    """A mask whose ids are positions in `names`, as ids of the data set."""

    def draw() -> np.ndarray:
        stored = gray(path)
        ids = np.full(stored.shape, IGNORE, np.uint8)
        for value in np.unique(stored).tolist():
            if value in (-1, IGNORE):
                continue
            if not 0 <= value < len(names):
                raise DataError(
                    f"{path}: mask value {value}; expected one for each line of {_NAMES} next to "
                    f"it, 0..{len(names) - 1}; export it again"
                )
            ids[stored == value] = table[names[value]]
        return ids

    order = ",".join(f"{name}={table[name]}" for name in names)
    return drawn_from(path, b"names" + order.encode(), draw)
