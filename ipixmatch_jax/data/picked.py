"""A source made of some records of other sources, and the data set of a run that keeps its own."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ipixmatch_jax.data.files.file_records import record_files
from ipixmatch_jax.data.records import Dataset, UnlabeledRecord
from ipixmatch_jax.paths import is_remote

# A split is hashed by content if its files hold at most this many bytes: about a second.
_MOST_BYTES = 2**29


class PickedSource:
    """Records of several sources, in a given order; everything else is that of the first source.

    Args:
        sources: sources of one kind, as the labeled and the validation images of one data set.
        places: (number of the source, position in it) of every record.
    """

    def __init__(self, sources: Sequence[Any], places: Sequence[tuple[int, int]]):
        self._sources = tuple(sources)
        self._places = tuple(places)
        self.ids = tuple(sources[number].ids[index] for number, index in self._places)
        # Only what the sources have, so that `hasattr` tells the same of this one.
        for name in ("read", "mask", "bands", "files", "names"):
            if all(hasattr(source, name) for source in sources):
                setattr(self, name, _At(self, name))
        for name in ("image_paths", "mask_paths", "unsized"):
            if all(hasattr(source, name) for source in sources):
                columns = [getattr(source, name) for source in sources]
                setattr(self, name, tuple(columns[n][index] for n, index in self._places))
        for name in ("pixels", "reader", "own", "exif", "source", "image_size"):
            if hasattr(sources[0], name):
                setattr(self, name, getattr(sources[0], name))

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> UnlabeledRecord:
        number, position = self._places[index]
        return self._sources[number][position]

    def size(self, index: int) -> tuple[int, int]:
        number, position = self._places[index]
        return self._sources[number].size(position)

    def at(self, name: str, index: int, *arguments: Any) -> Any:
        """The result of a method of the source that holds a record."""
        number, position = self._places[index]
        return getattr(self._sources[number], name)(position, *arguments)


@dataclasses.dataclass(frozen=True)
class _At:
    """A method of the records' own sources; a class, so that worker processes can receive it."""

    picked: PickedSource
    name: str

    def __call__(self, index: int, *arguments: Any) -> Any:
        return self.picked.at(self.name, index, *arguments)


def keep_splits(
    dataset: Dataset, known: Mapping[str, Sequence[str]], *, train_new: bool = True
) -> Dataset:
    """The data set with every image in the split in which a run has had it.

    Validation images of the run stay validation images, and none of them becomes a training image,
    labeled or not. Training images of the run stay training images. New labeled and unlabeled
    images train. All evaluations of the run are of the same images: new validation images that the
    user named are left out, and new ones that the hold-out drew train. Near-duplicates of
    validation images do not train. Images that are gone are left out.

    Args:
        dataset: the data set as it is now.
        known: ids of the run's `labeled`, `unlabeled` and `val` images; and under `retired` those
            that were once validation images and must not train either.
        train_new: false if new images of the hold-out do not train, as in runs that older versions
            have recorded.
    """
    now = (dataset.labeled, dataset.val)
    places: dict[str, tuple[int, int]] = {}
    for number, source in reversed(list(enumerate(now))):
        places |= {name: (number, index) for index, name in enumerate(source.ids)}
    own_val, own_labeled = set(known["val"]), set(known["labeled"])
    closed = own_val | set(known.get("retired", ()))
    groups = dict(dataset.groups)
    closed_groups = {groups[name] for name in closed & groups.keys()}
    near = {name for name, group in groups.items() if group in closed_groups} - own_labeled
    drawn = groups.keys() if train_new else set()
    val = [name for name in known["val"] if name in places]
    labeled = [name for name in dataset.labeled.ids if name not in closed | near]
    more = (own_labeled | drawn) - closed - near - set(labeled)
    labeled += [name for name in dataset.val.ids if name in more]
    return dataclasses.replace(
        dataset,
        labeled=_picked(now, places, labeled, dataset.labeled),
        val=_picked(now, places, val, dataset.val),
        **_without(dataset, closed - set(known["unlabeled"])),
    )


def _picked(sources: Sequence[Any], places: Mapping, names: Sequence[str], as_now: Any) -> Any:
    if tuple(names) == tuple(as_now.ids):
        return as_now
    return PickedSource(sources, [places[name] for name in names])


def _without(dataset: Dataset, left_out: set[str]) -> dict[str, Any]:
    """`unlabeled` and `unlabeled_pools` without some images."""
    ids = dataset.unlabeled.ids
    kept = [index for index, name in enumerate(ids) if name not in left_out]
    if len(kept) == len(ids):
        return {}
    pools, start = [], 0
    for size, share in dataset.unlabeled_pools:
        pools.append((sum(start <= index < start + size for index in kept), share))
        start += size
    source = PickedSource((dataset.unlabeled,), [(0, index) for index in kept])
    return {"unlabeled": source, "unlabeled_pools": tuple(pools)}


def content_hashes(source: Any) -> list[str] | None:
    """A hash of the files of each record; None if that is not cheap: many bytes, or no files."""
    if not hasattr(source, "files"):
        return None
    files = [record_files(source, index) for index in range(len(source))]
    if not all(map(_is_local_file, (path for one in files for path in one))):
        return None
    if sum(os.path.getsize(path) for one in files for path in one) > _MOST_BYTES:
        return None
    return [_hash_of(one) for one in files]


def _is_local_file(path: str) -> bool:
    return not is_remote(path) and os.path.isfile(path)


def _hash_of(paths: Sequence[str]) -> str:
    found = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()[:16]
