"""Folders of images and masks under any of the usual names, or masks next to their images."""

import functools
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.files.masks import MASK_SUFFIXES
from ipixmatch_jax.data.importers import beside, names
from ipixmatch_jax.data.importers.by_content import told_by_content
from ipixmatch_jax.data.importers.found import SPLITS, Choices, Classes, Found, Item, some
from ipixmatch_jax.data.importers.label_kinds import numbered_by_rows, one_label_kind
from ipixmatch_jax.data.importers.mask_folders import one_mask_folder
from ipixmatch_jax.data.importers.mask_parts import drawn_parts
from ipixmatch_jax.data.importers.pairing import Name, Pairs, pair
from ipixmatch_jax.data.importers.places import (
    Files,
    Place,
    doubled_names,
    is_below,
    masks_of_split,
    places,
)
from ipixmatch_jax.data.importers.split_files import apply_lists, split_by_names
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError

# JPEG and GIF masks are paired like others, so that reading them can say what is wrong, if
# anything.
MASK_ENDINGS = tuple(dict.fromkeys((*MASK_SUFFIXES, ".jpg", ".jpeg", ".gif")))


class Folders:
    """Images and masks in folders of the usual names, or masks beside images."""

    name = "folders"
    source = "folders of images and masks"

    def sniff(self, tree: FolderTree) -> str:
        named = places(tree, {})
        found = _with_masks(tree, named)
        tops = sorted({p.top for p in found if p.role == "mask" and _has(tree, p, MASK_ENDINGS)})
        if tops:
            told = " (few colors, and names that pair with images)" * (found is not named)
            return f"folders of masks: {some(tops)}{told}"
        return beside.sniff(tree, found)

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        return _Reader(tree, choices).read()


def _with_masks(tree: FolderTree, found: list[Place]) -> list[Place]:
    """The places; if no name tells a folder of masks, as the content of the files tells."""
    named = any(place.role == "mask" and _has(tree, place, MASK_ENDINGS) for place in found)
    return found if named else told_by_content(tree, found)


def _has(tree: FolderTree, place: Place, endings: Iterable[str]) -> bool:
    return any(name.lower().endswith(tuple(endings)) for name in tree.files.get(place.folder, ()))


