"""Of several folders of masks for the same images, the one that is read."""

import os
import re
from collections import Counter
from collections.abc import Sequence

from ipixmatch_jax.data.importers import names
from ipixmatch_jax.data.importers.found import Found, some
from ipixmatch_jax.data.importers.places import Place
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError

# Share of the files of a folder in a folder of masks that have the names of others there.
_VERSIONS = 0.8


def one_mask_folder(
    tree: FolderTree, masks: list[Place], known: Sequence[Place], found: Found
) -> list[Place]:
    """The folders of masks that are read; what is not used is noted in `found`.

    Args:
        tree: all files.
        masks: folders of masks.
        known: all folders with their roles.
        found: gets notes and warnings.

    Raises:
        DataError: several folders hold masks of the same images, and no name decides.
    """
    masks = _without_colored_copies(tree, masks, found)
    masks = _without_versions(tree, masks, known, found)
    return _same_kind(masks, _chosen(tree, masks, found), known, found)


def _without_colored_copies(tree: FolderTree, masks: list[Place], found: Found) -> list[Place]:
    """The folders of masks without those in color whose files have the names of others.

    FloodNet's ColorMasks lie in a folder of their own, next to that of the data set.
    """
    colored = [p for p in masks if names.shows_colors(p.top) and not p.chosen]
    plain: dict[str, Counter[str]] = {}
    for place in masks:
        if place not in colored:
            plain.setdefault(place.split, Counter()).update(_stems(tree, place))
    groups = {place.group for place in masks if place not in colored}
    copies = [
        place for place in colored
        # Of the same group, a rule of its own decides; equal names of two scenes tell nothing.
        if place.group not in groups
        and max(plain.get(place.split, {}).values(), default=0) == 1
        and _stems(tree, place) <= plain[place.split].keys()
    ]  # fmt: skip
    if copies:
        found.notes.append(
            f"masks in color, with the names of others, are not used: "
            f"{some([place.folder for place in copies])}"
        )
    return [place for place in masks if place not in copies]


def _stems(tree: FolderTree, place: Place) -> set[str]:
    return {os.path.splitext(name)[0] for name in tree.files[place.folder]}


def _bare_stems(tree: FolderTree, place: Place) -> set[str]:
    """The names of the masks in a folder without the tail that all of them have."""
    stems = sorted(_stems(tree, place))
    tail = os.path.commonprefix([stem[::-1] for stem in stems])[::-1]
    start = re.search(r"[_\-. ][A-Za-z]", tail) if len(stems) > 1 else None
    return {stem[: len(stem) - len(tail) + start.start()] for stem in stems} if start else {*stems}


def _without_versions(
    tree: FolderTree, masks: list[Place], known: Sequence[Place], found: Found
) -> list[Place]:
    """The folders of masks without older versions of the same masks, such as masks/old in masks.

    Raises:
        DataError: the names do not tell which version counts: masks/corrected.
    """
    groups = {place.group for place in known if place.role != "mask"}
    old = []
    for outer in masks:
        stems = {os.path.splitext(name)[0] for name in tree.files[outer.folder]}
        for inner in masks:
            own = [os.path.splitext(name)[0] for name in tree.files[inner.folder]]
            # Scenes in subfolders have images of the same group, or files of other names.
            if (
                not inner.folder.startswith(f"{outer.folder}/".lstrip("/"))
                or inner in (outer, *old)
                or inner.chosen
                or inner.group in groups
                or inner.split != outer.split
                or sum(stem in stems for stem in own) < _VERSIONS * len(own)
            ):
                continue
            if names.version(_last(inner)) == "new":
                raise DataError(
                    f"{tree.path(inner.folder)}: {len(own)} masks with the names of those in "
                    f"{outer.folder or '.'}: two versions; expected one; copy those that count "
                    f"into {outer.folder or '.'} and move the others out of {tree.root}, or set "
                    f"data.folder.{outer.split or 'train'}_masks to the folder that counts"
                )
            old += [inner] if names.version(_last(inner)) == "old" else []
    if old:
        found.notes.append(
            f"older masks, by the names of their folders, are not used: "
            f"{some([place.folder for place in old])}"
        )
    return [place for place in masks if place not in old]


def _chosen(tree: FolderTree, masks: list[Place], found: Found) -> list[Place]:
    """Of the folders of masks of each split and group, those that a name chooses."""
    kept = list(masks)
    for split, group in sorted({(p.split, p.group) for p in masks}):
        same = [p for p in masks if (p.split, p.group) == (split, group)]
        if len(same) < 2 or any(p.chosen for p in same):
            continue
        manual = [p for p in same if p.folder.endswith(("1st_manual", "masks_machine"))]
        colored = [p for p in same if names.shows_colors(p.top) or names.shows_edges(p.top)]
        stems = Counter(stem for p in same for stem in _stems(tree, p))
        bare = [_bare_stems(tree, p) for p in same]
        if all(own.isdisjoint(_stems(tree, p)) for own, p in zip(bare, same, strict=True)):
            # X_label and X_label_noBoundary of Potsdam.
            stems = Counter(stem for own in bare for stem in own)
        if manual:
            dropped = [p for p in same if p not in manual]
            shown = some([p.folder for p in dropped])
            found.notes.append(f"{manual[0].folder} holds the masks; not used: {shown}")
            kept = [p for p in kept if p not in dropped]
        elif 0 < len(colored) < len(same):
            form = "in color" if any(names.shows_colors(p.top) for p in colored) else "of edges"
            found.notes.append(
                f"masks {form}, next to others for the same images, are not used: "
                f"{some([p.folder for p in colored])}"
            )
            kept = [p for p in kept if p not in colored]
            _chosen(tree, [p for p in same if p not in colored], found)
        elif max(stems.values(), default=0) > 1:
            key = f"data.folder.{split or 'train'}_masks"
            last = {_last(p) for p in same}
            alike = {p.group for p in masks if p.group != group and _last(p) in last}
            raise DataError(
                f"{tree.root}: {len(same)} folders of masks for the same images: "
                f"{some([p.folder for p in same])}; expected one; "
                + (
                    f"in {len(alike)} other folders it is the same; move those that do not count "
                    f"out of {tree.root}"
                    if alike
                    else f"set {key} to one of them"
                )
            )
    return kept


def _same_kind(
    masks: list[Place], kept: list[Place], known: Sequence[Place], found: Found
) -> list[Place]:
    """Drops folders named like those that are not used, in splits where they stand alone.

    DRIVE has test/mask, the field of view, and training/1st_manual next to training/mask.
    """
    lost = [p for p in masks if p not in kept]
    lost += [p for p in known if p.role == "unused" and names.role(_last(p)) == "mask"]
    sides = {(p.split, p.group) for p in lost}
    used = {_last(p) for p in kept if p.chosen or (p.split, p.group) in sides}
    alone = [p for p in kept if not p.chosen and _last(p) in {_last(p) for p in lost} - used]
    if not alone or len(alone) == len(kept):
        return kept
    found.warnings.append(
        f"{some([p.folder for p in alone])}: not used, like the folders of this name next to "
        f"{some(sorted({p.folder for p in kept if p not in alone}))}"
    )
    return [place for place in kept if place not in alone]


def _last(place: Place) -> str:
    return place.folder.rpartition("/")[2].lower()
