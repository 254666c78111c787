"""CVPPP leaf segmentation: plant001_rgb.png, plant001_label.png (leaves), plant001_fg.png (plant).

Minervini et al., 2016; the folders A1 to A5 of the challenges of 2014 to 2017. The leaves of a mask
are numbered, so plants are told from the ground alone; centers and boxes are not read.
"""

from ipixmatch_jax.data.importers import names as folder_names
from ipixmatch_jax.data.importers.drawing import gray
from ipixmatch_jax.data.importers.found import Choices, Classes, Drawn, Found, Item, drawn_from
from ipixmatch_jax.data.importers.tree import FolderTree

_PHOTO, _PLANT, _LEAVES = "_rgb.png", "_fg.png", "_label.png"
_FEWEST = 2


class Cvppp:
    """Folders of plants."""

    name = "cvppp"
    source = "CVPPP leaf segmentation"

    def sniff(self, tree: FolderTree) -> str:
        photos = [path for path in tree.with_ending(_PHOTO) if _mask(tree, path)]
        plants = [path for path in photos if path.rpartition("/")[2].startswith("plant")]
        return f"{photos[0]} with numbered leaves" if len(plants) >= _FEWEST else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        found = Found(classes=Classes(("background", "plant")))
        for photo in tree.with_ending(_PHOTO):
            split = folder_names.split_of_path(photo.rpartition("/")[0])
            name = folder_names.with_split(photo.removesuffix(_PHOTO), split)
            mask = _mask(tree, photo)
            drawn = _drawn(tree.path("", mask)) if mask else None
            found.items.append(Item(name, tree.path("", photo), drawn, split))
        found.notes.append(
            f"all leaves become the class plant; masks X{_PLANT}, or X{_LEAVES} if there is none"
        )
        return found


def _mask(tree: FolderTree, photo: str) -> str:
    stem = photo[: -len(_PHOTO)]
    return next((stem + tail for tail in (_PLANT, _LEAVES) if tree.has(stem + tail)), "")


def _drawn(path: str) -> Drawn:
    return drawn_from(path, b"plant", lambda: (gray(path) > 0).astype("uint8"))