class _Reader:
    """Reads one tree."""

    def __init__(self, tree: FolderTree, choices: Choices):
        self.tree, self.choices, self.found = tree, choices, Found()
        self.places = _with_masks(tree, places(tree, choices))
        self.masks: list[Place] = []
        # Mask -> its image, as relative paths.
        self.paired: dict[str, str] = {}
        # Mask -> further masks of the same image, as paths.
        self.further: dict[str, list[str]] = {}

    def read(self) -> Found:
        masks = [p for p in self.places if p.role == "mask" and _has(self.tree, p, MASK_ENDINGS)]
        masks = one_mask_folder(self.tree, masks, self.places, self.found)
        self.masks = masks
        images = self._image_places(masks)
        if _only_masks_are_split(images, masks):
            # images/ with masks/train and masks/val: the mask of an image tells its split.
            masks = [replace(place, split="") for place in masks]
        by_split = {split: [p for p in images if _split(p) == split] for split in SPLITS}
        affixes = (self.choices.get("mask_prefix", ""), self.choices.get("mask_tail", ""))
        self._note_places(by_split, masks)
        unused: dict[str, Name] = {}
        for split in SPLITS:
            of_split = masks_of_split(split, masks)
            self._read_split(split, by_split[split], of_split, affixes, unused)
        self._split_by_masks(images)
        self._warn_of_unsaid_splits(images)
        self._unite()
        if not self.choices.get("own_lists"):
            apply_lists(self.tree, self.found)
            split_by_names(self.found)
        self._leftovers(unused)
        self._pin(by_split, masks)
        return self.found

    def _note_places(self, by_split: dict[str, list[Place]], masks: list[Place]) -> None:
        for split, found in by_split.items():
            tops = sorted({place.top or place.folder or "." for place in found})
            if len(tops) > 1 and split != "unlabeled":
                self.found.notes.append(f"{split} images of {len(tops)} folders: {some(tops)}")
        left = [place for place in masks if place.split == "unlabeled"]
        self._left_out(left, "masks of unlabeled images are not used", note=True)

    def _image_places(self, masks: list[Place]) -> list[Place]:
        """The folders of images: those named so, else those without a role."""
        withimages = [p for p in self.places if _has(self.tree, p, IMAGE_SUFFIXES)]
        named = [p for p in withimages if p.role == "image" or (p.chosen and p.role != "mask")]
        plain = [p for p in withimages if p.role == ""]
        unlabeled = [p for p in plain if p.split == "unlabeled"]
        split_named = {_split(p) for p in named}
        # CamVid: train and trainannot; a split has images of its own name.
        own = [p for p in plain if p.split not in ("", "unlabeled") and p.split not in split_named]
        if named:
            left = [p for p in plain if p not in unlabeled and p not in own]
            self._left_out(left, "no part of the recognized layout")
            found = named + unlabeled + own
        else:
            found = plain
        unused = [p for p in withimages if p.role == "unused"]
        self._left_out(unused, "data.folder.train_images and the like name others")
        previews = [p for p in withimages if p.role == "preview"]
        self._left_out(previews, "previews, instances or heights, by its name", note=True)
        if not masks:
            found += [p for p in withimages if p.role == "mask" and not p.chosen]
        return self._one_modality(found, masks)

    def _left_out(self, left: list[Place], reason: str, *, note: bool = False) -> None:
        pools = [self.tree.path("", one) for one in self.choices.get("unlabeled_folders", ())]
        left = [place for place in left if not is_below(self.tree.path(place.folder), pools)]
        if not left:
            return
        count = sum(
            name.lower().endswith(IMAGE_SUFFIXES) and not names.split_of_array(name)
            for place in left
            for name in self.tree.files[place.folder]
        )
        if not count:
            return
        shown = some(sorted({place.folder or "." for place in left}))
        text = f"{count} images left out ({reason}): {shown}"
        if note:
            self.found.notes.append(text)
        else:
            self.found.warnings.append(
                text + "; to train on them without masks, add the folder to "
                "data.folder.unlabeled_folders"
            )

    def _one_modality(self, images: list[Place], masks: list[Place]) -> list[Place]:
        """Of several image folders for the same masks, the one that the user chose."""
        elsewhere = {p.group for p in images if _split(p) in ("val", "test")}
        # MVTec AD: the masks of defects are those of test images.
        masks = [p for p in masks if p.split or not p.group or p.group not in elsewhere]
        groups = {p.group for p in masks}
        train = [p for p in images if _split(p) == "train" and not p.chosen]
        outside = sorted({p.group for p in train if p.group not in groups})
        if len(outside) < 2 or not masks or any(p.group in groups for p in train):
            return images
        of_group = {
            group: self._masks_of([p for p in train if p.group == group], masks)
            for group in outside
        }
        fitting = [group for group, found in of_group.items() if found]
        shared = sum(map(len, of_group.values())) > len(set().union(*of_group.values()))
        # Slide_01 and Slide_02 have masks of their own.
        if len(fitting) > 1 and shared:
            folders = [next(p.folder for p in train if p.group == group) for group in fitting]
            raise DataError(
                f"{self.tree.root}: {len(fitting)} folders of images fit the masks in "
                f"{some([p.folder for p in masks])}: {some(folders)}; expected one; "
                + (
                    "by their names, these are the bands of one image: join them in one TIFF or "
                    "NPY file for each image"
                    if names.are_bands(fitting)
                    else "set data.folder.train_images to one of them, for example " + folders[0]
                )
            )
        return images

    def _unique_stems(self, found: list[Place]) -> bool:
        """True if no two images of these places have one name."""
        merged = self._files([replace(place, group="") for place in found], IMAGE_SUFFIXES)
        return all(len(paths) == 1 for paths in merged.paths.values())

    def _masks_of(self, images: list[Place], masks: list[Place]) -> set[Name]:
        """The masks that these images have, whatever their groups are."""
        merged = [Place(p.folder, p.role, p.split) for p in (*images, *masks)]
        images, masks = merged[: len(images)], merged[len(images) :]
        found = pair(
            list(self._files(images, IMAGE_SUFFIXES).paths),
            list(self._files(masks, MASK_ENDINGS).paths),
        )
        return set(found.pairs)

    def _files(self, found: list[Place], endings: Iterable[str]) -> Files:
        files = Files()
        for place in found:
            files.add(self.tree, place, endings)
        return files

    def _read_split(
        self, split: str, images: list[Place], masks: list[Place], affixes: tuple[str, str],
        unused: dict[str, Name],
    ) -> None:  # fmt: skip
        images, masks = self._merged(images, masks)
        image_files = self._files(images, IMAGE_SUFFIXES)
        inside = {p.folder for p in images} & {p.folder for p in masks} or not masks
        mask_files = self._files(masks, MASK_ENDINGS)
        if inside or any(p.chosen and p.role == "mask" for p in masks):
            mask_files = beside.separate(
                self.tree, image_files, mask_files, affixes, self.found, any_name=not self.masks
            )
        if not any(affixes):
            one_label_kind(self.tree, mask_files, self.found)
        path = functools.partial(self.tree.path, "")
        self.further |= {path(m): [*map(path, more)] for m, more in mask_files.further.items()}
        problems = doubled_names(image_files, "images", split, self.tree)
        problems += (
            doubled_names(mask_files, "masks", split, self.tree) if split != "unlabeled" else []
        )
        self.found.problems += problems
        if split == "unlabeled":
            if mask_files.paths:
                self.found.warnings.append(
                    f"{len(mask_files.paths)} files in the folders of unlabeled images look like "
                    f"masks and are left out: {some([p[0] for p in mask_files.paths.values()])}"
                )
            mask_files = Files()
        pairs = pair(list(image_files.paths), list(mask_files.paths), affixes)
        self.found.notes += [f"{split}: {note}" for note in pairs.notes]
        self.found.problems += [f"{self.tree.root}: {text}" for text in pairs.problems]
        self._drop_companions(pairs, image_files)
        mask_of = {image: mask_files.paths[mask][0] for mask, image in pairs.pairs.items()}
        own = {image_files.paths[image][0]: mask for image, mask in mask_of.items()}
        everything = [path for paths in image_files.paths.values() for path in paths]
        self.found.problems += numbered_by_rows(own, everything)
        images_of = {mask: image_files.paths[image][0] for image, mask in mask_of.items()}
        twice = [m for m, image in images_of.items() if self.paired.get(m, image) != image]
        self.paired |= images_of
        if twice:
            self.found.problems.append(
                f"{path(twice[0])}, and {len(twice) - 1} other masks, fit images of two splits; "
                "expected a mask for one image; give the folder of masks subfolders named as those "
                "of the images, such as train and val"
            )
        for name, paths in image_files.paths.items():
            mask = mask_of.get(name)
            self.found.items.append(
                Item(
                    _id(split, name, paths[0]), self.tree.path("", paths[0]),
                    mask and self.tree.path("", mask), split,
                )
            )  # fmt: skip
        if masks:
            unused |= {mask_files.paths[name][0]: name for name in pairs.masks_left}
        if split in ("val", "test") and pairs.images_left:
            self.found.warnings.append(
                f"{len(pairs.images_left)} {split} images have no mask and are left out: "
                f"{some([stem for _, stem in pairs.images_left])}"
            )

    def _warn_of_unsaid_splits(self, images: list[Place]) -> None:
        """Warns if labeled images lie in a folder named train, and in one of an unknown word."""
        root = self.tree.path("", "x")[:-1]
        labeled = Counter(
            os.path.dirname(item.image.removeprefix(root))
            for item in self.found.items if item.mask is not None and item.split == "train"
        )  # fmt: skip
        own = [place for place in images if labeled[place.folder] and not place.chosen]
        said = {place.top or place.folder for place in own if place.split == "train"}
        unsaid = {place.folder for place in own if not place.split and place.folder}
        if said and unsaid:
            self.found.warnings.append(
                f"{sum(labeled[folder] for folder in unsaid)} labeled images of "
                f"{some(sorted(unsaid), 3)} are taken for training images, like those of "
                f"{some(sorted(said), 3)}; if they are validation or test images, rename the "
                "folder to val or test, or set data.folder.val_images and val_masks"
            )

    def _split_by_masks(self, images: list[Place]) -> None:
        """Moves images to the split of their mask if the folders of images tell none."""
        if not _only_masks_are_split(images, self.masks):
            return
        splits = {place.folder: place.split for place in self.masks}
        root = self.tree.path("", "x")[:-1]
        for index, item in enumerate(self.found.items):
            folder = os.path.dirname(str(item.mask or "").removeprefix(root))
            split = splits.get(folder, item.split) if item.mask else item.split
            if split in ("val", "test"):
                self.found.items[index] = item._replace(id=f"{split}/{item.id}", split=split)

    def _unite(self) -> None:
        """Draws all masks as background and object if some images have several."""
        if not self.further:
            return
        for index, item in enumerate(self.found.items):
            if item.mask is not None:
                files = [str(item.mask), *self.further.get(str(item.mask), ())]
                self.found.items[index] = item._replace(mask=drawn_parts(item.image, [(1, files)]))
        more = [file for files in self.further.values() for file in files]
        self.found.classes = Classes(("background", "object"))
        self.found.notes.append(
            f"{len(self.further)} images have several masks, which are united; every mask is read "
            f"as background and object: {some([os.path.basename(file) for file in more], 3)}"
        )

    def _drop_companions(self, pairs: Pairs, images: Files) -> None:
        """Takes further files of images with a mask, such as X_superpixels, out of the images."""
        for tail, found in beside.companions(pairs).items():
            for name in found:
                del images.paths[name]
                pairs.images_left.remove(name)
            self.found.warnings.append(
                f"{len(found)} files are left out: they have the name of an image with a mask and "
                f"the tail {tail}: {some([stem for _, stem in found], 3)}; if they are photos of "
                "their own, move them to unlabeled/"
            )

    def _merged(self, images: list[Place], masks: list[Place]) -> tuple[list[Place], list[Place]]:
        """The places without groups if one side has none, and no two masks get one name."""
        merged = _one_group(images, masks)
        left, right = {p.group for p in images}, {p.group for p in masks}
        if len(left) > 1 and len(right) > 1 and not left & right and self._unique_stems(images):
            # Slide_01 and GT_01: the names of the files are enough.
            merged = tuple([replace(p, group="") for p in side] for side in (images, masks))
        doubled = any(
            len(paths) > 1 for paths in self._files(merged[1], MASK_ENDINGS).paths.values()
        )
        before = any(len(paths) > 1 for paths in self._files(masks, MASK_ENDINGS).paths.values())
        grouped = any(place.group for place in images)
        return (images, masks) if grouped and doubled and not before else merged

    def _leftovers(self, unused: dict[str, Name]) -> None:
        # A folder without a split is read for each: what one leaves, another may have paired.
        left = sorted({name for path, name in unused.items() if path not in self.paired})
        if not left:
            return
        # Only to name the nearest image of each mask: the groups differ, so nothing is paired.
        bare = [item.image for item in self.found.items if item.mask is None][:5000]
        images = [("images", os.path.splitext(os.path.basename(path))[0]) for path in bare]
        masks = [("masks", "/".join(part for part in name if part)) for name in left]
        self.found.warnings += pair(images, masks).warnings

    def _pin(self, by_split: dict[str, list[Place]], masks: list[Place]) -> None:
        """Writes down the folder of each split where it is one, so that a run keeps the layout."""
        used = [split for split in ("train", "val", "test") if by_split[split]]
        # A folder that serves several splits cannot be named for each one.
        shared = len(used) > 1 and any(not p.split and not p.chosen for p in masks)
        shared |= _only_masks_are_split([p for found in by_split.values() for p in found],
                                        self.masks)  # fmt: skip
        for split in ("train", "val", "test"):
            image_tops = set() if shared else {p.top for p in by_split[split] if p.top}
            mask_tops = {p.top for p in masks if p.split == split}
            if not mask_tops and split == "train":
                mask_tops = {p.top for p in masks if not p.split}
            keys = (f"{split}_images", f"{split}_masks")
            for key, tops in zip(keys, (image_tops, mask_tops), strict=True):
                chosen = self.choices.get(key)
                single = len(image_tops) == len(mask_tops) == 1
                self.found.keys[key] = chosen or (tops.copy().pop() if single else "")


