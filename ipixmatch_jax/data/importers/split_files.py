"""Splits by list files next to folders of images, or by the names of the images.

A list is train.txt or val.txt, or a table of images and masks. It is used only if nearly all of its
lines name images that are there. Two lists for the same split, or an image in two splits, are never
decided silently.
"""

import csv
import functools
import os
import re
from collections import Counter

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.files.masks import MASK_SUFFIXES
from ipixmatch_jax.data.files.split_lists import decoded, parse, short_id
from ipixmatch_jax.data.importers import names as folder_names
from ipixmatch_jax.data.importers.contents import head
from ipixmatch_jax.data.importers.found import Found, Item, some
from ipixmatch_jax.data.importers.places import place_of
from ipixmatch_jax.data.importers.split_tables import (
    FEWEST,
    SPLIT_WORDS,
    of_json,
    of_table,
    pairs_of_json,
)
from ipixmatch_jax.data.importers.tree import FolderTree

_ENDINGS = (".txt", ".csv", ".lst", ".tsv", ".json", ".jsonl", ".yaml", ".yml")
_JSON = (".json", ".jsonl")
_STRUCTURED = (*_JSON, ".yaml", ".yml")
# JSON files of pairs of images and masks: MONAI, nnU-Net, Hugging Face.
_PAIRS = frozenset("dataset datalist data pairs metadata".split())
# Tables that hold no images.
_OTHERS = ("classes", "labels", "_classes", "class_dict", "labelmap")
_DEEPEST, _MOST = 5, 50
# A folder of more text files holds labels or captions, not lists.
_MOST_TEXTS = 10
# More images are not indexed for the sake of texts that may be no lists.
_MOST_INDEXED = 20_000
_LONGEST = 50_000_000
# Share of the lines that must name an image; the head of a table does not.
_NAMED = 0.9

# A list: the line's image -> its mask, or '' if the line names none.
Rows = dict[str, str]


def apply_lists(tree: FolderTree, found: Found) -> None:
    """Changes splits and masks of the items of `found` to those that list files name.

    Nothing changes if the folders themselves tell a split.
    """
    if any(item.split in ("val", "test") for item in found.items):
        return
    candidates = _candidates(tree)
    others = _other_texts(tree, candidates) if len(found.items) <= _MOST_INDEXED else []
    index = _Index(tree, found.items) if candidates or others else None
    lists: dict[str, dict[str, Rows]] = {}
    unused: list[str] = []
    for path, split in candidates.items():
        columns = index.columns(path, split)
        for own, found_rows in columns.items():
            lists.setdefault(own, {})[path] = found_rows
        rows = {} if columns else index.rows(path)
        if rows and (split or any(rows.values())):
            lists.setdefault(split, {})[path] = rows
        elif split and not columns:
            unused.append(path)
    if index and index.lost:
        found.warnings.append(
            f"{len(index.lost)} masks that lists name do not exist, or exist several times: "
            f"{some(index.lost)}; their images have the mask of their own name, or none"
        )
    if index and index.unclear:
        found.warnings.append(
            f"{some(index.unclear)}: a split per row, but several columns may name the images; not "
            "used; write file names with their ending into one column, or set data.labeled and "
            "data.val"
        )
    if unused:
        found.warnings.append(
            f"{some(unused)}: named like lists of a split, and not used, since most of their lines "
            "name no image here; to use them, write one image per line"
        )
    parts = [path for path in others if 0 < len(index.rows(path)) < len(found.items)]
    if parts:
        found.warnings.append(
            f"{some(parts)}: lists a part of the images under a name that tells no split; not "
            "used; if it is a split, set data.labeled, data.val or data.test to it"
        )
    doubled = {split: paths for split, paths in lists.items() if len(paths) > 1}
    if doubled:
        found.warnings += [
            f"{len(paths)} lists for {split or 'pairs of images and masks'} are not used: "
            f"{some(sorted(paths))}; set data.labeled and data.val to the lists that count"
            for split, paths in doubled.items()
        ]
        return
    chosen = {split: next(iter(paths.items())) for split, paths in lists.items()}
    if chosen:
        _apply(found, chosen)


def split_by_names(found: Found) -> None:
    """Changes the splits of items whose file names all begin with one: train_1, test_1.

    Nothing changes if folders or lists tell a split, or if one name begins with another word.
    """
    if any(item.split in ("val", "test") for item in found.items):
        return
    own = [item for item in found.items if item.split == "train"]
    splits = {item.id: folder_names.leading_split(os.path.basename(item.image)) for item in own}
    counts = Counter(splits.values())
    if "" in counts or "train" not in counts or len(counts) < 2:
        return
    for index, item in enumerate(found.items):
        split = splits.get(item.id, item.split)
        prefix = f"{split}/" if split in ("val", "test") else ""
        found.items[index] = item._replace(id=prefix + item.id, split=split)
    shown = ", ".join(f"{split} ({count} images)" for split, count in counts.items())
    found.notes.append(
        f"splits by the names of the images: {shown}; data.labeled and data.val name others"
    )


