"""SYNTHIA: RGB and GT/LABELS, PNG of 16-bit colors whose first channel is the class.

The second channel numbers the objects. In SYNTHIA-RAND-CITYSCAPES 0 is void, which is ignored, as
in the benchmarks that use it; the sequences (SYNTHIA-SEQS, with a folder for each camera) have a
class `misc` in its place.
"""

import io
import re

import numpy as np

from ipixmatch_jax.data.files import png
from ipixmatch_jax.data.importers.contents import content
from ipixmatch_jax.data.importers.found import (
    Choices,
    Classes,
    Drawn,
    Found,
    Item,
    drawn_from,
    some,
)
from ipixmatch_jax.data.importers.names import split_of_path, with_split
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError

# In the order of the stored ids, from 1 on.
_NAMES = (
    "sky", "building", "road", "sidewalk", "fence", "vegetation", "pole", "car", "traffic sign",
    "pedestrian", "bicycle", "motorcycle", "parking slot", "road work", "traffic light", "terrain",
    "rider", "truck", "bus", "train", "wall", "lane marking",
)  # fmt: skip
# From 0 on.
_SEQUENCE_NAMES = (
    "misc", "sky", "building", "road", "sidewalk", "fence", "vegetation", "pole", "car", "sign",
    "pedestrian", "cyclist", "lane marking", "reserved 1", "reserved 2", "traffic light",
)  # fmt: skip
_LABELS = re.compile(r"((?:.*/)?)GT/LABELS((?:/.+)?)$")


class Synthia:
    """RGB/0000000.png with GT/LABELS/0000000.png, or both in a folder for each camera."""

    name = "synthia"
    source = "SYNTHIA-RAND-CITYSCAPES and SYNTHIA-SEQS (RGB, GT/LABELS)"

    def sniff(self, tree: FolderTree) -> str:
        for images, labels in _folders(tree).items():
            first = next((n for n in tree.files[labels] if n.lower().endswith(".png")), "")
            if first and _is_deep(content(tree.path(labels, first))):
                return f"{images} with 16-bit labels in {labels}"
        return ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        folders, bare = _folders(tree), []
        kinds = {not labels.endswith("GT/LABELS") for labels in folders.values()}
        if len(kinds) != 1:
            raise DataError(
                f"{tree.root}: {some(sorted(folders.values()))}: sequences and single images of "
                "SYNTHIA have other classes; expected one kind; point data.root at one of them"
            )
        (sequences,) = kinds
        found = Found(classes=Classes(_SEQUENCE_NAMES if sequences else _NAMES))
        for images, labels in folders.items():
            for name in tree.files[images]:
                if not name.lower().endswith(".png"):
                    continue
                has, split = tree.has(f"{labels}/{name}"), split_of_path(images)
                record = with_split(
                    f"{images}/{name[:-4]}" if len(folders) > 1 else name[:-4], split
                )
                bare += [name] * (not has)
                path = tree.path(labels, name)
                mask = _first_channel(path, sequences=sequences) if has else None
                found.items.append(Item(record, tree.path(images, name), mask, split))
        meaning = (
            "0 is the class misc; data.ignore_values=(0,) ignores it"
            if sequences
            else "class 1 is id 0, and void is ignored"
        )
        found.notes.append(
            f"masks: the first channel of GT/LABELS; {meaning}; GT/COLOR and Depth are not read"
        )
        if bare:
            found.notes.append(f"{len(bare)} images have no labels: {some(bare, 3)}")
        return found


def _folders(tree: FolderTree) -> dict[str, str]:
    """Folder of images -> folder of their labels."""
    matches = filter(None, map(_LABELS.match, tree.files))
    pairs = {f"{match.group(1)}RGB{match.group(2)}": match.group() for match in matches}
    return {images: labels for images, labels in pairs.items() if images in tree.files}


def _is_deep(data: bytes) -> bool:
    return data.startswith(b"\x89PNG") and png.is_deep_color(io.BytesIO(data))


def _first_channel(path: str, *, sequences: bool) -> Drawn:
    table = [*range(len(_SEQUENCE_NAMES))] if sequences else [IGNORE, *range(len(_NAMES))]

    def draw() -> np.ndarray:
        data = content(path)
        if not _is_deep(data):
            raise DataError(
                f"{path}: no PNG of 16-bit colors; expected SYNTHIA's labels, with the class in "
                "the first of three channels; download it again"
            )
        values = png.read_deep_color(io.BytesIO(data))[..., 0]
        if values.max() >= len(table):
            raise DataError(
                f"{path}: class {values.max()}; expected 0..{len(table) - 1}, as in SYNTHIA; set "
                "data.folder.format=folders for other data"
            )
        return np.array(table, np.uint8)[values]

    return drawn_from(path, b"synthia%d" % sequences, draw)
