"""Find files by record id, with one listing per directory."""

import os
from pathlib import Path

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.files.split_lists import Entry
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import join, names_in, walk


class Finder:
    """Files of one kind under a folder.

    Args:
        folder: the folder to search.
        kind: `image` or `mask`, used in messages.
        suffixes: file endings, in lower case.
        tail: text between the id and the file ending.
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
        """True if a file with this id exists."""
        where = self.folder / f"{record_id}{self.tail}"
        return where.name in self._listing(where.parent)

    def find(self, record_id: str) -> str:
        """The path of an id's file.

        Raises:
            DataError: no file, or several files.
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
        return f"add the {self.kind} or remove the id from the list"


def resolve(
    entries: list[Entry], root: Path, finders: list[Finder], problems: list[str]
) -> list[tuple[str, ...]]:
    """Rows (id, file of each finder …) of the entries whose files all exist.

    Args:
        entries: lines of a list, or made from ids.
        root: folder that paths in a list are relative to.
        finders: the image finder, and the mask finder for labeled records.
        problems: a message for every missing file is appended here.
    """
    rows, known = [], _Known(root)
    for entry in entries:
        files = []
        for finder, path in zip(finders, (entry.image, entry.mask), strict=False):
            try:
                files.append(known.path(path, finder.kind) if path else finder.find(entry.id))
            except DataError as error:
                problems.append(f"{entry.where}: {error}" if entry.where else str(error))
        if len(files) == len(finders):
            rows.append((entry.id, *files))
    return rows


class _Known:
    """Checks the files that a list names with one listing per folder."""

    def __init__(self, root: Path):
        self._root = root
        self._names: dict[Path, frozenset[str]] = {}

    def path(self, name: str, kind: str) -> str:
        path = join(self._root, name)
        if path.parent not in self._names:
            self._names[path.parent] = frozenset(names_in(path.parent))
        if path.name not in self._names[path.parent]:
            raise DataError(
                f"{path}: the list names this {kind}, but it does not exist; paths in lists are "
                "relative to data.root: correct data.root, or remove the line"
            )
        return str(path)