def _candidates(tree: FolderTree) -> dict[str, str]:
    """Path -> split of the files that may be lists: named by a split, or tables.

    Names such as train_list count if none consists of a split alone.
    """
    found, exact = {}, set()
    for path in tree.with_ending(*_ENDINGS):
        stem, ending = os.path.splitext(path.rpartition("/")[2].lower())
        split = folder_names.split_of_list(stem)
        if folder_names.is_only_split(stem) and split:
            exact.add(path)
        table = ending in (".csv", ".tsv") and stem not in _OTHERS
        words = SPLIT_WORDS | _PAIRS if ending in _STRUCTURED else frozenset()
        table |= not words.isdisjoint(re.split("[^a-z]+", stem))
        if path.count("/") < _DEEPEST and (split or table):
            found[path] = split
    for path in found if exact else ():
        found[path] = found[path] if path in exact else ""
    return dict(list(found.items())[:_MOST])


def _other_texts(tree: FolderTree, candidates: dict[str, str]) -> list[str]:
    """Text files under names that tell no split; not those of folders with one for each image."""
    found: dict[str, list[str]] = {}
    for path in tree.with_ending(".txt", ".lst"):
        stem = os.path.splitext(path.rpartition("/")[2].lower())[0]
        if path not in candidates and stem not in _OTHERS and path.count("/") < _DEEPEST:
            found.setdefault(path.rpartition("/")[0], []).append(path)
    return [path for paths in found.values() if len(paths) <= _MOST_TEXTS for path in paths][:_MOST]


