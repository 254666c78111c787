"""The PH2 data set of skin lesions: a folder per lesion, with folders for the photo and its mask.

X/X_Dermoscopic_Image/X.bmp, X/X_lesion/X_lesion.bmp, and X/X_roi with parts of the lesion, which
are not read. Mendonça et al., 2013; as published by the University of Porto.
"""

import os

from ipixmatch_jax.data.importers import names as folder_names
from ipixmatch_jax.data.importers.drawing import union_of_files
from ipixmatch_jax.data.importers.found import Choices, Classes, Drawn, Found, Item, some
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.paths import as_path

_PHOTO, _LESION, _ROI = "_Dermoscopic_Image", "_lesion", "_roi"


class Ph2:
    """Folders IMD002, IMD003, …"""

    name = "ph2"
    source = "PH2 (one folder per lesion)"

    def sniff(self, tree: FolderTree) -> str:
        lesions = _lesions(tree)
        return f"{lesions[0]}, and {len(lesions) - 1} other lesions" if lesions else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        found = Found(classes=Classes(("background", "lesion")))
        for photo in _lesions(tree):
            base, _, file = photo.rpartition("/")
            base = base.removesuffix(_PHOTO)
            stem = os.path.splitext(file)[0]
            mask = next(
                (f"{base}{_LESION}/{name}" for name in tree.files.get(base + _LESION, ())
                 if os.path.splitext(name)[0] == stem + _LESION),
                "",
            )  # fmt: skip
            split = folder_names.split_of_path(photo.rpartition("/")[0])
            name = folder_names.with_split(stem, split)
            image = tree.path("", photo)
            drawn = _drawn(tree.path("", mask), image) if mask else None
            found.items.append(Item(name, image, drawn, split))
        bare = [item.id for item in found.items if item.mask is None]
        if bare:
            found.warnings.append(f"{len(bare)} photos have no mask of the lesion: {some(bare)}")
        rois = sum(folder.endswith(_ROI) for folder in tree.files)
        if rois:
            found.notes.append(f"{rois} folders of regions (X{_ROI}) are not read")
        return found


def _lesions(tree: FolderTree) -> list[str]:
    """Relative paths of the photos."""
    return [
        f"{folder}/{name}"
        for folder, files in tree.files.items()
        if folder.endswith(_PHOTO)
        for name in files
        if folder.rpartition("/")[2] == os.path.splitext(name)[0] + _PHOTO
    ]


def _drawn(mask: str, image: str) -> Drawn:
    return Drawn(
        image, lambda: b"ph2" + as_path(mask).read_bytes(), lambda: union_of_files([mask], image)
    )
