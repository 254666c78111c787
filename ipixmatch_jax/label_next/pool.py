"""The images that may be suggested: a run's unlabeled images, or given photos."""

import collections
import dataclasses
import itertools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax.data import IGNORE, Dataset, Pixels, keep_splits, load_dataset, pixels_of
from ipixmatch_jax.data.files.file_records import channels_of, record_files
from ipixmatch_jax.data.files.images import image_size
from ipixmatch_jax.data.picked import PickedSource
from ipixmatch_jax.data.records import UnlabeledRecord
from ipixmatch_jax.data.resize import ResizedSource
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.photo_files.areas import printable
from ipixmatch_jax.photo_files.found import find_photos
from ipixmatch_jax.photo_reader import fault, read_valid_photo
from ipixmatch_jax.workdir.splits import read_splits


@dataclasses.dataclass(frozen=True)
class Pool:
    """Images to rank, and what is known already.

    Attributes:
        images: the images to rank at native size, sorted by id.
        labeled: the labeled training images at native size.
        image_size: (H, W) to which the network gets every image resized; (0, 0): not.
        notes: what was left out, one line each.
    """

    images: Any
    labeled: Any
    image_size: tuple[int, int]
    notes: tuple[str, ...] = ()

    def at_size_of_network(self, source: Any) -> "Readable":
        """One of the sources as the network gets it."""
        resized = source if self.image_size == (0, 0) else ResizedSource(source, self.image_size)
        return Readable(resized)


def load_pool(config: ConfigDict, workdir: AnyPath, inputs: Sequence[str] | None) -> Pool:
    """The images that a run may suggest, and its labeled ones.

    The run's own validation images, those of earlier validations, and test images are never
    suggested, and neither is any image that has a mask.

    Args:
        config: the run's config; its `data.root` is the present place of the data.
        workdir: folder of the run.
        inputs: photos, folders or patterns to rank in place of the run's unlabeled images.

    Raises:
        DataError: the data cannot be read, or no image is left to rank.
    """
    data = config.data.copy_and_resolve_references()
    data.image_size = (0, 0)
    dataset = load_dataset(data, config.seed)
    known = read_splits(workdir)
    if known is not None:
        dataset = keep_splits(dataset, known.known_ids())
    found, notes = _given(inputs, data, dataset) if inputs else (dataset.unlabeled, [])
    if not len(found):
        what = f"--input {' '.join(inputs)} holds no other photo" if inputs else "the run has none"
        raise DataError(
            f"no unlabeled image to rank: {what}; expected images without a mask; add some to the "
            "data set, or name photos with --input"
        )
    order = sorted(range(len(found)), key=lambda index: (str(found.ids[index]), index))
    images = PickedSource((found,), [(0, index) for index in order])
    return Pool(images, dataset.labeled, tuple(config.data.image_size), tuple(notes))


def _given(inputs: Sequence[str], data: ConfigDict, dataset: Dataset) -> tuple[Any, list[str]]:
    photos = find_photos(inputs)
    known = {
        os.path.realpath(record_files(source, index)[0])
        for source in (dataset.labeled, dataset.val, dataset.test)
        for index in range(len(source))
    }
    paths = [path for path in photos.paths if os.path.realpath(path) not in known]
    notes = [f"left out: {photos.skipped_text()}"] if photos.skipped else []
    if len(paths) < len(photos.paths):
        notes.append(
            f"left out: {len(photos.paths) - len(paths)} labeled, validation or test image(s)"
        )
    return Photos(paths, photos.base, pixels_of(data)), notes


class Photos:
    """Photos in files, read as a trained network expects them.

    The id of a photo is its path below `base` without the suffix, or with it and then a number
    where two would be the same.
    """

    def __init__(self, paths: Sequence[pathlib.Path], base: pathlib.Path, pixels: Pixels):
        self.image_paths = tuple(map(os.fspath, paths))
        self.pixels = pixels
        whole = [pathlib.Path(os.path.relpath(os.path.abspath(p), base)) for p in self.image_paths]
        self.ids = tuple(map(printable, _different(whole)))

    def __len__(self) -> int:
        return len(self.image_paths)

    def __getitem__(self, index: int) -> UnlabeledRecord:
        image, valid = read_valid_photo(self.image_paths[index], self.pixels)
        record = {"id": self.ids[index], "image": image}
        return record if valid is None else {**record, "valid": valid}

    def size(self, index: int) -> tuple[int, int]:
        try:
            return image_size(self.image_paths[index], self.image_paths[index])
        except DataError as error:
            raise DataError(fault(error)) from None

    def files(self, index: int) -> tuple[str, ...]:
        return (self.image_paths[index],)


def _different(paths: Sequence[pathlib.Path]) -> list[str]:
    """A name for each path; no two are the same on a file system that ignores case."""
    stems = [path.with_suffix("").as_posix() for path in paths]
    times = collections.Counter(stem.casefold() for stem in stems)
    # Photos whose name nothing else has keep it, whatever the order.
    taken = {stem for stem, count in times.items() if count == 1}
    names = []
    for stem, path in zip(stems, paths, strict=True):
        name = stem
        if times[stem.casefold()] > 1:
            longer = f"{stem}_{path.suffix[1:]}"
            numbered = (f"{longer}_{number}" for number in itertools.count(2))
            name = next(n for n in itertools.chain([longer], numbered) if n.casefold() not in taken)
            taken.add(name.casefold())
        names.append(name)
    return names


class Readable:
    """Records as `eval_batches` takes them; one that cannot be read is blank, and noted.

    The mask of an unlabeled image is 0 where it holds data, and 255 elsewhere.

    Attributes:
        broken: position → message, of the records that could not be read so far.
    """

    def __init__(self, source: Any):
        self._source = source
        # Where the number of channels is found.
        self.source = getattr(source, "source", source)
        self.ids = source.ids
        self.broken: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._source)

    def size(self, index: int) -> tuple[int, int]:
        return tuple(self._source.size(index))

    def sized(self) -> list[int]:
        """Positions of the records whose size can be read; the others are noted."""
        positions = []
        for index in range(len(self)):
            try:
                self.size(index)
                positions.append(index)
            except DataError as error:
                self.broken[index] = str(error)
        return positions

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            record = self._source[index]
            mask = record.get("mask")
            if mask is None:
                valid = record.get("valid", np.ones(record["image"].shape[:2], bool))
                mask = np.where(valid, np.uint8(0), np.uint8(IGNORE))
        except DataError as error:
            self.broken[index] = str(error)
            size = self.size(index)
            return {
                "image": np.zeros((*size, channels_of(self)), np.uint8),
                "mask": np.full(size, IGNORE, np.uint8),
            }
        return {"image": record["image"], "mask": mask}
