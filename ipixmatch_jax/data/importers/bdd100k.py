"""BDD100K semantic segmentation: the download of 2020 (labels/sem_seg) and that of 2018 (seg).

The masks hold the 19 train ids of Cityscapes. Colormaps, drivable areas, lanes and panoptic labels
of the same images are not read.
"""

import os

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.importers.cityscapes_classes import CLASSES, PALETTE
from ipixmatch_jax.data.importers.found import Choices, Classes, Found, Item, without_mask
from ipixmatch_jax.data.importers.names import with_split
from ipixmatch_jax.data.importers.tree import FolderTree

# Folder of masks -> folders of their images, and the tail of the masks.
_FORMS = {
    "labels/sem_seg/masks": (("images/10k", "images"), ""),
    "seg/labels": (("seg/images",), "_train_id"),
}
_SPLITS = ("train", "val", "test")


class Bdd100k:
    """labels/sem_seg/masks with images/10k, or seg/labels with seg/images."""

    name = "bdd100k"
    source = "BDD100K semantic segmentation (2018 and 2020)"

    def sniff(self, tree: FolderTree) -> str:
        found = _places(tree)
        return f"{found[0][1]} with {found[0][0]}" if found else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        found, bare, masks = Found(classes=Classes(CLASSES, PALETTE)), [], 0
        for images, labels, tail in _places(tree):
            for split in _SPLITS:
                for name in tree.files.get(f"{images}/{split}", ()):
                    stem, ending = os.path.splitext(name)
                    if ending.lower() not in IMAGE_SUFFIXES:
                        continue
                    mask = f"{labels}/{split}/{stem}{tail}.png"
                    has = tree.has(mask)
                    masks += has
                    bare += [name] * (not has and split != "train")
                    found.items.append(
                        Item(
                            with_split(stem, split), tree.path(f"{images}/{split}", name),
                            tree.path("", mask) if has else None, split,
                        )
                    )  # fmt: skip
        found.notes.append(
            f"{masks} masks of train ids, 19 classes; colormaps and labels of other tasks are not "
            "read"
        )
        found.warnings += without_mask(bare)
        return found


def _places(tree: FolderTree) -> list[tuple[str, str, str]]:
    """(images, masks, tail of the masks), each without the split."""
    found = []
    for form, (images, tail) in _FORMS.items():
        for folder, files in tree.files.items():
            if not f"/{folder}".endswith(f"/{form}/train"):
                continue
            labels = folder.removesuffix("/train")
            base = labels.removesuffix(form)
            own = next((f"{base}{one}" for one in images if f"{base}{one}/train" in tree.files), "")
            if own and any(name.endswith(f"{tail}.png") for name in files):
                found.append((own, labels, tail))
    return found
