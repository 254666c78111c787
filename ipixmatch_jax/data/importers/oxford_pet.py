"""Oxford-IIIT Pet as downloaded: images/*.jpg, annotations/trimaps/*.png, lists in annotations.

A trimap holds 1 pet, 2 background, 3 border. Parkhi et al., CVPR 2012.
"""

import os

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.importers.found import Choices, Classes, Found, Item, some
from ipixmatch_jax.data.importers.tree import FolderTree


class OxfordPet:
    """The folder of the download."""

    name = "oxford-pet"
    source = "Oxford-IIIT Pet (trimaps)"

    def sniff(self, tree: FolderTree) -> str:
        lists = [name for name in ("list.txt", "trainval.txt") if tree.has(f"annotations/{name}")]
        if lists and "annotations/trimaps" in tree.files and "images" in tree.files:
            return f"annotations/trimaps and annotations/{lists[0]}"
        return ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        names, palette = (
            ("background", "pet", "border"),
            ((0, 0, 0), (230, 120, 60), (250, 250, 180)),
        )
        found = Found(classes=Classes(names, palette, values=(2, 1, 3)))
        masks = {os.path.splitext(f)[0]: f for f in tree.files["annotations/trimaps"]
                 if f.endswith(".png")}  # fmt: skip
        others = []
        for file in tree.files["images"]:
            stem, ending = os.path.splitext(file)
            if ending.lower() not in IMAGE_SUFFIXES:
                others.append(file)
                continue
            mask = masks.pop(stem, None)
            path = mask and tree.path("annotations/trimaps", mask)
            found.items.append(Item(stem, tree.path("images", file), path, "train"))
        found.notes.append("values 1 pet, 2 background, 3 border are classes 1, 0, 2")
        if others:
            found.notes.append(f"{len(others)} files in images/ are no images: {some(others, 3)}")
        if masks:
            found.warnings.append(
                f"{len(masks)} masks have no image and are left out: {some(list(masks))}"
            )
        return found
