"""Cellpose: X.tif with X_cp_masks.png or .tif, numbers of cells; written for Cellpose 1 to 4.

Pixels of every cell become class 1. X_seg.npy holds Python objects, which may run code when they
are unpacked, and is not read.
"""

import os
import posixpath

import numpy as np

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.importers.contents import head
from ipixmatch_jax.data.importers.drawing import gray
from ipixmatch_jax.data.importers.found import (
    Choices,
    Classes,
    Drawn,
    Found,
    Item,
    drawn_from,
    some,
)
from ipixmatch_jax.data.importers.names import role
from ipixmatch_jax.data.importers.places import item_id, split_of
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError

_MASKS = ("_cp_masks.png", "_cp_masks.tif", "_cp_masks.tiff")
_SAVED = "_seg.npy"
# Tails of pictures that Cellpose writes next to an image X, apart from X_cp_masks.
_VIEWS = ("_outlines_cp_masks", "_flows_cp_masks", "_dP_cp_masks", "_cp_output_cp_masks")
_OTHERS = ("_cp_output", "_cp", "_flows", "_flows_0", "_flows_1", "_flows_2", "_cellprob")


class Cellpose:
    """Masks that Cellpose saved."""

    name = "cellpose"
    source = "Cellpose 1 to 4 (_cp_masks.png or .tif)"

    def sniff(self, tree: FolderTree) -> str:
        masks = _masks(tree)
        if masks:
            return f"cells of Cellpose in {some(masks, 2)}"
        saved = [path for path in tree.with_ending(_SAVED) if _objects(tree.path("", path))]
        return f"results of Cellpose in {some(saved, 2)}" if saved and not _named(tree) else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        masks = _masks(tree)
        if not masks:
            raise DataError(
                f"{tree.root}: {self.sniff(tree) or 'no file of Cellpose'}: Python objects, which "
                "are not read; expected X_cp_masks.png or .tif; in Cellpose's window, choose File, "
                "Save masks as PNG/tif; or cellpose --dir FOLDER --save_png"
            )
        named = [
            path
            for path in tree.with_ending("_masks.png", "_masks.tif", "_masks.tiff")
            if path not in masks and not path[: path.rfind("_masks")].endswith("_cp")
        ]
        if named:
            raise DataError(
                f"{tree.root}: {some(named, 2)} and {some(masks, 2)}: two masks for an image; "
                "expected one; remove one kind, or set data.folder.mask_tail to _masks or "
                "_cp_masks, with data.masks=objects"
            )
        found = Found(classes=Classes(("background", "cell")))
        images = _images(tree)
        of_image: dict[str, list[str]] = {}
        left = []
        for mask in masks:
            base = mask[: mask.rfind("_cp_masks")]
            folder, stem = posixpath.split(base)
            near = [base]
            if folder.rpartition("/")[2] == "masks":
                near.append(posixpath.join(posixpath.dirname(folder), stem))
            known = [path for path in near if path in images]
            if known:
                of_image.setdefault(known[0], []).append(mask)
            else:
                left.append(mask)
        for stem, paths in images.items():
            own = _one_kind(of_image.get(stem, []))
            if own and (len(paths) > 1 or len(own) > 1):
                found.problems.append(
                    f"{tree.path('', own[0])}: {some([*paths, *own])} have one name; expected one "
                    "image and one mask; remove the others"
                )
                continue
            for path in paths:
                split = split_of(path)
                drawn = cells(tree.path("", own[0])) if own and split != "unlabeled" else None
                found.items.append(Item(item_id(path, split), tree.path("", path), drawn, split))
        found.notes.append("the cells of each mask, drawn together as class 1 of 2")
        if left:
            found.warnings.append(f"{len(left)} masks belong to no image: {some(left)}")
        return found


def cells(path: str) -> Drawn:
    """A mask of numbered objects as background and object."""

    def draw() -> np.ndarray:
        return (gray(path) > 0).astype(np.uint8)

    return drawn_from(path, b"cells", draw)


def _masks(tree: FolderTree) -> list[str]:
    """The masks; X_outlines_cp_masks.png and the like are pictures for the eye."""
    found = tree.with_ending(*_MASKS)
    return [path for path in found if not os.path.splitext(path)[0].endswith(_VIEWS)]


def _one_kind(masks: list[str]) -> list[str]:
    """X_cp_masks.png and X_cp_masks.tif are the same cells, saved twice."""
    return masks[:1] if len({os.path.splitext(path)[0] for path in masks}) == 1 else masks


def _images(tree: FolderTree) -> dict[str, list[str]]:
    """Path without ending -> images; what Cellpose wrote next to them is left out."""
    found: dict[str, list[str]] = {}
    for path in tree.with_ending(*IMAGE_SUFFIXES):
        stem = os.path.splitext(path)[0]
        if not stem.endswith("_cp_masks") and not path.endswith(_SAVED):
            found.setdefault(stem, []).append(path)
    tails = {stem: [tail for tail in _OTHERS if stem.endswith(tail)] for stem in found}
    return {
        stem: paths
        for stem, paths in found.items()
        if not any(stem.removesuffix(tail) in found for tail in tails[stem])
    }


def _objects(path: str) -> bool:
    """True if an NPY file holds Python objects."""
    return b"'|O'" in head(path, 200)


def _named(tree: FolderTree) -> bool:
    """True if other masks lie here: in a folder of masks, or as X_masks next to X."""
    pictures = [path for path in tree.with_ending(*IMAGE_SUFFIXES) if not path.endswith(".npy")]
    stems = (os.path.splitext(path)[0].split("/") for path in pictures)
    return any(any(role(part) == "mask" for part in parts[:-1])
               or parts[-1].endswith(("_mask", "_masks", "_labels", "_label"))
               for parts in stems)  # fmt: skip
