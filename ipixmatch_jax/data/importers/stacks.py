"""Arrays of many images in one NPY file, such as PanNuke's folds. Refused by name."""

import io

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.importers.contents import head
from ipixmatch_jax.data.importers.found import Choices, Found
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.npy_header import read_npy_header

_PICTURES = tuple(ending for ending in IMAGE_SUFFIXES if ending != ".npy")
_OPENED = 8
# PanNuke: five kinds of nuclei, each numbered by object, and the background.
_PANNUKE = 6


class Stacks:
    """Recognizes NPY files of many images, in order to say what to do."""

    name = "npy-stacks"
    source = "NPY files of many images"

    def sniff(self, tree: FolderTree) -> str:
        found = _stacks(tree)
        return "; ".join(f"{path} holds {list(shape)}" for path, shape in found.items())

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        found = _stacks(tree)
        pannuke = any(shape[-1] == _PANNUKE for shape in found.values())
        fix = (
            "this is PanNuke: for each i, save images[i] as images/i.png (uint8), and as "
            "masks/i.png a mask of 0 with k + 1 where masks[i, :, :, k] > 0, for k in 0..4; one "
            "folder train/ or val/ per fold"
            if pannuke
            else "save each image[i] as images/i.png, or images/i.npy for many bands, and each "
            "mask[i] as masks/i.png of class ids"
        )
        raise DataError(
            f"{tree.root}: {self.sniff(tree) or 'no NPY file of many images'}: arrays of many "
            f"images; expected one file per image; {fix}"
        )


def _stacks(tree: FolderTree) -> dict[str, tuple[int, ...]]:
    """Path -> shape of the first NPY files with four axes, if the folder holds no pictures."""
    if tree.with_ending(*_PICTURES):
        return {}
    found = {}
    for path in tree.with_ending(".npy")[:_OPENED]:
        try:
            shape, _, _ = read_npy_header(io.BytesIO(head(tree.path("", path), 4096)))
        except ValueError:
            continue
        if len(shape) == 4 and shape[0] > 1:
            found[path] = shape
    return found
