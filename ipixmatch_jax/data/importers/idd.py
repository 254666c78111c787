"""India Driving Dataset (IDD): leftImg8bit, and label files of AutoNUE's scripts in gtFine.

Training uses level3Ids, as the scripts say; the 7 classes of level1Ids are those of IDD-Lite.
"""

import re

from ipixmatch_jax.data.importers.cityscapes_classes import CLASSES, PALETTE
from ipixmatch_jax.data.importers.found import Choices, Classes, Found, Item, some, without_mask
from ipixmatch_jax.data.importers.names import with_split
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError

_LEVEL3 = (
    "road", "parking or drivable fallback", "sidewalk", "rail track or non-drivable fallback",
    "person or animal", "rider", "motorcycle", "bicycle", "autorickshaw", "car", "truck", "bus",
    "vehicle fallback", "curb", "wall", "fence", "guard rail", "billboard", "traffic sign",
    "traffic light", "pole", "obs-str-bar-fallback", "building", "bridge or tunnel", "vegetation",
    "sky or fallback background",
)  # fmt: skip
_LEVEL2 = (
    "road", "parking or fallback", "sidewalk", "rail track or fallback", "person or animal",
    "rider", "two-wheeler", "autorickshaw or car", "large vehicle", "curb or wall",
    "fence or guard rail", "signs and lights", "poles and other structures",
    "building or bridge", "vegetation", "sky or fallback background",
)  # fmt: skip
_LEVEL1 = ("drivable", "non-drivable", "living things", "vehicles", "roadside objects",
           "far objects", "sky")  # fmt: skip
# Kinds of label files in the order of preference, and their classes.
_KINDS = {
    "labellevel3Ids": Classes(_LEVEL3),
    "labelcsTrainIds": Classes(CLASSES, PALETTE),
    "labellevel2Ids": Classes(_LEVEL2),
    "labellevel1Ids": Classes(_LEVEL1),
    "label": Classes(_LEVEL1),
}
_NUMBERED = "labelids"
_IMAGE = re.compile(r"(.*?)leftImg8bit/(train|val|test)/(.*)_(leftImg8bit|image)\.(?:png|jpe?g)$")
_MASK = re.compile(
    r"(.*?)gtFine/(?:train|val|test)/(.*?)_(?:gtFine_)?"
    r"(label(?:level[1-4]ids|cstrainids|ids)?)\.png$",
    re.IGNORECASE,
)
_ADVICE = (
    "expected _gtFine_labellevel3Ids.png; make them with the scripts of AutoNUE: python "
    "preperation/createLabels.py --datadir FOLDER --id-type level3Id"
)


class Idd:
    """IDD with label files, and IDD-Lite."""

    name = "idd"
    source = "India Driving Dataset (IDD 1 and 2, IDD-Lite)"

    def sniff(self, tree: FolderTree) -> str:
        return is_idd(tree)

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        masks = _masks(tree)
        kind = next((kind for kind in _KINDS if kind.lower() in masks), "")
        if not kind:
            raise DataError(
                f"{tree.root}: label files of IDD of the kinds {some(sorted(masks))}, and none "
                f"that training uses; {_ADVICE}"
            )
        found, own = Found(classes=_KINDS[kind]), masks[kind.lower()]
        bare = []
        for path in tree.with_ending(".png", ".jpg", ".jpeg"):
            parts = _IMAGE.match(path)
            if not parts:
                continue
            base, split, stem, _ = parts.groups()
            mask = own.get(f"{base}gtFine/{split}/{stem}", "")
            bare += [path] * (not mask and split in ("val", "test"))
            found.items.append(
                Item(
                    with_split(f"{base}{stem}", split), tree.path("", path),
                    tree.path("", mask) if mask else None, split,
                )
            )  # fmt: skip
        found.notes.append(
            f"masks: {len(own)} {kind}, with {len(_KINDS[kind].names)} classes"
            + f"; not used: {some(sorted(masks.keys() - {kind.lower()}))}" * (len(masks) > 1)
        )
        found.warnings += without_mask(bare)
        return found


def is_idd(tree: FolderTree) -> str:
    """The reason why a tree with leftImg8bit and gtFine is IDD, and not Cityscapes; or ''."""
    if not any("leftImg8bit" in folder.split("/") for folder in tree.files):
        return ""
    masks = _masks(tree)
    shown = [f"{kind} ({len(found)})" for kind, found in masks.items()]
    return f"leftImg8bit, and label files of IDD in gtFine: {some(shown)}" if masks else ""


def _masks(tree: FolderTree) -> dict[str, dict[str, str]]:
    """Kind, in lower case -> image, as BASEgtFine/SPLIT/STEM -> mask."""
    found: dict[str, dict[str, str]] = {}
    for path in tree.with_ending(".png"):
        match = _MASK.match(path)
        # Cityscapes writes labelIds, IDD's scripts labelids.
        if not match or match.group(3) == "labelIds" or path.endswith("_inst_label.png"):
            continue
        split = path[len(match.group(1)) :].split("/")[1]
        key = f"{match.group(1)}gtFine/{split}/{match.group(2)}"
        found.setdefault(match.group(3).lower(), {})[key] = path
    return found
