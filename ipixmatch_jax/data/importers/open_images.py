"""Mask files of objects that a CSV lists with their labels: Open Images, V7's instance masks.

Written for train-annotations-object-segmentation.csv of Open Images V5 to V7, Datumaro's export of
it, and instance_mask_annotations.csv of darwin-py. Pixels that two classes claim are ignored; an
object of a label `/m/01yrx` has the name that class-descriptions.csv gives it.
"""

import os

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.files.masks import MASK_SUFFIXES
from ipixmatch_jax.data.importers.drawing import background_first
from ipixmatch_jax.data.importers.found import Choices, Classes, Found, Item, some, without_mask
from ipixmatch_jax.data.importers.mask_parts import drawn_parts
from ipixmatch_jax.data.importers.mask_tables import masks_of, names_of, tables_of_masks
from ipixmatch_jax.data.importers.places import item_id, place_of, split_of
from ipixmatch_jax.data.importers.tree import FolderTree


class OpenImages:
    """CSV tables with a mask file for each object."""

    name = "open-images"
    source = "mask files that a CSV lists with their labels (Open Images, V7)"

    def sniff(self, tree: FolderTree) -> str:
        files = tables_of_masks(tree)
        return f"masks, images and labels in {some(files, 3)}" if files else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        found, label_names = Found(), names_of(tree)
        rows = [row for path in tables_of_masks(tree) for row in masks_of(tree, path)]
        files = {}
        for path in tree.with_ending(*MASK_SUFFIXES):
            name = path.rpartition("/")[2]
            files |= {name: path}
            if place_of(path.rpartition("/")[0]).role == "mask":
                files.setdefault(os.path.splitext(name)[0], path)
        named = [label_names.get(label, label) for _, _, label in rows]
        names, table = background_first(sorted(set(named)))
        parts: dict[str, dict[int, list[str]]] = {}
        missing = []
        for (mask, image, _), name in zip(rows, named, strict=True):
            path = files.get(mask.rpartition("/")[2])
            if path is None:
                missing.append(mask)
                continue
            own = parts.setdefault(image, {}).setdefault(table[name], [])
            own.append(tree.path("", path))
        masks = {mask.rpartition("/")[2] for mask, _, _ in rows}
        known = {image for _, image, _ in rows}
        bare = []
        for path in tree.with_ending(*IMAGE_SUFFIXES):
            folder, _, name = path.rpartition("/")
            stem = os.path.splitext(name)[0]
            if name in masks or place_of(folder).role == "mask":
                continue
            split = split_of(path)
            drawn = drawn_parts(tree.path("", path), list(parts[stem].items())) \
                if stem in parts else None  # fmt: skip
            bare += [path] * (drawn is None and split in ("val", "test"))
            found.items.append(Item(item_id(path, split), tree.path("", path), drawn, split))
        stems = {os.path.splitext(os.path.basename(item.image))[0] for item in found.items}
        found.classes = Classes(names)
        found.notes.append(
            f"{len(rows)} objects in {len(parts)} images; pixels that two classes claim are ignored"
        )
        if missing:
            found.problems.append(
                f"{tree.root}: {len(missing)} mask files that the tables list do not exist: "
                f"{some(missing)}; without them objects would be background; download all parts"
            )
        if known - stems:
            found.warnings.append(
                f"{len(known - stems)} annotated images do not exist: {some(sorted(known - stems))}"
            )
        found.warnings += without_mask(bare)
        return found
