"""Gives the items of an importer the interface of `Finder`: ids and files of one split."""

from collections.abc import Sequence

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
        self.kind, self.place = kind, place
        prefix = "" if split in ("train", "unlabeled") else f"{split}/"
        files = ((i.id.removeprefix(prefix), i.image if kind == "image" else i.mask) for i in items)
        self._files: dict[str, str] = {name: path for name, path in files if path}

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
        if record_id not in self._files:
            raise DataError(
                f"{self.place}: no {self.kind} for id {record_id!r}; expected the path relative to "
                f"the folder of images, without ending, such as {next(iter(self._files), 'ID')!r}; "
                "correct the list"
            )
        return self._files[record_id]