def _only_masks_are_split(images: list[Place], masks: list[Place]) -> bool:
    """True if folders of masks tell validation or test images, and folders of images do not."""
    own = {place.split for place in images} - {"unlabeled"}
    return own == {""} and not {p.split for p in masks}.isdisjoint({"val", "test"}) \
        and not any(place.chosen for place in (*images, *masks))  # fmt: skip


def _split(place: Place) -> str:
    return place.split or "train"


def _one_group(images: list[Place], masks: list[Place]) -> tuple[list[Place], list[Place]]:
    """Drops the groups where one side has none in common: images/a with masks/."""
    left, right = {p.group for p in images}, {p.group for p in masks}
    if left & right or not left or not right or (len(left) > 1 and len(right) > 1):
        return images, masks
    return [replace(p, group="") for p in images], [replace(p, group="") for p in masks]


def _id(split: str, name: Name, path: str) -> str:
    if split == "unlabeled":
        return os.path.splitext(path)[0]
    inner = "/".join(part for part in name if part)
    return inner if split == "train" else f"{split}/{inner}"


def layout_words() -> str:
    """The expected layout, for messages."""
    return (
        "expected images in images/ and masks of the same names in masks/ (or train/images and "
        "train/masks, or X.jpg with X_mask.png beside it); set data.folder.train_images and "
        "data.folder.train_masks for other names"
    )
