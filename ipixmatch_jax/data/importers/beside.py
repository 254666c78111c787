"""Masks that lie in the folder of their images: X_mask.png, mask_X.png or X.png next to X.jpg."""

import io
import os
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.importers.contents import content
from ipixmatch_jax.data.importers.found import Found, some
from ipixmatch_jax.data.importers.names import MASK_AFFIXES
from ipixmatch_jax.data.importers.pairing import Name
from ipixmatch_jax.data.importers.places import Files, Place
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError

_LOSSY = (".jpg", ".jpeg")
# A file with more distinct values than this is taken for a photo.
_MOST_VALUES = 32
_OPENED = 6


def bare(stem: str, affixes: tuple[str, str] = ("", "")) -> str:
    """The image name in a mask's file name: `X` for X_mask or mask_X; '' if it has no affix."""
    prefix, tail = affixes
    if any(affixes):
        fits = stem.startswith(prefix) and stem.endswith(tail) and len(stem) > len(prefix + tail)
        return stem[len(prefix) : len(stem) - len(tail)] if fits else ""
    found = re.match(r"(.+)[_\-. ]([A-Za-z]+1?)$", stem)
    if found and found.group(2).lower() in MASK_AFFIXES:
        return found.group(1)
    found = re.match(r"([A-Za-z]+)[_\-. ](.+)$", stem)
    return found.group(2) if found and found.group(1).lower() in MASK_AFFIXES else ""


def sniff(tree: FolderTree, places: list[Place]) -> str:
    """The reason why masks lie next to their images, or ''."""
    for place in places:
        if place.role == "preview":
            continue
        files = Files()
        files.add(tree, place, IMAGE_SUFFIXES)
        stems = {stem for _, stem in files.paths}
        example = next((stem for stem in sorted(stems) if bare(stem) in stems), "")
        if example:
            return f"masks next to their images: {example} belongs to {bare(example)}"
        twins = [paths for paths in files.paths.values() if len(paths) == 2]
        if twins and _twin_masks(tree, twins):
            return f"masks next to their images, with the same name: {' and '.join(twins[0])}"
    return ""


def separate(
    tree: FolderTree, images: Files, masks: Files, affixes: tuple[str, str], found: Found
) -> Files:
    """Moves masks from the files of images to the files of masks, and returns the latter.

    Args:
        tree: the folder.
        images: files of the image folders; masks are removed from it.
        masks: files of the mask folders.
        affixes: (prefix, tail) of mask names, set by the user.
        found: decisions are noted here.
    """
    both = images.paths.keys() & masks.paths.keys()
    shared = {name for name in both if set(images.paths[name]) & set(masks.paths[name])}
    result = Files({n: p for n, p in masks.paths.items() if n not in shared}, masks.others)
    moved: list[Name] = []
    stems = images.paths.keys()
    for name in list(stems):
        group, stem = name
        inner = bare(stem, affixes)
        if inner and (any(affixes) or (group, inner) in stems):
            moved.append(name)
    for name in moved:
        result.paths[name] = images.paths.pop(name)
    _move_twins(tree, images, result, found)
    return result


def _move_twins(tree: FolderTree, images: Files, masks: Files, found: Found) -> None:
    twins = {
        name: paths
        for name, paths in images.paths.items()
        if len(paths) == 2 and sum(path.lower().endswith(_LOSSY) for path in paths) == 1
    }
    # Names that have a mask elsewhere are images that lie here twice.
    twins = {name: paths for name, paths in twins.items() if name not in masks.paths}
    if not twins or not _twin_masks(tree, list(twins.values())):
        return
    for name, paths in twins.items():
        image = next(path for path in paths if path.lower().endswith(_LOSSY))
        (mask,) = (path for path in paths if path != image)
        images.paths[name], masks.paths[name] = [image], [mask]
    found.notes.append(
        f"{len(twins)} masks next to the image of the same name: "
        f"{some([' and '.join(paths) for paths in twins.values()], 2)}"
    )


def _twin_masks(tree: FolderTree, twins: list[list[str]]) -> bool:
    """True if of each of these pairs one is a JPEG and the other looks like a mask."""
    for paths in twins[:_OPENED]:
        others = [path for path in paths if not path.lower().endswith(_LOSSY)]
        if len(others) != 1 or not looks_like_mask(tree.path("", others[0])):
            return False
    return True


def looks_like_mask(path: str) -> bool:
    """True if a file shows at most 32 different colors, which no photo does."""
    if os.path.splitext(path)[1].lower() == ".npy":
        return True
    try:
        with Image.open(io.BytesIO(content(path))) as picture:
            array = np.asarray(picture.convert("RGB") if len(picture.getbands()) > 1 else picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, DataError):
        return False
    flat = array.reshape(-1, array.shape[-1]) if array.ndim == 3 else array.reshape(-1, 1)
    return len(np.unique(flat[:: max(1, len(flat) // 20000)], axis=0)) <= _MOST_VALUES


def masks_among(paths: Sequence[str], count: int = 8) -> list[str]:
    """Those of a few images, spread over the list, that look like masks; JPEG is not opened."""
    lossless = [path for path in paths if not path.lower().endswith(_LOSSY)]
    picked = np.linspace(0, len(lossless) - 1, min(count, len(lossless))).round().astype(int)
    return [lossless[i] for i in picked if looks_like_mask(lossless[i]) and _varies(lossless[i])]


def _varies(path: str) -> bool:
    with Image.open(io.BytesIO(content(path))) as picture:
        low_high = picture.convert("L").getextrema()
    return low_high[0] != low_high[1]
