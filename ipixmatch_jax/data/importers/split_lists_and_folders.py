"""Lists of splits next to folders that tell splits, too: train/, test/ and val.txt."""

from collections import Counter
from collections.abc import Mapping

from ipixmatch_jax.data.importers.found import Found, some
from ipixmatch_jax.data.importers.split_index import SplitIndex
from ipixmatch_jax.data.importers.tree import FolderTree

_SPLITS = ("train", "val", "test")


def next_to_folders(tree: FolderTree, found: Found, candidates: Mapping[str, str]) -> None:
    """Reads lists of a split without a folder; warns of lists that contradict the folders.

    Args:
        tree: all files.
        found: the images with the splits of their folders; splits and remarks are changed.
        candidates: files that may be lists -> the split that their name tells, or ''.
    """
    # Several lists for a split are choices, such as splits/50 and splits/100.
    counts = Counter(candidates.values())
    lists = {path: split for path, split in candidates.items()
             if split in _SPLITS and counts[split] == 1}  # fmt: skip
    index = SplitIndex(tree, found.items) if lists else None
    split_of = {item.image: item.split for item in found.items if item.split in _SPLITS}
    labeled = {item.image for item in found.items if item.split == "train" and item.mask}
    moved: dict[str, str] = {}
    for path, split in lists.items():
        columns = index.columns(path, split)
        # Tables of images under the name of a split.
        columns = columns or {split: index.rows(path, 1) or index.table(path)}
        for own, rows in columns.items():
            images = [image for image in rows if image in split_of]
            other = [image for image in images if split_of[image] != own]
            if own not in _SPLITS or not images:
                continue
            if own not in split_of.values() and labeled - set(images) and _train(images, split_of):
                moved |= dict.fromkeys(images, own)
                found.notes.append(f"lists: {path} ({len(images)} images of the folder of train)")
            elif other:
                found.warnings.append(
                    f"{path}: a list of {own} names {len(other)} images whose folders tell another "
                    f"split, such as {other[0]} ({split_of[other[0]]}); the folders count, and the "
                    "list is not used; set data.labeled, data.val or data.test to lists if these "
                    "are right"
                )
    _move(found, moved)
    left = labeled - moved.keys()
    for path in (path for path, split in lists.items() if split == "train"):
        images = set(index.rows(path)) & labeled
        if images and images < left:
            more = sorted(item.id for item in found.items if item.image in left - images)
            found.warnings.append(
                f"{path}: names {len(images)} of the {len(left)} training images with a mask; the "
                f"others train with their masks, too, such as {some(more, 3)}; set data.labeled to "
                "the list if they should not"
            )


def _train(images: list[str], split_of: Mapping[str, str]) -> bool:
    return all(split_of[image] == "train" for image in images)


def _move(found: Found, moved: Mapping[str, str]) -> None:
    """Gives images the splits of lists."""
    for number, item in enumerate(found.items):
        split = moved.get(item.image)
        if split:
            found.items[number] = item._replace(id=f"{split}/{item.id}", split=split)
