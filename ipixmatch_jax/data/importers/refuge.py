"""REFUGE: fundus photos with Disc_Cup_Masks, in which 255 is background, 128 disc and 0 cup."""

import numpy as np

from ipixmatch_jax.data.files.masks import MASK_SUFFIXES
from ipixmatch_jax.data.importers.drawing import gray
from ipixmatch_jax.data.importers.folders import Folders
from ipixmatch_jax.data.importers.found import Choices, Classes, Found
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError

_FOLDERS = ("disc_cup_masks", "disc_cup_mask")
_BACKGROUND, _DISC, _CUP = 255, 128, 0
# Masks of each folder that are opened.
_OPENED = 4


class Refuge(Folders):
    """Disc_Cup_Masks of REFUGE, as downloaded."""

    name = "refuge"
    source = "REFUGE (Disc_Cup_Masks: 255 background, 128 disc, 0 cup)"

    def sniff(self, tree: FolderTree) -> str:
        folders = [
            folder for folder in tree.files
            if any(part.lower() in _FOLDERS for part in folder.split("/"))
        ]  # fmt: skip
        paths = [
            tree.path(folder, name)
            for folder in folders
            for name in [n for n in tree.files[folder] if n.lower().endswith(MASK_SUFFIXES)]
        ]
        picked = paths[:: max(1, len(paths) // (_OPENED * max(1, len(folders))))]
        if not picked or not all(map(_white_around, picked)):
            return ""
        return f"{folders[0]} with {_BACKGROUND} around disc ({_DISC}) and cup ({_CUP})"

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        found = super().read(tree, choices)
        values = (_BACKGROUND, _DISC, _CUP)
        found.classes = Classes(("background", "optic disc", "optic cup"), values=values)
        found.notes.append(f"mask values {values} are background, disc and cup")
        return found


def _white_around(path: str) -> bool:
    """True if a mask holds the three values alone, with the background on its border."""
    try:
        values = gray(path)
    except DataError:
        return False
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    return bool((border == _BACKGROUND).all()) and set(np.unique(values).tolist()) <= {
        _BACKGROUND, _DISC, _CUP,
    }  # fmt: skip
