"""The magnetic-tile defect data set: MT_CLASS/Imgs/X.jpg next to X.png; the folder is the class.

Masks are gray with smoothed edges; more than half of the range is the defect. MT_Free has none.
Huang, Qiu, Yuan, 2020; as published on GitHub.
"""

import os

import numpy as np

from ipixmatch_jax.data.importers.drawing import gray
from ipixmatch_jax.data.importers.found import Choices, Classes, Drawn, Found, Item, drawn_from
from ipixmatch_jax.data.importers.tree import FolderTree

_FREE = "MT_Free"
_THRESHOLD = 128


class MagneticTile:
    """Folders MT_Blowhole, MT_Break, MT_Crack, MT_Fray, MT_Free, MT_Uneven."""

    name = "magnetic-tile"
    source = "magnetic-tile defects (one folder per class)"

    def sniff(self, tree: FolderTree) -> str:
        folders = _folders(tree)
        return f"folders {', '.join(sorted(folders))} with Imgs" if len(folders) > 1 else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        folders = _folders(tree)
        names = [name for name in sorted(folders) if name != _FREE]
        class_of = {name: index for index, name in enumerate(names, start=1)} | {_FREE: 0}
        classes = ("background", *(name.removeprefix("MT_").lower() for name in names))
        found = Found(classes=Classes(classes))
        alone: list[str] = []
        for name, folder in sorted(folders.items()):
            files = {os.path.splitext(f)[0]: f for f in tree.files[folder] if f.endswith(".png")}
            for file in tree.files[folder]:
                stem, ending = os.path.splitext(file)
                if ending.lower() not in (".jpg", ".jpeg"):
                    continue
                mask = files.pop(stem, None)
                drawn = mask and _drawn(tree.path(folder, mask), class_of[name])
                item = Item(f"{name}/{stem}", tree.path(folder, file), drawn or None, "train")
                found.items.append(item)
            alone += files.values()
        if alone:
            found.warnings.append(f"{len(alone)} masks have no image: {', '.join(alone[:3])}")
        found.notes.append(f"class by folder; masks cut at {_THRESHOLD}: {', '.join(classes)}")
        return found


def _folders(tree: FolderTree) -> dict[str, str]:
    """Class folder -> its folder Imgs."""
    found = {}
    for folder in tree.files:
        parts = folder.split("/")
        if len(parts) > 1 and parts[-1] == "Imgs" and parts[-2].startswith("MT_"):
            found[parts[-2]] = folder
    return found


def _drawn(path: str, class_id: int) -> Drawn:
    def draw() -> np.ndarray:
        return ((gray(path) >= _THRESHOLD) * class_id).astype(np.uint8)

    return drawn_from(path, b"tile%d" % class_id, draw)
