"""Assigns a role and a split to every folder, by its name or as the user says."""

import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.importers import names
from ipixmatch_jax.data.importers.found import Choices, some
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.registry import nearest

# Words for masks that also name a domain, next to folders of the other: source/, target/.
_DOMAINS, _SOURCES = ("target", "targets"), {"source", "sources", "src"}


@dataclass(frozen=True)
class Place:
    """A folder of images or masks.

    Attributes:
        folder: relative to the root.
        role: image, mask, preview, or '' if the name does not say.
        split: train, val, test, unlabeled, or '' if the name does not say.
        top: the folder up to the last part with a role or split.
        group: the other parts of the path: scenes or classes. Images and masks with the same group
            belong together.
        chosen: True if the user named this place.
    """

    folder: str
    role: str = ""
    split: str = ""
    top: str = ""
    group: str = ""
    chosen: bool = False


@functools.lru_cache(maxsize=2**16)
def place_of(folder: str, known: tuple[tuple[str, str], ...] = ()) -> Place:
    """The place of a folder, from the words in its path.

    Args:
        folder: relative to the root.
        known: (name of a folder, role) for names whose words do not tell the role.
    """
    parts = [part for part in folder.split("/") if part]
    roles = dict(known)
    role = split = ""
    group, last = [], 0
    for number, part in enumerate(parts, start=1):
        own_role, own_split = roles.get(part, names.role(part)), names.split(part)
        split = split or own_split
        if own_role:
            # Previews and masks stay what they are, whatever lies below them: masks/images/x.png.
            stays = role == "preview" or (role == "mask" and own_role == "image")
            role, last = (role if stays else own_role), number
        elif own_split and names.is_only_split(part):
            last = number
        else:
            group.append(part)
    return Place(folder, role, split, "/".join(parts[:last]), "/".join(group))


def _data_set_names(folders: Iterable[str]) -> set[str]:
    """Names of folders that look like those of masks, but hold the images too: Kvasir-SEG.

    They hold folders of images and of masks, or everything and have other words in their name.

    Args:
        folders: the folders of images and masks, relative to the root.
    """
    inside: dict[str, set[str]] = {}
    domains = False
    paths = [[part for part in folder.split("/") if part] for folder in folders]
    for parts in paths:
        domains |= not _SOURCES.isdisjoint(part.lower() for part in parts)
        roles = [names.role(part) for part in parts]
        for number in range(1, len(parts)):
            if roles[number - 1] == "mask":
                inside.setdefault(parts[number - 1], set()).update(roles[number:])
    found = {
        name for name, roles in inside.items()
        if {"image", "mask"} <= roles or ("image" in roles and domains and name.lower() in _DOMAINS)
    }  # fmt: skip
    common = os.path.commonprefix(paths)
    return found | {name for name in common if not names.is_only_mask(name)}


def _opposite_masks(found: dict[str, Place]) -> set[str]:
    """Names that tell images only by being in no path of masks: 1/camera, 1/labels, 2/camera, …"""
    masks = [set(folder.split("/")) for folder, place in found.items() if place.role == "mask"]
    if not masks or any(place.role == "image" for place in found.values()):
        return set()
    plain = [folder for folder, place in found.items() if not place.role]
    own = {frozenset(folder.split("/")).difference(*masks) for folder in plain}
    return set(own.pop()) - {""} if len(own) == 1 else set()


def places(tree: FolderTree, choices: Choices) -> list[Place]:
    """All folders of the tree that hold files, with the user's choices applied.

    Raises:
        DataError: a chosen folder does not exist.
    """
    images = [folder for folder, files in tree.files.items() if _has_image(files)]
    known = dict.fromkeys(_data_set_names(images), "")
    found = {folder: place_of(folder, tuple(known.items())) for folder in tree.files}
    known |= dict.fromkeys(_opposite_masks({folder: found[folder] for folder in images}), "image")
    found = {folder: place_of(folder, tuple(known.items())) for folder in tree.files}
    chosen: dict[tuple[str, str], list[Place]] = {}
    tops = _chosen_tops(tree, choices)
    for (split, role), top in tops.items():
        # Of nested folders the inner one counts: images in train/, masks in train/masks/.
        inner = [
            _path(other) for (_, kind), other in tops.items()
            if kind != role and _below(_path(other), _path(top))
        ]  # fmt: skip
        chosen[split, role] = [
            Place(folder, role, split, top, _inside(folder, top), chosen=True)
            for folder, _ in tree.below(_path(top))
            if not any(folder == other or _below(folder, other) for other in inner)
        ]
    kept = []
    for folder, place in found.items():
        split = place.split or "train"
        if _claimed(folder, chosen):
            continue
        if (split, place.role) in chosen:
            place = replace(place, role="unused")
        # Without a role: the images of a split that the user chose are these alone.
        if not place.role and (split, "image") in chosen:
            place = replace(place, role="unused")
        kept.append(place)
    return kept + [place for places in chosen.values() for place in places]


