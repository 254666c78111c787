"""Files of a folder by record id, from one listing of each directory."""

import os
from pathlib import Path

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.files.split_lists import Entry
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import join, names_in, walk


class Finder:
    """The files of one kind under a folder.

    Args:
        folder: where they are.
        kind: `image` or `mask`, for messages.
        suffixes: file endings, in lower case.
        tail: what follows the id in a file's name, before its ending.
    """

    def __init__(self, folder: Path, kind: str, suffixes: tuple[str, ...], tail: str = ""):
        self.folder, self.kind, self.suffixes, self.tail = folder, kind, suffixes, tail
        self._listings: dict[Path, dict[str, list[str]]] = {}

    def _listing(self, folder: Path, names: list[str] | None = None) -> dict[str, list[str]]:
        if folder not in self._listings:
            found: dict[str, list[str]] = {}
            for name in names_in(folder) if names is None else names:
                stem, suffix = os.path.splitext(name)
                if suffix.lower() in self.suffixes and not name.startswith("."):
                    found.setdefault(stem, []).append(name)
            self._listings[folder] = found
        return self._listings[folder]

    def ids(self) -> list[str]:
        """The ids of all files in the folder and in the folders below it, sorted."""
        found = set()
        for below, names in walk(self.folder, self.suffixes):
            place, prefix = (self.folder / below, f"{below}/") if below else (self.folder, "")
            found |= {
                prefix + stem.removesuffix(self.tail)
                for stem in self._listing(place, names)
                if stem.endswith(self.tail)
            }
        return sorted(found)

    def has(self, record_id: str) -> bool:
        """Whether a file of this id is there."""
        where = self.folder / f"{record_id}{self.tail}"
        return where.name in self._listing(where.parent)

    def find(self, record_id: str) -> str:
        """The path of an id's file.

        Raises:
            DataError: none, or several.
        """
        where = self.folder / f"{record_id}{self.tail}"
        names = self._listing(where.parent).get(where.name, [])
        if len(names) > 1:
            raise DataError(
                f"{where.parent}: {len(names)} {self.kind}s for id {record_id!r} "
                f"({', '.join(names)}); expected one; remove the others"
            )
        if not names:
            expected = f"{where.name} with one of the endings {' '.join(self.suffixes)}"
            raise DataError(
                f"{self.folder}: no {self.kind} for id {record_id!r}; expected {expected}; "
                f"{self._hint(where)}"
            )
        return str(where.parent / names[0])

    def _hint(self, where: Path) -> str:
        if not self.folder.is_dir():
            return f"the folder itself is missing: set data.folder.*_{self.kind}s"
        if where.suffix.lower() in IMAGE_SUFFIXES:
            return "write ids in the list without the file ending"
        others = [p.name for p in where.parent.glob(f"{where.name}.*")] if where.name else []
        if others:
            return f"found {others[0]}, which is not read as a {self.kind}: convert it"
        return f"add the {self.kind} or take the id out of the list"


def resolve(
    entries: list[Entry], root: Path, finders: list[Finder], problems: list[str]
) -> list[tuple[str, ...]]:
    """(id, file of each finder …) of the entries whose files are all there.

    Args:
        entries: from a list, or made of ids.
        root: what the paths in a list are relative to.
        finders: of images, and of masks where they are wanted.
        problems: every file that is missing is described here.
    """
    rows, known = [], _Known(root)
    for entry in entries:
        files = []
        for finder, path in zip(finders, (entry.image, entry.mask), strict=False):
            try:
                files.append(known.path(path, finder.kind) if path else finder.find(entry.id))
            except DataError as error:
                problems.append(str(error))
        if len(files) == len(finders):
            rows.append((entry.id, *files))
    return rows


class _Known:
    """Files that a list names, found by listing each folder once, not by asking for each file."""

    def __init__(self, root: Path):
        self._root = root
        self._names: dict[Path, frozenset[str]] = {}

    def path(self, name: str, kind: str) -> str:
        path = join(self._root, name)
        if path.parent not in self._names:
            self._names[path.parent] = frozenset(names_in(path.parent))
        if path.name not in self._names[path.parent]:
            raise DataError(
                f"{path}: no {kind} here, where the list says it is; expected a file; lists are "
                "relative to data.root: set it, or take the line out"
            )
        return str(path)
