"""SYNTHIA-RAND-CITYSCAPES: RGB and GT/LABELS, PNG of 16-bit colors; the first channel is the class.

Void, 0, is ignored, as in the benchmarks that use it. The second channel numbers the objects.
"""

import io

import numpy as np

from ipixmatch_jax.data.files import png
from ipixmatch_jax.data.importers.contents import content
from ipixmatch_jax.data.importers.found import Choices, Classes, Drawn, Found, Item, some
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


class Synthia:
    """RGB/0000000.png with GT/LABELS/0000000.png."""

    name = "synthia"
    source = "SYNTHIA-RAND-CITYSCAPES (RGB, GT/LABELS)"

    def sniff(self, tree: FolderTree) -> str:
        for base in _bases(tree):
            first = next((n for n in tree.files[f"{base}GT/LABELS"] if n.endswith(".png")), "")
            if first and _is_deep(content(tree.path(f"{base}GT/LABELS", first))):
                return f"{base}RGB with 16-bit labels in {base}GT/LABELS"
        return ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        found = Found(classes=Classes(_NAMES))
        bases, bare = _bases(tree), []
        for base in bases:
            for name in tree.files[f"{base}RGB"]:
                if not name.lower().endswith(".png"):
                    continue
                has = tree.has(f"{base}GT/LABELS/{name}")
                split = split_of_path(base)
                record = with_split(f"{base if len(bases) > 1 else ''}{name[:-4]}", split)
                bare += [name] * (not has)
                mask = _first_channel(tree.path(f"{base}GT/LABELS", name)) if has else None
                found.items.append(Item(record, tree.path(f"{base}RGB", name), mask, split))
        found.notes.append(
            "masks: the first channel of GT/LABELS, class 1 is id 0; void is ignored; GT/COLOR and "
            "Depth are not read"
        )
        if bare:
            found.notes.append(f"{len(bare)} images have no labels: {some(bare, 3)}")
        return found


def _bases(tree: FolderTree) -> list[str]:
    labels = [folder for folder in tree.files if f"/{folder}".endswith("/GT/LABELS")]
    bases = [folder.removesuffix("GT/LABELS") for folder in labels]
    return [base for base in bases if f"{base}RGB" in tree.files]


def _is_deep(data: bytes) -> bool:
    return data.startswith(b"\x89PNG") and png.is_deep_color(io.BytesIO(data))


def _first_channel(path: str) -> Drawn:
    def draw() -> np.ndarray:
        data = content(path)
        if not _is_deep(data):
            raise DataError(
                f"{path}: no PNG of 16-bit colors; expected SYNTHIA's labels, with the class in "
                "the first of three channels; download it again"
            )
        values = png.read_deep_color(io.BytesIO(data))[..., 0]
        if values.max() > len(_NAMES):
            raise DataError(
                f"{path}: class {values.max()}; expected 0..{len(_NAMES)}, as in "
                "SYNTHIA-RAND-CITYSCAPES; set data.folder.format=folders for other data"
            )
        return np.array([IGNORE, *range(len(_NAMES))], np.uint8)[values]

    return Drawn(path, lambda: b"synthia" + content(path), draw)