def _chosen_tops(tree: FolderTree, choices: Choices) -> dict[tuple[str, str], str]:
    """(split, role) -> the folder that the user chose, relative to the root."""
    tops = {}
    for split in ("train", "val", "test"):
        for role in ("image", "mask"):
            key = f"{split}_{role}s"
            top = _below_root(tree, str(choices.get(key) or ""), f"data.folder.{key}")
            if top:
                _check_folder(tree, top, f"data.folder.{key}")
                tops[split, role] = top
    return tops


def _path(top: str) -> str:
    return "" if top == "." else top


def _below(folder: str, top: str) -> bool:
    """True if a folder lies below another one."""
    return folder != top and (not top or folder.startswith(f"{top}/"))


def _below_root(tree: FolderTree, top: str, key: str) -> str:
    """A chosen folder relative to the root; '.' is the root itself."""
    root = str(tree.root).rstrip("/")
    if top.rstrip("/") == root:
        return "."
    top = top.removeprefix(f"{root}/")
    if os.path.isabs(top) or "://" in top or ".." in top.split("/"):
        raise DataError(
            f"{key}={top!r}: not below {tree.root}; expected a folder relative to data.root; point "
            "data.root at a folder that holds both images and masks"
        )
    return top.strip("/").removeprefix("./")


def _has_image(files: Iterable[str]) -> bool:
    return any(name.lower().endswith(IMAGE_SUFFIXES) for name in files)


def _claimed(folder: str, chosen: dict[tuple[str, str], list[Place]]) -> bool:
    return any(place.folder == folder for places in chosen.values() for place in places)


def _inside(folder: str, top: str) -> str:
    return folder if top == "." else folder[len(top) :].strip("/")


def _check_folder(tree: FolderTree, top: str, key: str) -> None:
    if top == "." or any(True for _ in tree.below(top)):
        return
    tops = sorted({folder for folder in tree.files if folder})
    raise DataError(
        f"{tree.path(top)}: no such folder, or no file in it{nearest(top, tops)}; {key} is "
        f"relative to {tree.root}, which holds: {some(tops) or 'no folder'}"
    )


@dataclass
class Files:
    """The files of one role.

    Attributes:
        paths: (group, stem) -> relative paths, several if endings differ.
        others: files with other endings.
        further: mask -> further masks of the same image.
    """

    paths: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    further: dict[str, list[str]] = field(default_factory=dict)

    def add(self, tree: FolderTree, place: Place, endings: Iterable[str]) -> None:
        """Adds the files of a place with these endings; others are listed in `others`."""
        known, group = frozenset(endings), place.group
        prefix = f"{place.folder}/" if place.folder else ""
        for name in tree.files.get(place.folder, ()):
            stem, dot, ending = name.rpartition(".")
            if dot and f".{ending.lower()}" in known:
                self.paths.setdefault((group, stem), []).append(prefix + name)
            else:
                self.others.append(prefix + name)


def masks_of_split(split: str, masks: list[Place]) -> list[Place]:
    """The folders of masks of a split: its own, and those without a split.

    With val/masks, masks/ holds those of the training images, which may have the same names.
    """
    own = split != "train" and any(place.split == split for place in masks)
    if split == "unlabeled":
        return []
    return [p for p in masks if p.split == split or (not p.split and not own)]


def split_of(path: str, source: str = "", default: str = "train") -> str:
    """The split by the folders of an image, or by the name of the annotation file; or `default`."""
    folders = "/".join([*path.split("/")[:-1], *source.split("/")[:-1]])
    stem = os.path.splitext(source.rpartition("/")[2])[0]
    return names.split_of_path(folders, names.split(stem) or default)


def item_id(path: str, split: str) -> str:
    """The id of an image: its path without ending and without folders such as images and train.

    Validation and test images have their split as a prefix.
    """
    folder, _, name = path.rpartition("/")
    group = place_of(folder).group
    stem = os.path.splitext(f"{group}/{name}" if group else name)[0]
    return names.with_split(stem, split)


def doubled_names(files: Files, kind: str, split: str, tree: FolderTree) -> list[str]:
    """An error for each name that several files of one kind, images or masks, have."""
    doubled = {name: paths for name, paths in files.paths.items() if len(paths) > 1}
    return [
        f"{tree.path('', paths[0])}: {len(paths)} {kind} for id {name[1]!r} "
        f"({', '.join(_short(paths))}); expected one; remove the others"
        + f", or set data.folder.{split}_{kind} to one folder"
        * (split != "unlabeled" and len(set(_short(paths, 0))) > 1)
        for name, paths in doubled.items()
    ]


def _short(paths: list[str], part: int = 1) -> list[str]:
    """The names of files (part 1) or their folders (0); whole paths if the names are equal."""
    parts = [os.path.split(path)[part] for path in paths]
    return paths if part and len(set(parts)) < len(parts) else parts


def is_below(folder: str, tops: list[str]) -> bool:
    """True if a folder is one of `tops`, or in one of them."""
    own = os.path.normpath(folder) + "/"
    return any(own.startswith(os.path.normpath(top) + "/") for top in tops)
