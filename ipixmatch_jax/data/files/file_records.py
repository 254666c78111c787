"""Sources whose records are read from image and mask files."""

import functools
import hashlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ipixmatch_jax.data.files import images, masks
from ipixmatch_jax.data.files.exif_agreement import fitting
from ipixmatch_jax.data.records import IGNORE, Record, UnlabeledRecord
from ipixmatch_jax.paths import is_remote

# Bytes of a file that are compared before the whole.
_BEGINNING = 65536


class FileImages:
    """Images in files, without masks.

    Args:
        ids: the record ids.
        image_paths: the image file of each id.
        pixels: number of channels and value range of the images.
    """

    def __init__(
        self,
        ids: Sequence[str] = (),
        image_paths: Sequence[str] = (),
        pixels: images.Pixels = images.RGB,
    ):
        self.ids = tuple(ids)
        self.image_paths = tuple(image_paths)
        self.pixels = pixels
        self._sizes: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def size(self, index: int) -> tuple[int, int]:
        if index not in self._sizes:
            path = self.image_paths[index]
            self._sizes[index] = images.image_size(path, path)
        return self._sizes[index]

    def read(self, index: int, at_least: tuple[int, int] | None = None) -> UnlabeledRecord:
        """The record; with `at_least` (H, W) its image may be decoded smaller, down to it.

        If some pixels hold no data, `valid` bool [H,W] says which do.
        """
        path = self.image_paths[index]
        image, valid = images.read_valid_image(path, path, self.pixels, at_least=at_least)
        record = {"id": self.ids[index], "image": image}
        return record if valid is None else {**record, "valid": valid}

    def __getitem__(self, index: int) -> UnlabeledRecord:
        return self.read(index)

    def bands(self, index: int) -> np.ndarray:
        """The pixels of the image that hold data, [N,C] in the data type stored in the file."""
        path = self.image_paths[index]
        array, valid = images.read_valid_bands(path, path, self.pixels)
        return array.reshape(-1, array.shape[-1]) if valid is None else array[valid]

    def files(self, index: int) -> tuple[str, ...]:
        """The files of a record: image first."""
        return (self.image_paths[index],)


class FileScenes(FileImages):
    """Images and masks in files; every mask is checked as it is read.

    Args:
        ids: the record ids.
        image_paths: the image file of each id.
        mask_paths: the mask file of each id.
        pixels: channels and value range of the images.
        reader: how masks are read.
        own: the files belong to the user, who can fix them; a published benchmark stays as it is.
        exif: pixels on which masks of photos turned by EXIF were drawn: `upright`, `stored`, or
            `auto`: their size tells, and `orientation_problems` finds the rest.
        mask_names: what messages call each mask, such as the annotation file from which it was
            drawn; empty, or '' for one: its path.
        unsized: `pixels` or `shares` for each mask that was drawn from annotations without a size;
            empty, or '' for one: the mask has the size of what was annotated.
    """

    def __init__(
        self,
        ids: Sequence[str],
        image_paths: Sequence[str],
        mask_paths: Sequence[str],
        pixels: images.Pixels,
        reader: masks.Masks,
        *,
        own: bool = False,
        exif: str = "upright",
        mask_names: Sequence[str] = (),
        unsized: Sequence[str] = (),
    ):
        super().__init__(ids, image_paths, pixels)
        self.mask_paths = tuple(mask_paths)
        self.mask_names = tuple(mask_names)
        self.unsized = tuple(unsized)
        self.reader = reader
        self.own = own
        self.exif = exif

    def read(self, index: int, at_least: tuple[int, int] | None = None) -> Record:
        record = super().read(index, at_least)
        name = self.names(index)[1]
        mask = self.reader.read(self.mask_paths[index], name)
        native = self.size(index) if at_least else record["image"].shape[:2]
        if self.exif == "stored" or (self.exif == "auto" and mask.shape != tuple(native)):
            image = self.image_paths[index]
            mask = fitting(mask, native, images.image_orientation(image, image), self.exif)
        masks.check_same_size(
            native, mask.shape, *self.names(index), drawn=name != self.mask_paths[index]
        )
        if "valid" in record:
            valid = images.resize_mask(record["valid"].astype(np.uint8), mask.shape)
            mask = np.where(valid > 0, mask, np.uint8(IGNORE))
        return {**record, "mask": mask}

    def mask(self, index: int) -> np.ndarray:
        """The mask alone, uint8 [H,W]."""
        return self.reader.read(self.mask_paths[index], self.names(index)[1])

    def files(self, index: int) -> tuple[str, ...]:
        return (self.image_paths[index], self.mask_paths[index])

    def names(self, index: int) -> tuple[str, ...]:
        """The image and the mask of a record in messages."""
        own = self.mask_names[index] if self.mask_names else ""
        return (self.image_paths[index], own or self.mask_paths[index])


def record_files(source: Any, index: int) -> tuple[str, ...]:
    """The files of a record, or its id if the source has no files."""
    files = getattr(source, "files", None)
    return files(index) if files else (str(source.ids[index]),)


def record_names(source: Any, index: int) -> tuple[str, ...]:
    """The files of a record in messages: a drawn mask has the name of its source."""
    names = getattr(source, "names", None)
    return names(index) if names else record_files(source, index)


def channels_of(source: Any) -> int:
    """Number of bands of a source's images."""
    inner = getattr(source, "source", source)
    return inner.pixels.channels if hasattr(inner, "pixels") else 3


def equal_files(first: Sequence[str], second: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of files with equal content, one from each list; most files cost one stat only.

    Of files of one size, such as raw images, the beginnings are compared before the whole.

    Files in an object store are not compared: there a stat takes as long as reading a file.
    """
    by_size: dict[int, list[str]] = {}
    for path in first:
        by_size.setdefault(_bytes(path), []).append(path)

    @functools.cache
    def beginning(path: str) -> str:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read(_BEGINNING)).hexdigest()

    @functools.cache
    def digest(path: str) -> str:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def equal(one: str, other: str) -> bool:
        return beginning(one) == beginning(other) and digest(one) == digest(other)

    return [
        (one, other)
        for other in second
        for one in by_size.get(_bytes(other), ())
        if _bytes(other) > 0 and one != other and equal(one, other)
    ]


def _bytes(path: str) -> int:
    try:
        return 0 if is_remote(path) else os.path.getsize(path)
    except OSError:
        return 0
