"""Masks that lie in the folder of their images: X_mask.png, mask_X.png or X.png next to X.jpg."""

import io
import os
import re
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from ipixmatch_jax.data.files import multiband
from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.importers.contents import content
from ipixmatch_jax.data.importers.found import Found, some
from ipixmatch_jax.data.importers.mask_affixes import bare, rival_affixes
from ipixmatch_jax.data.importers.names import MASK_AFFIXES, joined, role, shows_colors
from ipixmatch_jax.data.importers.pairing import Name, Pairs, pair
from ipixmatch_jax.data.importers.places import Files, Place
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError

_LOSSY = (".jpg", ".jpeg", ".jfif", ".jpe")
# A file with more distinct values than this is taken for a photo.
_MOST_VALUES = 32
_OPENED = 6
# Smoothed masks: pixels no further from black or white, and their share.
_DARK, _CLEAR = 24, 0.9
# Words in the tail of semantic masks: Segments.ai, SuperAnnotate and PixelAnnotationTool.
_SEMANTIC = ("semantic", "___fuse", "watershed_mask")
_PEOPLE = re.compile("1st|2nd|3rd")
# Share of the files named like masks that must belong to an image.
_COVERAGE = 0.8


_COMPANION = re.compile(r"(.+)([_\-. ][A-Za-z]{3,})$")


def sniff(tree: FolderTree, places: list[Place]) -> str:
    """The reason why masks lie next to their images, or ''."""
    for place in places:
        if place.role == "preview":
            continue
        files = Files()
        files.add(tree, place, IMAGE_SUFFIXES)
        stems = {stem for _, stem in files.paths}
        for inner in (bare, lambda stem: joined(stem)[0]):
            example = next((stem for stem in sorted(stems) if inner(stem) in stems), "")
            if example:
                return f"masks next to their images: {example} belongs to {inner(example)}"
        twins = [paths for paths in files.paths.values() if len(paths) == 2]
        if twins and (_twin_masks(tree, twins) or _ending_of_masks(tree, twins)):
            return f"masks next to their images, with the same name: {' and '.join(twins[0])}"
        tails = _tails(tree, files.paths)
        if tails:
            return f"masks next to their images, with the tail {' or '.join(sorted(tails))}"
        worded = _worded(list(files.paths))
        if worded:
            return f"masks next to their images, by their names: {worded[0][1]}"
    return ""


