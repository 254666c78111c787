"""Several label files of one image, told by their tails: X_labelIds, X_labelTrainIds, X_color.

Training uses the train ids, if there are any: Cityscapes, BDD100K, and COCO-Stuff as it is prepared
for mmsegmentation. Else the label ids are read.
"""

import re
from collections.abc import Iterable, Mapping

from ipixmatch_jax.data.importers.found import Found, some
from ipixmatch_jax.data.importers.places import Files
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError

# Tails of label files, the preferred one first; the last are never read next to others.
_TRAIN = re.compile(r"(.+?)_(label_?)?train_?ids?$", re.IGNORECASE)
_LABELS = re.compile(r"(.+?)_label_?ids?$", re.IGNORECASE)
_VIEWS = re.compile(
    r"(.+?)_(instance_?(train_?)?ids?|(label_?|train_?)?colou?rs?|panoptic(_?train_?ids?)?)$",
    re.IGNORECASE,
)


# The masks of MATLAB's Image Labeler, numbered by the rows of gTruth.
_MATLAB = re.compile(r"(?:.*/)?PixelLabelData[^/]*/Label_(\d+)\.png")


def numbered_by_rows(mask_of: Mapping[str, str], images: Iterable[str]) -> list[str]:
    """The problem if MATLAB's Label_2 is paired with image_2, and image_10 is the second image.

    Args:
        mask_of: image -> mask, as relative paths.
        images: all images, also those without a mask.
    """
    numbers = {image: _MATLAB.fullmatch(mask) for image, mask in mask_of.items()}
    if not numbers or not all(numbers.values()):
        return []
    for row, image in enumerate(sorted(images), start=1):
        if image in numbers and int(numbers[image].group(1)) != row:
            return [
                f"{mask_of[image]} is paired with {image} by its number; MATLAB's Image Labeler "
                f"numbers its files by the rows of gTruth, and {image} is image {row} in the order "
                "of the names; expected masks with the names of their images; copy them in MATLAB "
                "by gTruth.DataSource and gTruth.LabelData, or rename the folder PixelLabelData "
                "if the numbers are right"
            ]
    return []


def one_label_kind(tree: FolderTree, masks: Files, found: Found) -> None:
    """Keeps one label file of each image in `masks`, and notes what is not used.

    Raises:
        DataError: only some images have a file of train ids.
    """
    bases: dict[tuple[str, str], dict[str, tuple[str, str]]] = {}
    for name in masks.paths:
        group, stem = name
        for kind, pattern in (("train", _TRAIN), ("label", _LABELS), ("view", _VIEWS)):
            match = pattern.match(stem)
            if match:
                key = kind if kind != "view" else f"view {match.group(2).lower()}"
                bases.setdefault((group, match.group(1)), {})[key] = name
                break
        else:
            # X.png next to X_labelTrainIds.png; alone it is a mask like others.
            bases.setdefault(name, {})["plain"] = name
    several = {base: kinds for base, kinds in bases.items() if len(kinds) > 1}
    wanted = next((kind for kind in ("train", "label")
                   if any(kind in kinds for kinds in several.values())), "")  # fmt: skip
    if not wanted:
        return
    lost = [kinds for kinds in bases.values() if wanted not in kinds]
    if lost:
        example = masks.paths[next(iter(lost[0].values()))][0]
        known = masks.paths[next(kinds[wanted] for kinds in several.values() if wanted in kinds)][0]
        raise DataError(
            f"{tree.path('', example)}, and {len(lost) - 1} other images: no file such as {known}; "
            "expected the same kinds of label files for all images; make the missing ones, or set "
            "data.folder.mask_tail to the tail of the kind that all have"
        )
    dropped = [name for kinds in bases.values() for kind, name in kinds.items() if kind != wanted]
    kept = [masks.paths[kinds[wanted]][0] for kinds in bases.values()]
    shown = some([masks.paths[name][0] for name in dropped], 3)
    for name in dropped:
        del masks.paths[name]
    note = (
        f"of several label files per image, those with {'train' if wanted == 'train' else 'label'} "
        f"ids are read, such as {kept[0]} (data.folder.mask_tail); not used: {shown}"
    )
    # A folder without a split is read for each one.
    found.notes += [note] * (note not in found.notes)
