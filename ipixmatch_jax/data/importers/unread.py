"""Counts the files in folders of images and masks that are not read."""

import os
from collections import Counter

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.files.masks import MASK_SUFFIXES
from ipixmatch_jax.data.importers.found import Found, some
from ipixmatch_jax.data.importers.places import place_of
from ipixmatch_jax.data.importers.tree import FolderTree

# Endings of files that lie next to images and are none: lists, metadata, georeferences, models.
_NO_IMAGES = frozenset(
    ".txt .json .jsonl .xml .csv .tsv .md .rst .html .htm .yaml .yml .toml .ini .cfg .log .py"
    " .ipynb .sh .mat .tfw .jgw .pgw .wld .prj .aux .ovr .cpg .dbf .shp .shx .qml .geojson .kml"
    " .lif .db .xmp .pth .pt .onnx .pkl .license .url .lnk .bak .doc .docx .xls .xlsx .odt".split()
)
_NO_IMAGE_NAMES = frozenset("readme license licence attribution copying makefile".split())
_KNOWN = _NO_IMAGES.union(IMAGE_SUFFIXES, MASK_SUFFIXES)


def unread_files(tree: FolderTree, found: Found) -> list[str]:
    """A warning that counts, by their endings, files that may be images and are not read.

    Args:
        tree: the folder.
        found: what an importer read; the folders of its images and masks are examined, and those
            whose names say that they hold images.
    """
    root = str(tree.root).rstrip("/") + "/"
    paths = [item.image for item in found.items]
    paths += [item.mask for item in found.items if isinstance(item.mask, str)]
    folders = {os.path.dirname(path.removeprefix(root)) for path in paths}
    folders |= {folder for folder in tree.files if place_of(folder).role == "image"}
    others = [
        f"{folder}/{name}" if folder else name
        for folder in sorted(folders)
        for name in tree.files.get(folder, ())
        if _ending(name) not in _KNOWN and name.lower() not in _NO_IMAGE_NAMES
    ]
    if not others:
        return []
    kinds = Counter(_ending(os.path.basename(path)) or "without an ending" for path in others)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return [
        f"{len(others)} files in the folders of images and masks are not read ({counts}): "
        f"{some(others)}; convert photos to PNG or JPEG, and rename those without an ending"
    ]


def _ending(name: str) -> str:
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""