def separate(
    tree: FolderTree,
    images: Files,
    masks: Files,
    affixes: tuple[str, str],
    found: Found,
    *,
    any_name: bool = True,
) -> Files:
    """Moves masks from the files of images to the files of masks, and returns the latter.

    Args:
        tree: the folder.
        images: files of the image folders; masks are removed from it.
        masks: files of the mask folders.
        affixes: (prefix, tail) of mask names, set by the user.
        found: decisions are noted here.
        any_name: masks may have other names than X_mask next to X.
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
        elif not any(affixes) and any_name and (group, joined(stem)[0]) in stems:
            moved.append(name)
    if any(affixes):
        _drop_other_tails(tree, images.paths, moved, found)
    elif moved:
        moved = _one_affix(tree, images.paths, moved, found)
        moved = _one_tail(tree, images.paths, moved, found)
    elif any_name:
        moved = _by_tail(tree, images.paths, found) or _worded(list(stems))
    for name in moved:
        result.paths[name] = images.paths.pop(name)
    _move_further(images, result)
    _move_twins(tree, images, result, found)
    return result


def _move_further(images: Files, masks: Files) -> None:
    """Moves further masks of an image, such as X_mask_1 next to X_mask, to `masks.further`."""
    for group, stem in list(images.paths) if masks.paths else ():
        match = re.match(r"(.+)[_\-. ]\(?\d+\)?$", stem)
        if match and (group, match.group(1)) in masks.paths and bare(match.group(1)):
            (first, *_) = masks.paths[group, match.group(1)]
            masks.further.setdefault(first, []).extend(images.paths.pop((group, stem)))


def _tails(tree: FolderTree, paths: dict[Name, list[str]]) -> dict[str, list[Name]]:
    """Tails that turn the names of images into those of files that look like masks."""
    found: dict[str, list[Name]] = {}
    taken: set[Name] = set()
    # The longest name first: X_1_m belongs to X_1, not to X; X_label_semantic to X, not to X_label.
    for group, stem in sorted(paths, key=lambda name: (len(name[1]), name)):
        for end in range(len(stem) - 1, 0, -1):
            tail, other = stem[end:], (group, stem[:end])
            # A digit or letter continues a name: photo1 and photo10.
            if tail[0].isalnum() or other not in paths or other in taken:
                continue
            if re.search("[A-Za-z]", tail):
                found.setdefault(tail, []).append((group, stem))
                taken.add((group, stem))
                break
    longest = max(map(len, found.values()), default=0)
    return {
        tail: masks
        for tail, masks in found.items()
        if len(masks) >= max(2, longest // 2)
        and all(looks_like_mask(tree.path("", paths[name][0])) for name in masks[:_OPENED])
    }


def _semantic(tails: Iterable[str]) -> list[str]:
    """The tails that name semantic masks, or those of the first of several people (CHASE_DB1)."""
    sure = [tail for tail in tails if any(word in tail.lower() for word in _SEMANTIC)]
    people = {_PEOPLE.sub("", tail) for tail in tails}
    if not sure and len(people) == 1 and all(map(_PEOPLE.search, tails)):
        return [tail for tail in tails if "1st" in tail]
    return sure


def _by_tail(
    tree: FolderTree,
    paths: dict[Name, list[str]],
    found: Found,
    tails: dict[str, list[Name]] | None = None,
) -> list[Name]:
    """The masks that a tail tells; of several tails the one that names semantic masks.

    Files with other tails are taken out of `paths`: they are no images.

    Raises:
        DataError: several tails, and none is certain.
    """
    tails = _tails(tree, paths) if tails is None else tails
    sure = _semantic(tails)
    chosen = sure if len(sure) == 1 else list(tails)
    if len(chosen) > 1:
        raise DataError(
            f"{tree.root}: files with {len(chosen)} tails lie next to the images: {some(chosen)}; "
            "expected one mask for each image; set data.folder.mask_tail to the tail of the masks"
        )
    for tail in tails.keys() - {*chosen}:
        for name in tails[tail]:
            del paths[name]
        found.notes.append(
            f"{len(tails[tail])} files with the tail {tail} are not used; the masks are those with "
            f"{chosen[0]} (data.folder.mask_tail)"
        )
    return [name for tail in chosen for name in tails[tail]]


def _one_affix(
    tree: FolderTree, paths: dict[Name, list[str]], moved: list[Name], found: Found
) -> list[Name]:
    """The masks of one affix if images have two: X_mask and X_gt.

    Raises:
        DataError: no affix is certain.
    """
    rivals = rival_affixes(moved)
    kept = _semantic(rivals) or [affix for affix in rivals if not shows_colors(affix)]
    if rivals and len(kept) != 1:
        raise DataError(
            f"{tree.root}: two masks of the same images lie next to them, named "
            f"{some(sorted(rivals))}, where * is the name of the image; expected one mask for each "
            "image; set data.folder.mask_tail or mask_prefix to that of the masks"
        )
    others = {name for affix, names in rivals.items() if affix not in kept for name in names}
    for name in others:
        del paths[name]
    if others:
        found.notes.append(f"{len(others)} files are not used, next to those named {kept[0]}")
    return [name for name in moved if name not in others]


def _one_tail(
    tree: FolderTree, paths: dict[Name, list[str]], moved: list[Name], found: Found
) -> list[Name]:
    """The masks of each image if files with several tails look like masks.

    Colored copies and previews are taken out of `paths`, and named in a note.

    Raises:
        DataError: several tails, and none is certain.
    """
    known = {tail: names for tail, names in _tails(tree, paths).items()
             if not re.search(r"[_\-. ]\(?\d+\)?$", tail)}  # fmt: skip
    others = {tail: names for tail, names in known.items() if not set(names) & set(moved)}
    # X_label_semantic belongs to X_label, a mask of instances, as much as to X.
    sure = _semantic(others) or _semantic(known) * bool(others)
    if len(sure) == 1:
        return _by_tail(tree, paths, found, known)
    views = [tail for tail in others if shows_colors(tail) or role(tail) == "preview"]
    if len(views) < len(others):
        shown = some(sorted(known))
        raise DataError(
            f"{tree.root}: files with {len(known)} tails lie next to the images: {shown}; "
            "expected one mask for each image; set data.folder.mask_tail to the tail of the masks"
        )
    for tail in views:
        for name in others[tail]:
            del paths[name]
        found.notes.append(f"{len(others[tail])} files with the tail {tail} are not used")
    return moved


def _drop_other_tails(
    tree: FolderTree, paths: dict[Name, list[str]], masks: list[Name], found: Found
) -> None:
    """Takes files with other tails than that of the masks out of `paths`: they are no images."""
    for tail, names in _tails(tree, paths).items():
        if not set(names) & set(masks):
            for name in names:
                del paths[name]
            found.notes.append(f"{len(names)} files with the tail {tail} are not used")


def _worded(names: list[Name]) -> list[Name]:
    """Masks whose names have a mask's word where images have another: 1_sat and 1_mask.

    Or none, as frame_1 and frame_mask_1.
    """
    masks = [name for name in names if bare(name[1]) or _word_inside(name[1])]
    known = set(masks)
    others = [name for name in names if name not in known]
    if len(masks) < 2 or not others:
        return []
    paired = pair(others, masks).pairs
    return masks if len(paired) >= _COVERAGE * len(masks) else []


def _word_inside(stem: str) -> bool:
    """True if a word for masks stands between others: frame_mask_1."""
    return any(part.lower() in MASK_AFFIXES for part in re.split(r"[_\-. ]", stem)[1:-1])


def _move_twins(tree: FolderTree, images: Files, masks: Files, found: Found) -> None:
    twins = {
        name: paths
        for name, paths in images.paths.items()
        # Names that have a mask elsewhere are images that lie here twice.
        if len(paths) == 2 and name not in masks.paths
    }
    lossy = {name: paths for name, paths in twins.items() if _lossy(paths)}
    ending = "" if lossy else _ending_of_masks(tree, list(twins.values()))
    twins = lossy or twins
    if not ending and not (twins and _twin_masks(tree, list(twins.values()))):
        return
    for name, paths in twins.items():
        image = _lossy(paths) or next(path for path in paths if not path.lower().endswith(ending))
        (mask,) = (path for path in paths if path != image)
        images.paths[name], masks.paths[name] = [image], [mask]
    found.notes.append(
        f"{len(twins)} masks next to the image of the same name: "
        f"{some([' and '.join(paths) for paths in twins.values()], 2)}"
    )


def _lossy(paths: list[str]) -> str:
    """The only JPEG of two files, or ''."""
    found = [path for path in paths if path.lower().endswith(_LOSSY)]
    return found[0] if len(found) == 1 else ""


def _ending_of_masks(tree: FolderTree, twins: list[list[str]]) -> str:
    """The ending of masks next to images of the same name, none of them a JPEG: X.bmp and X.png.

    '' unless all pairs have these two endings, and a few show that one is of masks, the other not.
    """
    endings = {tuple(sorted(os.path.splitext(path)[1].lower() for path in pair)) for pair in twins}
    if len(endings) != 1 or any(ending in _LOSSY for ending in min(endings)):
        return ""
    opened = [{os.path.splitext(p)[1].lower(): tree.path("", p) for p in pair}
              for pair in twins[:_OPENED]]  # fmt: skip
    for ending in min(endings):
        masks = [pair[ending] for pair in opened]
        others = [path for pair in opened for path in pair.values() if path not in masks]
        if all(map(looks_like_mask, masks)) and any(map(_varies, masks)) \
                and not any(map(looks_like_mask, others)):  # fmt: skip
            return ending
    return ""


def _twin_masks(tree: FolderTree, twins: list[list[str]]) -> bool:
    """True if of each of these pairs one is a JPEG and the other looks like a mask."""
    for paths in twins[:_OPENED]:
        others = [path for path in paths if not path.lower().endswith(_LOSSY)]
        if len(others) != 1:
            return False
        (image,) = (tree.path("", path) for path in paths if path not in others)
        mask = tree.path("", others[0])
        if not looks_like_mask(mask) and not _black_and_white(mask, image):
            return False
    return True


def _black_and_white(path: str, image: str) -> bool:
    """True if nearly all pixels are dark or bright, as of smoothed masks, unlike in the image."""
    try:
        with Image.open(io.BytesIO(content(path))) as picture, \
                Image.open(io.BytesIO(content(image))) as photo:  # fmt: skip
            values = np.asarray(picture.convert("L"))
            small = [
                np.asarray(p.convert("L").resize((32, 32)), np.int16) for p in (picture, photo)
            ]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, DataError):
        return False
    clear = ((values <= _DARK) | (values >= 255 - _DARK)).mean() >= _CLEAR
    # A copy of a dark photo is no mask.
    return bool(clear and np.abs(small[0] - small[1]).mean() > _DARK)


def companions(pairs: Pairs) -> dict[str, list[Name]]:
    """Images without a mask that have the name of one with a mask and a common tail of letters."""
    paired = set(pairs.pairs.values())
    found: dict[str, list[Name]] = {}
    for group, stem in pairs.images_left:
        match = _COMPANION.match(stem)
        if match and (group, match.group(1)) in paired:
            found.setdefault(match.group(2), []).append((group, stem))
    least = max(2, len(paired) // 2)
    return {tail: names for tail, names in found.items() if len(names) >= least}


def looks_like_mask(path: str) -> bool:
    """True if a file shows at most 32 different colors, which no photo does."""
    if os.path.splitext(path)[1].lower() == ".npy":
        return _mask_array(path)
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


def _mask_array(path: str) -> bool:
    """True if an NPY file holds one band of few whole numbers."""
    try:
        array = multiband.read(path, path)
    except DataError:
        return False
    few = array.shape[-1] == 1 and len(np.unique(array)) <= _MOST_VALUES
    return bool(few and (array == np.round(array)).all())


def _varies(path: str) -> bool:
    if path.lower().endswith(".npy"):
        array = multiband.read(path, path)
        return bool((array != array[:1, :1]).any())
    with Image.open(io.BytesIO(content(path))) as picture:
        low_high = picture.convert("L").getextrema()
    return low_high[0] != low_high[1]
