"""Splits by list files next to folders of images, or by the names of the images.

A list is train.txt or val.txt, or a table of images and masks. It is used only if nearly all of its
lines name images that are there. Two lists for the same split, or an image in two splits, are never
decided silently.
"""

import os
import re
from collections import Counter

from ipixmatch_jax.data.files.split_lists import short_id
from ipixmatch_jax.data.importers import names as folder_names
from ipixmatch_jax.data.importers.found import Found, some
from ipixmatch_jax.data.importers.list_texts import ARRAYS
from ipixmatch_jax.data.importers.split_index import STRUCTURED, Rows, SplitIndex
from ipixmatch_jax.data.importers.split_lists_and_folders import next_to_folders
from ipixmatch_jax.data.importers.split_tables import FEWEST, SPLIT_WORDS
from ipixmatch_jax.data.importers.tree import FolderTree

_ENDINGS = (".txt", ".csv", ".lst", ".tsv", ".json", ".jsonl", ".yaml", ".yml", *ARRAYS)
# Tables, by their ending.
_TABLES = (".csv", ".tsv")
# JSON files of pairs of images and masks: MONAI, nnU-Net, Hugging Face.
_PAIRS = frozenset("dataset datalist data pairs metadata".split())
# Lists of splits in forms that are not read.
_SHEETS = (".xlsx", ".xls", ".ods")
_UNREAD = (".pkl", ".mat", ".pt")
# Tables that hold no images.
_OTHERS = ("classes", "labels", "_classes", "class_dict", "labelmap")
_DEEPEST, _MOST = 5, 50
# A column of two or three numbers: CelebA writes 0, 1 and 2 for train, val and test.
_NUMBERS = re.compile(r"\w+: [0-3](, [0-3]){1,2}")
# A folder of more text files holds labels or captions, not lists.
_MOST_TEXTS = 10
# More images are not indexed for the sake of texts that may be no lists.
_MOST_INDEXED = 20_000


def apply_lists(tree: FolderTree, found: Found, *, masks: bool = True) -> None:
    """Changes splits and masks of the items of `found` to those that list files name.

    If the folders themselves tell a split, only the masks that lists name are used.

    Args:
        tree: the folder.
        found: what an importer read; its items and remarks are changed.
        masks: lists may name masks; False if the masks are drawn from annotations.
    """
    told = any(item.split in ("val", "test") for item in found.items)
    listed = _candidates(tree)
    if told:
        next_to_folders(tree, found, listed)
    if told and not masks:
        return
    candidates = {path: "" if told else split for path, split in listed.items()
                  if masks or _is_list(path)}  # fmt: skip
    searched = not told and len(found.items) <= _MOST_INDEXED
    others = _other_texts(tree, candidates) if searched else []
    index = SplitIndex(tree, found.items) if candidates or others else None
    lists: dict[str, dict[str, Rows]] = {}
    unused: list[str] = []
    for path, split in candidates.items():
        columns = index.columns(path, split)
        for own, found_rows in columns.items():
            lists.setdefault("" if told else own, {})[path] = found_rows
        # A split may have a single image.
        rows = {} if columns else index.rows(path, 1 if split else FEWEST)
        if split and not columns and not rows and path.lower().endswith(_TABLES):
            rows = index.table(path)
        if rows and (split or any(rows.values())):
            lists.setdefault(split, {})[path] = rows
        elif split and not columns and (masks or not path.endswith(_TABLES)):
            # Arrays of such names may hold anything.
            array = path.endswith(ARRAYS) and not folder_names.is_only_split(_stem(path))
            unused += [] if array else [path]
    if told:
        _apply_masks(tree, found, lists.get("", {}), index)
        return
    if index and index.lost and masks:
        found.problems += _contradictions(found, index.lost)
        found.warnings.append(
            f"{len(index.lost)} masks that lists name do not exist, or exist several times: "
            f"{some([name for _, name in index.lost])}; their images have the mask of their own "
            "name, or none"
        )
    found.warnings += _not_used(tree, index, unused, len(found.items), others)
    if index and index.padded:
        found.notes.append(
            f"numbers in {some(index.padded)} and in the names of images have other zero padding"
        )
    found.problems += _numbered_splits(tree, index) + _sheets(tree)
    doubled = {split: paths for split, paths in lists.items() if len(paths) > 1}
    if doubled:
        found.warnings += [
            f"{len(paths)} lists for {split or 'pairs of images and masks'} are not used: "
            f"{some(sorted(paths))}; set data.labeled and data.val to the lists that count"
            for split, paths in doubled.items()
        ]
        return
    chosen = {split: next(iter(paths.items())) for split, paths in lists.items()}
    if not masks:
        named = {split: own for split, own in chosen.items() if split}
        chosen = {split: (path, dict.fromkeys(rows, "")) for split, (path, rows) in named.items()}
    if chosen:
        found.warnings += _absent(index, chosen)
        _apply(found, chosen)


def _absent(index: "SplitIndex", chosen: dict[str, tuple[str, Rows]]) -> list[str]:
    """Warnings about lines that name no image: a misspelt name of val would train."""
    return [
        f"{path}: {len(index.absent[path])} lines name no image here: {some(index.absent[path])}; "
        "an image whose name is misspelt is not in its split; correct these lines, or remove them "
        "if the images are gone"
        for path in dict.fromkeys(path for path, _ in chosen.values())
        if index.absent.get(path)
    ]


