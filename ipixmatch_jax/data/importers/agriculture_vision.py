"""Agriculture-Vision: farmland from the air, with a folder of binary masks for each class.

SPLIT/images/rgb/X.jpg, SPLIT/images/nir/X.jpg, SPLIT/labels/CLASS/X.png, and the pixels that
count: SPLIT/boundaries/X.png and SPLIT/masks/X.png. The classes may overlap: pixels of two classes
are ignored, and so are those outside of the field. Chiu et al., 2020; versions of 2020 and 2021.
"""

import os
import posixpath

import numpy as np

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.importers import names as folder_names
from ipixmatch_jax.data.importers.drawing import union_of_files
from ipixmatch_jax.data.importers.found import Choices, Classes, Drawn, Found, Item, some
from ipixmatch_jax.data.importers.mask_parts import drawn_parts
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.paths import as_path

_RGB, _NIR, _LABELS, _FIELD = "images/rgb", "images/nir", "labels", ("boundaries", "masks")


class AgricultureVision:
    """images/rgb, images/nir, labels/CLASS, boundaries, masks."""

    name = "agriculture-vision"
    source = "Agriculture-Vision (2020, 2021)"

    def sniff(self, tree: FolderTree) -> str:
        bases = [base for base in _bases(tree) if _classes(tree, base)]
        return f"{posixpath.join(bases[0], _RGB)} with labels per class" if bases else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        bases = _bases(tree)
        classes = sorted({name for base in bases for name in _classes(tree, base)})
        found = Found(classes=Classes(("background", *classes)))
        for base in bases:
            split = folder_names.split_of_path(base)
            folder = posixpath.join(base, _RGB)
            labels = {
                (number, os.path.splitext(file)[0]): posixpath.join(base, _LABELS, name, file)
                for number, name in enumerate(classes, start=1)
                for file in tree.files.get(posixpath.join(base, _LABELS, name), ())
            }
            for file in tree.files[folder]:
                stem, ending = os.path.splitext(file)
                if ending.lower() not in IMAGE_SUFFIXES:
                    continue
                image = tree.path(folder, file)
                parts = [
                    (number, [tree.path("", labels[number, stem])])
                    for number in range(1, len(classes) + 1)
                    if (number, stem) in labels
                ]
                field = [
                    tree.path("", path) for kind in _FIELD
                    if tree.has(path := f"{posixpath.join(base, kind)}/{stem}.png")
                ]  # fmt: skip
                mask = _drawn(image, parts, field) if parts and split != "unlabeled" else None
                name = folder_names.with_split(stem, split)
                found.items.append(Item(name, image, mask, split))
        bare = [i.id for i in found.items if i.mask is None and i.split in ("val", "test")]
        if bare:
            found.warnings.append(
                f"{len(bare)} val or test images have no mask and are left out: {some(bare)}"
            )
        if any(posixpath.join(base, _NIR) in tree.files for base in bases):
            found.notes.append("near infrared (images/nir) is not read")
        found.notes.append(
            "pixels that two classes claim, and those outside of boundaries/ and masks/, are "
            "ignored"
        )
        return found


def _bases(tree: FolderTree) -> list[str]:
    """Folders with images/rgb and labels/."""
    return [
        folder[: -len(_RGB)].rstrip("/")
        for folder in tree.files
        if folder == _RGB or folder.endswith(f"/{_RGB}")
    ]


def _classes(tree: FolderTree, base: str) -> list[str]:
    """The folders of labels/, if boundaries/ or masks/ lie next to it."""
    start = f"{posixpath.join(base, _LABELS)}/"
    if not any(posixpath.join(base, kind) in tree.files for kind in _FIELD):
        return []
    return [
        f[len(start) :] for f in tree.files if f.startswith(start) and "/" not in f[len(start) :]
    ]


def _drawn(image: str, parts: list[tuple[int, list[str]]], field: list[str]) -> Drawn:
    inner = drawn_parts(image, parts)

    def content() -> bytes:
        return b"|".join([b"field", inner.content(), *(as_path(p).read_bytes() for p in field)])

    def draw() -> np.ndarray:
        ids = inner.draw()
        for path in field:
            ids[union_of_files([path], image) == 0] = IGNORE
        return ids

    return Drawn(image, content, draw)
