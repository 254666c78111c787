"""Gives the items of an importer the interface of `Finder`: ids and files of one split."""

import os
from collections.abc import Sequence

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.importers.found import Item
from ipixmatch_jax.errors import DataError


class ItemFinder:
    """Images or masks of one split.

    Args:
        items: the items of the split.
        kind: `image` or `mask`.
        split: the split; its prefix `SPLIT/` is not part of the ids here, as in `Finder`.
        place: the folder, for messages.
    """

    def __init__(self, items: Sequence[Item], kind: str, split: str, place: str):
        self.kind, self.folder = kind, place
        prefix = "" if split in ("train", "unlabeled") else f"{split}/"
        self._files: dict[str, str] = {}
        self._by_path: dict[str, str] = {}
        root = place.rstrip("/") + "/"
        for item in items:
            path = item.image if kind == "image" else item.mask
            if path:
                self._files[item.id.removeprefix(prefix)] = str(path)
                stem = os.path.splitext(item.image.removeprefix(root))[0]
                self._by_path[stem] = str(path)

    def exists(self) -> bool:
        """True if the split has any file of this kind."""
        return bool(self._files)

    def ids(self) -> list[str]:
        """The ids with a file, in the order of the items."""
        return list(self._files)

    def has(self, record_id: str) -> bool:
        """True if the id has a file."""
        return record_id in self._files

    def find(self, record_id: str) -> str:
        """The path of an id's file.

        Raises:
            DataError: there is none.
        """
        # Lists of other tools name the image's file, or its path without ending.
        stem, ending = os.path.splitext(record_id)
        names = (record_id, stem) if ending.lower() in IMAGE_SUFFIXES else (record_id,)
        for known in (self._files, self._by_path):
            for name in names:
                if name in known:
                    return known[name]
        shown = "".join(f"{separator!r} " for separator in "\t,; " if separator in record_id)
        hint = f"; {shown}separates no image and mask here" if shown else ""
        raise DataError(
            f"{self.folder}: no {self.kind} for id {record_id!r}; expected the path below the "
            f"folder of images, without ending, such as {next(iter(self._files), 'ID')!r}, or "
            f"IMAGE and MASK{hint}; correct the list, or add the {self.kind}"
        )
