"""The registry of importers, and the choice of the one that fits a folder."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.files.masks import MASK_SUFFIXES
from ipixmatch_jax.data.importers.ade20k_full import Ade20kFull
from ipixmatch_jax.data.importers.agriculture_vision import AgricultureVision
from ipixmatch_jax.data.importers.bdd100k import Bdd100k
from ipixmatch_jax.data.importers.beside import masks_among
from ipixmatch_jax.data.importers.cell_tracking import CellTracking
from ipixmatch_jax.data.importers.cellpose import Cellpose
from ipixmatch_jax.data.importers.cityscapes import Cityscapes, Kitti
from ipixmatch_jax.data.importers.class_lists import class_lists
from ipixmatch_jax.data.importers.coco import Coco
from ipixmatch_jax.data.importers.coco_panoptic import CocoPanoptic
from ipixmatch_jax.data.importers.contents import cut_files, head, read_json
from ipixmatch_jax.data.importers.cvat_xml import CvatXml
from ipixmatch_jax.data.importers.cvppp import Cvppp
from ipixmatch_jax.data.importers.cwfid import Cwfid
from ipixmatch_jax.data.importers.datumaro import Datumaro
from ipixmatch_jax.data.importers.folders import Folders, layout_words
from ipixmatch_jax.data.importers.found import Choices, Found, Importer, some
from ipixmatch_jax.data.importers.idd import Idd
from ipixmatch_jax.data.importers.image_folders import ImageFolders
from ipixmatch_jax.data.importers.isat import Isat
from ipixmatch_jax.data.importers.kitti_step import KittiStep
from ipixmatch_jax.data.importers.label_studio import LabelStudio
from ipixmatch_jax.data.importers.label_studio_files import LabelStudioFiles
from ipixmatch_jax.data.importers.labelme import LabelMe
from ipixmatch_jax.data.importers.labelme_xml import LabelMeXml
from ipixmatch_jax.data.importers.magnetic_tile import MagneticTile
from ipixmatch_jax.data.importers.mapillary import Mapillary
from ipixmatch_jax.data.importers.mask_parts import MaskParts
from ipixmatch_jax.data.importers.matlab import Matlab
from ipixmatch_jax.data.importers.open_images import OpenImages
from ipixmatch_jax.data.importers.oxford_pet import OxfordPet
from ipixmatch_jax.data.importers.pairing import pair
from ipixmatch_jax.data.importers.per_object import PerObject
from ipixmatch_jax.data.importers.ph2 import Ph2
from ipixmatch_jax.data.importers.places import Files, places
from ipixmatch_jax.data.importers.refuge import Refuge
from ipixmatch_jax.data.importers.split_files import apply_lists
from ipixmatch_jax.data.importers.stacks import Stacks
from ipixmatch_jax.data.importers.supervisely import Supervisely
from ipixmatch_jax.data.importers.synthia import Synthia
from ipixmatch_jax.data.importers.tree import FolderTree, scan
from ipixmatch_jax.data.importers.unread import unread_files
from ipixmatch_jax.data.importers.via import Via
from ipixmatch_jax.data.importers.voc import Voc
from ipixmatch_jax.data.importers.voc_xml import VocXml
from ipixmatch_jax.data.importers.without_masks import WithoutMasks
from ipixmatch_jax.data.importers.yolo import Yolo
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.registry import Registry

IMPORTERS: Registry[Importer] = Registry("data.folder.format")
# Formats with marks of their own are tried first; plain folders are the last resort.
_SPECIFIC: tuple[Importer, ...] = (
    Coco(), LabelMe(), Voc(), Yolo(), PerObject(), MagneticTile(), Matlab(), OxfordPet(),
    Cityscapes(), Kitti(), Supervisely(), Via(), LabelStudio(), CvatXml(), Mapillary(),
    Ade20kFull(), LabelMeXml(), ImageFolders(), MaskParts(), LabelStudioFiles(),
    CocoPanoptic(), Datumaro(), Ph2(), AgricultureVision(), Stacks(), Isat(),
    Bdd100k(), Cellpose(), CellTracking(), Idd(), KittiStep(), Refuge(), Synthia(), VocXml(),
    OpenImages(), Cvppp(), Cwfid(),
)  # fmt: skip
for _importer in (*_SPECIFIC, Folders()):
    IMPORTERS.register(_importer.name)(_importer)

PLACES = ("train_images", "train_masks", "val_images", "val_masks", "test_images", "test_masks")
# Formats whose masks are drawn from annotation files.
_DRAWN = frozenset(
    "coco labelme yolo cvat-xml datumaro via label-studio supervisely isat voc-xml".split()
)  # fmt: skip
# Formats whose folders tell a split only by their names, or by lists next to the images.
_LISTED = (
    _DRAWN
    | frozenset(
        "per-object image-folders mask-parts mat labelme-xml label-studio-files cellpose".split()
    )
    | {OpenImages.name}
)
# Endings of files that may hold annotations.
_TABLES = (".json", ".jsonl", ".csv", ".xml", ".tsv", ".geojson")
# Keys of `config.data.folder` that change how a folder is read.
CHOICE_KEYS = ("format", *PLACES, "mask_tail", "mask_prefix", "unannotated", "exif",
               "unlabeled_folders")  # fmt: skip


def choices_of(options: Mapping[str, Any], lists: Sequence[str] = ()) -> Choices:
    """The keys of `config.data.folder` that are set and change how a folder is read.

    Args:
        options: the keys.
        lists: `data.labeled` and others; with any of them the lists in the folder do not count.
    """
    chosen = {key: options[key] for key in CHOICE_KEYS if key in options and options[key]}
    return chosen | ({"own_lists": True} if any(lists) else {})


def recognize(tree: FolderTree, choices: Choices) -> tuple[Importer, str]:
    """The importer that reads a folder, and the reason.

    Args:
        tree: the folder.
        choices: keys of `config.data.folder` that the user has set; `format` names the importer,
            folders of images or masks choose `folders`.

    Raises:
        DataError: no importer recognizes the folder, or several do.
        ConfigError: `format` is unknown.
    """
    if choices.get("format"):
        importer = IMPORTERS[choices["format"]]
        return importer, importer.sniff(tree) or f"data.folder.format={importer.name}"
    if any(choices.get(key) for key in (*PLACES, "mask_tail", "mask_prefix")):
        return IMPORTERS["folders"], "the folders that you named"
    claims = [(one, reason) for one in _SPECIFIC if (reason := one.sniff(tree))]
    if len(claims) > 1:
        options = "; ".join(f"data.folder.format={one.name} ({reason})" for one, reason in claims)
        raise DataError(f"{tree.root}: can be read in {len(claims)} ways; set one of: {options}")
    if claims:
        return claims[0]
    folders = IMPORTERS["folders"]
    reason = folders.sniff(tree)
    if not reason:
        boxes = WithoutMasks()
        if boxes.sniff(tree):
            boxes.read(tree, choices)
        raise _unknown(tree)
    return folders, reason


def read_folder(root: AnyPath, choices: Choices) -> tuple[Importer, str, Found]:
    """Lists and reads a folder; see `read_tree`."""
    return read_tree(scan(root), choices)


def read_tree(tree: FolderTree, choices: Choices) -> tuple[Importer, str, Found]:
    """Recognizes and reads a folder that has been listed.

    Args:
        tree: the folder.
        choices: keys of `config.data.folder` that the user has set.

    Returns:
        The importer, the reason why it was chosen, and what it read; counts of hidden files and
        broken links are among the remarks.

    Raises:
        DataError: the folder is not recognized or cannot be read.
        ConfigError: `choices['format']` is unknown.
    """
    importer, reason = recognize(tree, choices)
    others = _mask_files(tree) if importer.name in _DRAWN else ""
    try:
        found = importer.read(tree, choices)
    except DataError as error:
        more = f"; or set data.folder.format=folders to read {others}" * bool(others)
        raise DataError(f"{error}{more}") from None
    if importer.name in _LISTED and not choices.get("own_lists"):
        apply_lists(tree, found, masks=False)
    if others:
        found.warnings.append(
            f"{others} are not read, since the folder is read as {importer.name}; set "
            "data.folder.format=folders to read them in place of the annotations"
        )
    if importer.name in _DRAWN:
        found.warnings += cut_files(tree)
    _unique_ids(found, str(tree.root))
    found.class_lists = class_lists(tree) if found.classes is None else []
    found.warnings += unread_files(tree, found)
    if tree.skipped:
        shown = ", ".join(tree.skipped[:3]) + (", …" if len(tree.skipped) > 3 else "")
        found.notes.append(
            f"{len(tree.skipped)} hidden or helper files and folders skipped: {shown}"
        )
    if tree.broken:
        shown = ", ".join(tree.broken[:3]) + (", …" if len(tree.broken) > 3 else "")
        found.warnings.append(f"{len(tree.broken)} symbolic links lead nowhere: {shown}")
    if tree.special:
        found.warnings.append(
            f"{len(tree.special)} pipes, sockets or devices are left out: {some(tree.special, 3)}"
        )
    return importer, reason, found


def _mask_files(tree: FolderTree) -> str:
    """Mask files with the names of images, next to annotations of the same images; or ''."""
    images, masks = Files(), Files()
    found = places(tree, {})
    for place in found:
        if place.role == "mask":
            masks.add(tree, replace(place, group=""), MASK_SUFFIXES)
        elif place.role != "preview":
            images.add(tree, replace(place, group=""), IMAGE_SUFFIXES)
    paired = pair(list(images.paths), list(masks.paths)).pairs if masks.paths else {}
    if len(paired) < 2:
        return ""
    tops = {masks.paths[mask][0].rpartition("/")[0] for mask in paired}
    return f"{len(paired)} mask files in {some(sorted(tops), 3)}"


def _unique_ids(found: Found, root: str) -> None:
    """Gives images with the same id their whole path as id: train/a.png and extra/train/a.png."""
    counts = Counter(item.id for item in found.items)
    doubled = {name for name, count in counts.items() if count > 1}
    if not doubled:
        return
    for index, item in enumerate(found.items):
        if item.id in doubled:
            inner = os.path.relpath(item.image, root) if "://" not in root else item.image
            prefix = f"{item.split}/" * (item.split in ("val", "test"))
            found.items[index] = item._replace(id=prefix + inner)
    found.notes.append(
        f"{sum(counts[name] for name in doubled)} images share their name with another; their id "
        f"is their whole path: {some(sorted(doubled), 3)}"
    )


def _unknown(tree: FolderTree) -> DataError:
    """The error for a folder that no importer recognizes: shows its content."""
    kinds: dict[str, int] = {}
    for _, names in tree.below(""):
        for name in names:
            ending = name.rpartition(".")[2].lower() if "." in name else "(no ending)"
            kinds[ending] = kinds.get(ending, 0) + 1
    counts = ", ".join(f"{n} .{kind}" for kind, n in sorted(kinds.items(), key=lambda k: -k[1])[:6])
    tops = sorted({folder.split("/")[0] for folder in tree.files if folder})
    inside = (
        f"folders {', '.join(tops[:8])}{', …' if len(tops) > 8 else ''}" if tops else "no folder"
    )
    images = tree.with_ending(*IMAGE_SUFFIXES)
    if len(images) == sum(kinds.values()) > 0 and not masks_among(
        [tree.path("", path) for path in images]
    ):
        inside += ": images, and no masks (see 'How to draw masks' in docs/data.md)"
    tables = [(len(path), path) for path in tree.with_ending(*_TABLES)]
    shown = ""
    if tables:
        path = min(tables)[1]
        shown = _of_table(tree, path)
    return DataError(
        f"{tree.root}: no images with masks recognized; found {counts or 'no file'} in {inside}"
        f"{shown}; {layout_words()}; known formats (data.folder.format): "
        f"{', '.join(IMPORTERS.names())}"
    )


def _of_table(tree: FolderTree, path: str) -> str:
    """What is wrong with a file that may hold annotations."""
    data = head(tree.path("", path), 60)
    if path.lower().endswith(".json"):
        try:
            read_json(tree.path("", path))
        except DataError as error:
            return f"; {error}"
    if not data.strip():
        return f"; {path} is empty"
    start = data.decode("utf-8", "replace")
    return f"; {path}, which begins with {start!r}, is no annotation file that is read"