def _stem(path: str) -> str:
    return os.path.splitext(path.rpartition("/")[2])[0]


def _numbered_splits(tree: FolderTree, index: "SplitIndex | None") -> list[str]:
    """The problem with tables that number the splits: 0 may be training, or the first of folds."""
    unknown = index.unknown if index else {}
    return [
        f"{tree.path('', path)}: the column {words} numbers the splits; expected train, val and "
        "test; write these words into the column, or set data.labeled and data.val to lists"
        for path, words in unknown.items()
        if _numbers_splits(words)
    ]


def _numbers_splits(words: str) -> bool:
    """True for a column and its words such as `partition: 0, 1`."""
    return bool(_NUMBERS.fullmatch(words)) and words.partition(":")[0] in SPLIT_WORDS


def _sheets(tree: FolderTree) -> list[str]:
    """The problem with lists in spreadsheets: without them, images of val would train."""
    return [
        f"{tree.path('', path)}: a list of a split in a spreadsheet; expected text; save it as CSV"
        for path in tree.with_ending(*_SHEETS)
        if folder_names.is_only_split(_stem(path))
    ]


def _is_list(path: str) -> bool:
    """True for texts, tables, and JSON or YAML named as splits, which no annotations are."""
    stem, ending = os.path.splitext(path.rpartition("/")[2].lower())
    return ending not in STRUCTURED or not SPLIT_WORDS.isdisjoint(re.split("[^a-z]+", stem))


def _not_used(
    tree: FolderTree, index: "SplitIndex | None", unused: list[str], count: int, others: list[str]
) -> list[str]:
    """Warnings about files that may be lists of a split, and are not used."""
    warnings = []
    if index and index.unclear:
        warnings.append(
            f"{some(index.unclear)}: a split per row, but several columns may name the images; not "
            "used; write file names with their ending into one column, or set data.labeled and "
            "data.val"
        )
    unknown = [
        f"{path} ({words})" for path, words in (index.unknown if index else {}).items()
        if not _numbers_splits(words)
    ]  # fmt: skip
    if unknown:
        warnings.append(
            f"{some(unknown)}: a column "
            "of splits whose words are no names of splits; not used; write train, val or test, or "
            "set data.labeled and data.val"
        )
    unread = [
        path for path in tree.with_ending(*_UNREAD) if folder_names.is_only_split(_stem(path))
    ]
    if unread:
        warnings.append(
            f"{some(unread)}: named like lists of a split, in a form that is not read; not used; "
            "if they are lists, write train.txt and val.txt with one image per line"
        )
    if unused:
        warnings.append(
            f"{some(unused)}: named like lists of a split, and not used, since most of their lines "
            "name no image here; to use them, write one image per line"
        )
    parts = [path for path in others if index and 0 < len(index.rows(path)) < count]
    if parts:
        warnings.append(
            f"{some(parts)}: lists a part of the images under a name that tells no split; not "
            "used; if it is a split, set data.labeled, data.val or data.test to it"
        )
    return warnings


def _apply_masks(
    tree: FolderTree, found: Found, lists: dict[str, Rows], index: "SplitIndex | None"
) -> None:
    """Gives images the masks that lists name, if folders tell the splits."""
    named = {image: mask for rows in lists.values() for image, mask in rows.items() if mask}
    changed = 0
    for number, item in enumerate(found.items):
        mask = named.get(item.image, item.mask)
        if item.mask is not None and mask != item.mask:
            found.items[number] = item._replace(mask=mask)
            changed += 1
    if changed:
        found.notes.append(
            f"{changed} images get another mask by the lists {some(sorted(lists), 3)}"
        )
    found.problems += _contradictions(found, index.lost) if index else []


def _contradictions(found: Found, lost: list[tuple[str, str]]) -> list[str]:
    """The problem if lists name masks that are missing, and images have those of other names."""
    mask_of = {item.image: item.mask for item in found.items if isinstance(item.mask, str)}
    wrong = [
        (image, name) for image, name in lost
        if image in mask_of and not _alike(name, image) and not _alike(name, mask_of[image])
    ]  # fmt: skip
    if not wrong:
        return []
    image, name = wrong[0]
    return [
        f"{image}: a list names the mask {name}, which does not exist or exists several times, and "
        f"by its name the image has {mask_of[image]}, like {len(wrong) - 1} others; expected the "
        "mask that the list names; correct the list, or remove it if the names are right"
    ]


def _alike(one: str, other: str) -> bool:
    """True if one file name contains the other, without the ending."""
    stems = sorted((short_id(one), short_id(other)), key=len)
    return stems[0] in stems[1]


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
    bare = [
        path for path in tree.of_kind("")
        if folder_names.is_only_split(path.rpartition("/")[2])
    ]  # fmt: skip
    for path in [*tree.with_ending(*_ENDINGS), *bare]:
        stem, ending = os.path.splitext(path.rpartition("/")[2].lower())
        split = folder_names.split_of_list(stem)
        if split and (folder_names.is_only_split(stem) or stem in ("labeled", "labelled")):
            exact.add(path)
        table = ending in _TABLES and stem not in _OTHERS
        words = SPLIT_WORDS | _PAIRS if ending in STRUCTURED else frozenset()
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
