"""Folders of masks that their names do not tell, recognized by the content of their files."""

from collections.abc import Iterable, Sequence

import numpy as np

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.importers import beside
from ipixmatch_jax.data.importers.pairing import Name, pair
from ipixmatch_jax.data.importers.places import Files, Place, place_of
from ipixmatch_jax.data.importers.tree import FolderTree

# Files of a folder that are opened, and folders that are examined at most.
_OPENED, _MOST_FOLDERS = 6, 64
# Share of the masks that must belong to an image.
_COVERAGE = 0.8


def told_by_content(tree: FolderTree, places: list[Place]) -> list[Place]:
    """The places, with roles for folders whose files show that they are masks.

    Nothing changes unless all files examined in a folder have few colors, and most of their names
    pair with those of files in other folders.
    """
    plain = [p for p in places if not p.role and not p.chosen and _images(tree, p)]
    if not plain or len(plain) > _MOST_FOLDERS:
        return places
    masks = [place for place in plain if _holds_masks(tree, place)]
    images = [p for p in places if p not in masks and p.role in ("", "image")]
    parts = {part for place in masks for part in place.folder.split("/")}
    others = {part for place in images for part in place.folder.split("/")}
    if not masks or not images or not all(set(p.folder.split("/")) - others for p in masks):
        return places
    # Names that only one side has in its paths tell the roles; the rest are splits and scenes.
    roles = dict.fromkeys(parts - others, "mask")
    for place in images:
        if not place.role:
            roles |= dict.fromkeys(set(place.folder.split("/")) - parts, "image")
    # Names of the whole data set, such as road_segmentation, tell no role.
    plain_parts = {part for place in plain for part in place.folder.split("/")}
    roles |= dict.fromkeys(plain_parts - roles.keys(), "")
    told = [
        place_of(place.folder, tuple(sorted(roles.items())))
        if place in masks or (place in images and not place.role)
        else place
        for place in places
    ]
    return told if _paired(tree, told) else places


def _images(tree: FolderTree, place: Place) -> list[str]:
    names = tree.files.get(place.folder, ())
    return [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]


def _holds_masks(tree: FolderTree, place: Place) -> bool:
    files = _images(tree, place)
    if len(files) < 2:
        return False
    picked = np.unique(np.linspace(0, len(files) - 1, _OPENED).round().astype(int))
    paths = [tree.path(place.folder, files[i]) for i in picked]
    # All of one color: nothing tells that they are masks.
    return all(map(beside.looks_like_mask, paths)) and bool(beside.masks_among(paths))


def _paired(tree: FolderTree, places: Sequence[Place]) -> bool:
    masks = _names(tree, (place for place in places if place.role == "mask"))
    images = _names(tree, (place for place in places if place.role == "image"))
    found = pair(images, masks).pairs
    if not found and len({split for split, _ in masks}) == 1:
        # One folder of masks may serve all splits.
        bare = [[("", stem.rpartition("/")[2]) for _, stem in names] for names in (images, masks)]
        found = pair(*bare).pairs
    return len(found) >= max(2, _COVERAGE * len(masks))


def _names(tree: FolderTree, places: Iterable[Place]) -> list[Name]:
    """(split, scene/stem) of the images in these places."""
    found = []
    for place in places:
        files = Files()
        files.add(tree, place, IMAGE_SUFFIXES)
        found += [(place.split, f"{group}/{stem}".lstrip("/")) for group, stem in files.paths]
    return found