class _Index:
    """Finds images by the words of list files."""

    def __init__(self, tree: FolderTree, items: list[Item]):
        self.tree = tree
        self.root = root = str(tree.root).rstrip("/") + "/"
        # Tables with a split per row, of which several columns may name the images.
        self.unclear: list[str] = []
        # Masks that lists name, and that are not there or are there twice.
        self.lost: list[str] = []
        self.names: dict[str, str] = {}
        doubled: set[str] = set()
        for item in items:
            inner = item.image.removeprefix(root)
            for name in {inner, os.path.splitext(inner)[0], item.id, os.path.basename(inner),
                         short_id(inner)}:  # fmt: skip
                if self.names.setdefault(name, item.image) != item.image:
                    doubled.add(name)
        for name in doubled:
            del self.names[name]

    def columns(self, path: str, split: str) -> dict[str, Rows]:
        """The rows of each split that a column of a table names, or a JSON {split: [images]}.

        A JSON list of images is of the split that the name of the file tells.
        """
        try:
            text = decoded(head(self.tree.path("", path), _LONGEST))
            ending = os.path.splitext(path)[1].lower()
            if ending in _JSON:
                pairs = self._pairs(pairs_of_json(text, lines=ending == ".jsonl"))
                if pairs:
                    return pairs
            lines = of_json(text, split) if ending in _STRUCTURED else of_table(text)
        except (ValueError, RecursionError, csv.Error):
            return {}
        column = self._image_column([cells for _, cells in lines], path)
        found: dict[str, Rows] = {}
        for split, cells in lines if column is not None else ():
            image = self._image(cells[column])
            if image:
                masks = (self._mask(cell) for i, cell in enumerate(cells) if i != column)
                found.setdefault(split, {})[image] = next(filter(None, masks), "")
        return found

    def _pairs(self, entries: list[tuple[str, str, str]]) -> dict[str, Rows]:
        """The rows of each split of (split, image, mask); {} if they are no images of here."""
        found: dict[str, Rows] = {}
        lost = len(self.lost)
        for split, image, mask in entries:
            if self._image(image):
                found.setdefault(split, {})[self._image(image)] = self._mask(mask)
        if sum(map(len, found.values())) >= max(FEWEST, _NAMED * len(entries)):
            return found
        del self.lost[lost:]
        return {}

    def _image_column(self, rows: list[list[str]], path: str) -> int | None:
        """The column that names the images; None if there is none, or it is not certain."""
        fitting: dict[int, list[str]] = {}
        for column in range(min(map(len, rows), default=0)):
            images = [self._image(cells[column]) for cells in rows]
            if sum(map(bool, images)) >= max(FEWEST, _NAMED * len(rows)):
                fitting[column] = images
        # Names of files are certain; numbers may be an index or an age.
        files = [
            column for column in fitting
            if all(cells[column].lower().endswith(IMAGE_SUFFIXES) for cells in rows)
        ]  # fmt: skip
        candidates = files or list(fitting)
        different = {tuple(fitting[column]) for column in candidates}
        if len(different) > 1:
            self.unclear.append(path)
        return candidates[0] if len(different) == 1 else None

    def _image(self, cell: str) -> str:
        return self.names.get(cell) or self.names.get(short_id(cell)) or ""

    def rows(self, path: str) -> Rows:
        """The rows of a list; {} if it is no list of the images."""
        content = head(self.tree.path("", path), _LONGEST)
        try:
            lines = [line.strip() for line in decoded(content).splitlines()]
        except UnicodeDecodeError:
            return {}
        lines = [line for line in lines if line and not line.startswith("#")]
        lost = len(self.lost)
        parsed = [row for line in lines if (row := self._parsed(line))]
        rows = {image: mask for row in parsed for image, mask in row.items()}
        # A list may name a single folder of many images.
        all_named = len(parsed) == len(lines) and len(rows) >= FEWEST
        if all_named or len(parsed) >= max(FEWEST, _NAMED * (len(lines) - 1)):
            return rows
        del self.lost[lost:]
        return {}

    def _parsed(self, line: str) -> Rows:
        """The image that a line names, or all images of the folder, such as a video."""
        entry = parse(line)
        name = entry.image or entry.id
        image = self._image(name)
        if image:
            return {image: self._mask(entry.mask)}
        return dict.fromkeys(self._folders.get(name.replace("\\", "/").strip("/"), ()), "")

    @functools.cached_property
    def _folders(self) -> dict[str, list[str]]:
        """Path and last name of folders -> their images; no names that two folders have."""
        found: dict[str, list[str]] = {}
        for image in dict.fromkeys(self.names.values()):
            found.setdefault(os.path.dirname(image.removeprefix(self.root)), []).append(image)
        lasts = Counter(os.path.basename(folder) for folder in found)
        return found | {
            os.path.basename(folder): images for folder, images in found.items()
            if lasts[os.path.basename(folder)] == 1
        }  # fmt: skip

    def _mask(self, name: str) -> str:
        parts = name.replace("\\", "/").removeprefix("./").lstrip("/").split("/")
        # The first folders may be those of another machine.
        for start in range(len(parts)):
            inner = "/".join(parts[start:])
            if "/" in inner or not start:
                if inner and self.tree.has(inner):
                    return self.tree.path("", inner)
        name = parts[-1]
        paths = self._masks.get(name, ())
        if len(paths) != 1 and name.lower().endswith(MASK_SUFFIXES):
            self.lost.append(name)
        return self.tree.path("", paths[0]) if len(paths) == 1 else ""

    @functools.cached_property
    def _masks(self) -> dict[str, list[str]]:
        """Name -> relative paths of the files in folders of masks."""
        found: dict[str, list[str]] = {}
        for folder, files in self.tree.files.items():
            if place_of(folder).role == "mask":
                for name in files:
                    found.setdefault(name, []).append(f"{folder}/{name}")
        return found


def _apply(found: Found, chosen: dict[str, tuple[str, Rows]]) -> None:
    place: dict[str, str] = {}
    masks: dict[str, str] = {}
    for split, (path, rows) in chosen.items():
        both = [image for image in rows if split and place.get(image, split) != split]
        if both:
            found.problems.append(
                f"{both[0]}: in {path} and in another list; expected every image in one split; "
                f"remove {len(both)} images from one of them"
            )
        for image, mask in rows.items():
            if split:
                place.setdefault(image, split)
            if mask:
                masks[image] = mask
    items, changed, outside = [], 0, []
    for item in found.items:
        mask = masks.get(item.image, item.mask)
        changed += mask != item.mask
        split = place.get(item.image, item.split)
        if "train" in chosen and item.image not in place and mask:
            # Images that no list names have no say in training but as unlabeled ones.
            outside.append(item.id)
            mask = None
        prefix = f"{split}/" if split in ("val", "test") else ""
        items.append(item._replace(id=prefix + item.id, mask=mask, split=split))
    found.items = items
    shown = ", ".join(f"{path} ({len(rows)} images)" for path, rows in chosen.values())
    found.notes.append(f"lists: {shown}; data.labeled and data.val name others")
    if changed:
        found.notes.append(f"{changed} images get another mask by these lists")
    bare = [item.id for item in items if item.split in ("val", "test") and not item.mask]
    if bare:
        found.warnings.append(
            f"{len(bare)} val or test images of the lists have no mask and are left out: "
            f"{some(bare)}"
        )
    if outside:
        found.notes.append(
            f"{len(outside)} images with a mask are in no list and are unlabeled: {some(outside)}"
        )
