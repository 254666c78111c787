"""CWFID, crops and weeds: images/001_image.png, annotations/001_annotation.png, in colors.

Haug and Ostermann, 2014. masks/001_mask.png tell vegetation from soil by an index, and are not
read. train_test_split.yaml lists the numbers of the training and of the test images.
"""

import re

import numpy as np

from ipixmatch_jax.data.files.masks import read_colors
from ipixmatch_jax.data.importers import names as folder_names
from ipixmatch_jax.data.importers.found import Choices, Classes, Found, Item
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import as_path

_PHOTO, _LABEL, _VEGETATION = "_image.png", "_annotation.png", "_mask.png"
_FEWEST = 2
_SPLITS = "train_test_split.yaml"
_NAMES = ("soil", "crop", "weed")
_COLORS = ((0, 0, 0), (0, 255, 0), (255, 0, 0))


class Cwfid:
    """Numbered images with annotations."""

    name = "cwfid"
    source = "CWFID (crops and weeds)"

    def sniff(self, tree: FolderTree) -> str:
        pairs = {photo: label for photo, label in _pairs(tree).items() if label}
        # Other data sets have files of these names, too.
        if len(pairs) < _FEWEST or len(tree.with_ending(_VEGETATION)) < _FEWEST:
            return ""
        photo, label = next(iter(pairs.items()))
        try:
            colors = read_colors(tree.path("", label), label).reshape(-1, 3)
        except DataError:
            return ""
        known = {tuple(color) for color in np.unique(colors, axis=0).tolist()} <= set(_COLORS)
        return f"{photo} with {label}" if known else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        found = Found(classes=Classes(_NAMES, _COLORS, "colors"))
        splits = {} if choices.get("own_lists") else _stated(tree)
        for photo, label in _pairs(tree).items():
            stem = photo.rpartition("/")[2].removesuffix(_PHOTO)
            split = splits.get(int(stem), folder_names.split_of_path(photo.rpartition("/")[0]))
            mask = tree.path("", label) if label else None
            name = folder_names.with_split(stem, split)
            found.items.append(Item(name, tree.path("", photo), mask, split))
        if splits:
            found.notes.append(f"splits of {_SPLITS}")
        return found


def _pairs(tree: FolderTree) -> dict[str, str]:
    """Photo -> annotation or '', as relative paths, of numbered files."""
    labels = {path.rpartition("/")[2]: path for path in tree.with_ending(_LABEL)}
    photos = [
        path for path in tree.with_ending(_PHOTO)
        if re.fullmatch(r"\d+", path.rpartition("/")[2].removesuffix(_PHOTO))
    ]  # fmt: skip
    names = {path: path.rpartition("/")[2].removesuffix(_PHOTO) + _LABEL for path in photos}
    return {path: labels.get(name, "") for path, name in names.items()}


def _stated(tree: FolderTree) -> dict[int, str]:
    """Number -> split by train_test_split.yaml; {} without it."""
    import yaml

    for path in tree.with_ending(_SPLITS):
        full = tree.path("", path)
        try:
            content = yaml.safe_load(as_path(full).read_bytes())
            return {int(n): split for split in ("train", "test") for n in content[split]}
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
            raise DataError(
                f"{full}: cannot be read ({error}); expected the lists train and test of numbers; "
                "correct it, or remove it"
            ) from None
    return {}
