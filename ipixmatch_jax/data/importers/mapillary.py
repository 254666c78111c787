"""Mapillary Vistas 1.2 and 2.0: SPLIT/images, SPLIT/vVERSION/labels and config_vVERSION.json."""

import os
import re

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.importers import names as folder_names
from ipixmatch_jax.data.importers.class_files import read_mapillary
from ipixmatch_jax.data.importers.found import Choices, Classes, Found, Item, without_mask
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError

_VERSION = re.compile(r"v[12]\.\d$")
_SPLITS = {"training": "train", "validation": "val", "testing": "test"}


class Mapillary:
    """Mapillary Vistas as downloaded."""

    name = "mapillary"
    source = "Mapillary Vistas (1.2 or 2.0)"

    def sniff(self, tree: FolderTree) -> str:
        found = _versions(tree)
        named = f" with config_{found[-1]}.json" if found and _config(tree, found[-1]) else ""
        return f"labels of {' and '.join(found)}{named}" if found else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        versions = _versions(tree)
        chosen = [v for v in versions if f"/{v}/" in f"/{choices.get('train_masks', '')}/"]
        version = (chosen or versions)[-1]
        found = Found(classes=_classes(tree, version))
        if found.classes is None:
            found.notes.append(
                f"no config_{version}.json: the classes have no names, and are counted in the masks"
            )
        if len(versions) > 1:
            found.notes.append(
                f"labels of {version} are read; for {versions[0]} set data.folder.format=mapillary "
                f"and data.folder.train_masks={_example(tree, versions[0])}"
            )
            found.keys["train_masks"] = _example(tree, version)
        bare = []
        for folder in tree.files:
            parts = folder.split("/")
            if parts[-1] != "images" or len(parts) < 2:
                continue
            split = _SPLITS.get(parts[-2]) or folder_names.split(parts[-2]) or "train"
            labels = "/".join((*parts[:-1], version, "labels"))
            for file in tree.files[folder]:
                stem, ending = os.path.splitext(file)
                if ending.lower() not in IMAGE_SUFFIXES:
                    continue
                mask = (
                    tree.path(labels, f"{stem}.png") if tree.has(f"{labels}/{stem}.png") else None
                )
                bare += [file] * (mask is None and split != "train")
                name = stem if split == "train" else f"{split}/{stem}"
                found.items.append(Item(name, tree.path(folder, file), mask, split))
        found.warnings += without_mask(bare)
        return found


def _versions(tree: FolderTree) -> list[str]:
    """Versions with labels, the oldest first; without a config file, v1.2 and v2.0 alone."""
    found = {parts[-2] for folder in tree.files
             if len(parts := folder.split("/")) > 2 and parts[-1] == "labels"}  # fmt: skip
    return sorted(v for v in found if _config(tree, v) or _VERSION.match(v))


def _config(tree: FolderTree, version: str) -> str:
    name = f"config_{version}.json"
    return name if tree.has(name) else ""


def _classes(tree: FolderTree, version: str) -> Classes | None:
    config = _config(tree, version)
    if not config:
        return None
    stated = read_mapillary(tree.path("", config))
    if not stated.names:
        raise DataError(f"{tree.path('', config)}: lists no labels")
    return Classes(stated.names, stated.palette)


def _example(tree: FolderTree, version: str) -> str:
    return next(folder for folder in tree.files if folder.endswith(f"{version}/labels"))
