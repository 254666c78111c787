"""Facts about a folder of photos from which a training run is planned: counts and sizes."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax.data.datasets.mask_keys import masks_of
from ipixmatch_jax.data.files.images import image_size
from ipixmatch_jax.data.files.split_lists import read_list
from ipixmatch_jax.data.hold_out import hold_out
from ipixmatch_jax.data.importers.found import Item
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import as_path, is_remote, join

# Images of a split whose headers are read; in an object store each one is a request.
_HEADERS, _REMOTE_HEADERS = 128, 16
# Masks that are decoded to measure the objects.
_MASKS = 8
# Longer sides are measured on every second (third, ...) pixel.
_LONGEST_MEASURED = 1024


@dataclass(frozen=True)
class PhotoFacts:
    """Facts about the images of a folder.

    Attributes:
        labeled: number of labeled training images, without those that validate.
        unlabeled: number of unlabeled images.
        val: number of validation images; an estimate if they are held out.
        sizes: (H, W) of a sample of the training images, in no order that matters.
        val_sizes: (H, W) of a sample of the validation images.
        classes: number of classes.
        object_width: typical width of the thinnest class's regions, in pixels of the photo; None
            if it is not known.
    """

    labeled: int
    unlabeled: int
    val: int
    sizes: tuple[tuple[int, int], ...]
    val_sizes: tuple[tuple[int, int], ...]
    classes: int = 2
    object_width: float | None = None


def photo_facts(items: Sequence[Item], data: ConfigDict) -> PhotoFacts:
    """The facts about a described folder.

    Headers and masks of a sample are read. It is chosen by hashes of the images' ids, so neither
    their order nor adding images of the same kind changes the result much.

    Args:
        items: the images of the folder, with paths of their masks.
        data: `config.data` with the description of the folder and what the user has set.
    """
    labeled = [item for item in items if item.mask and item.split == "train"]
    val = [item for item in items if item.mask and item.split == "val"]
    rest = [item for item in items if not item.mask and item.split in ("train", "unlabeled")]
    chosen, unlabeled, listed_val = (
        _listed(data, split) for split in ("labeled", "unlabeled", "val")
    )
    if chosen is not None:
        names = set(chosen)
        rest += [item for item in labeled if item.id not in names]
        # Lists of IMAGE and MASK may have other ids: then the sample is drawn from all of them.
        labeled = [item for item in labeled if item.id in names] or labeled
    if data.labeled and not data.unlabeled:
        # A list of labeled images leaves the others out, as the data set does.
        rest = [item for item in rest if item.split == "unlabeled"]
    count = len(labeled) if chosen is None else len(chosen)
    held = len(val) if listed_val is None else len(listed_val)
    if not held:  # held out
        held = _held_out(sorted(item.id for item in labeled), count, data)
        count -= held
    return PhotoFacts(
        labeled=count,
        unlabeled=len(rest) if unlabeled is None else len(unlabeled),
        val=held,
        sizes=_sizes(labeled) + _sizes(rest),
        val_sizes=_sizes(val or labeled),
        classes=int(data.num_classes),
        object_width=object_width(_masks(labeled, data), int(data.num_classes)),
    )


def _held_out(ids: Sequence[str], count: int, data: ConfigDict) -> int:
    """How many of `count` labeled images will be held out, near-duplicates apart.

    Which ones is decided by a hash of each id, so in a small set their share may be another one
    than `data.folder.holdout`.
    """
    share = float(data.folder.holdout)
    if len(set(ids)) == count > 1 and 0 < share < 1:
        return len(hold_out(ids, share, int(data.folder.holdout_seed)))
    return min(max(round(share * count), 1), count - 1)


def _listed(data: ConfigDict, split: str) -> list[str] | None:
    """The ids of a list that the user named; None without a list that can be read."""
    name = str(data[split])
    if not name or name == "rest":
        return None
    path = join(as_path(data.root).expanduser(), name)
    # What is wrong with the list is reported when the data set is loaded.
    entries = read_list(path, f"data.{split}", [])
    return [entry.id for entry in entries] or None


def _sample(items: Iterable[Item], count: int) -> list[Item]:
    """The items with the smallest hashes of their ids."""

    def number(item: Item) -> bytes:
        return hashlib.blake2b(item.id.encode("utf-8", "surrogateescape"), digest_size=8).digest()

    return sorted(items, key=number)[:count]


def _sizes(items: Sequence[Item]) -> tuple[tuple[int, int], ...]:
    remote = bool(items) and is_remote(items[0].image)
    found = []
    for item in _sample(items, _REMOTE_HEADERS if remote else _HEADERS):
        try:
            height, width = image_size(item.image, item.image)
        except DataError:
            continue  # reported when the data set is loaded
        found.append((int(height), int(width)))
    return tuple(sorted(found))


def _masks(items: Sequence[Item], data: ConfigDict) -> list[np.ndarray]:
    reader, found = masks_of(data), []
    for item in _sample(items, _MASKS):
        try:
            found.append(reader.read(str(item.mask), str(item.mask)))
        except DataError:
            continue  # reported when the data set is loaded
    return found


def object_width(masks: Sequence[np.ndarray], classes: int) -> float | None:
    """The width of the thinnest class's regions in pixels, in the median over the masks.

    The width of a region is 4 times its area over its boundary: the diameter of a disc, and twice
    the width of a long stripe.

    Args:
        masks: class ids, uint8 [H,W]; 255 is no class.
        classes: number of classes.

    Returns:
        None if no mask shows a boundary between two classes.
    """
    thinnest = [width for mask in masks if (width := _thinnest(mask, classes)) is not None]
    return float(np.median(thinnest)) if thinnest else None


def _thinnest(mask: np.ndarray, classes: int) -> float | None:
    step = max(1, -(-max(mask.shape) // _LONGEST_MEASURED))
    mask = mask[::step, ::step]
    areas = np.bincount(mask.ravel(), minlength=256)[:classes]
    boundaries = np.zeros(256, np.int64)
    for one, other in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
        # Pixels that are ignored are often the border between two classes: no boundary of theirs.
        edge = (one != other) & (one != IGNORE) & (other != IGNORE)
        boundaries += np.bincount(one[edge], minlength=256)
        boundaries += np.bincount(other[edge], minlength=256)
    boundaries = boundaries[:classes]
    # Pixel edges of a slanted boundary are 4/pi times its length, in the mean over directions.
    lengths = boundaries * np.pi / 4
    seen = boundaries > 0
    return float((4 * areas[seen] / lengths[seen]).min() * step) if seen.any() else None
