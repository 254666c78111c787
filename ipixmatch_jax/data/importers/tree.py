"""One listing of a folder and everything below it; no file is opened."""

import contextlib
import functools
import gc
import os
import pathlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import AnyPath, is_remote, join, walk

# Names that operating systems and tools write next to the data. Names with a leading dot
# (.ipynb_checkpoints, .Trash-1000, ._photo.jpg) are skipped too.
_HELPERS = frozenset(
    {"@eadir", "__macosx", "#recycle", "$recycle.bin", "lost+found", "thumbs.db", "desktop.ini",
     "system volume information", "__pycache__"}
)  # fmt: skip
# What a run writes into its folder, which may lie among the data: its pictures are no photos.
RUN_MARKS = ("config.json", "checkpoints")
_OF_RUNS = frozenset(
    {*RUN_MARKS, "checkpoints-damaged", "predictions", "next", "diagnose", "environment.json",
     "splits.json", "metrics.jsonl", "throughput.jsonl", "bad_steps.jsonl", "tracking.json"}
)  # fmt: skip
# Endings of files that are never folders; only used in object stores, to save requests.
_FILE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".npy", ".json", ".txt")

_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif")


def is_helper(name: str) -> bool:
    """True for hidden files and folders and for those of operating systems and tools."""
    # ~$photo.jpg is the lock file of an open document.
    return name.startswith((".", "~$")) or name.lower() in _HELPERS


def lies_in_run(folder: str) -> bool:
    """Whether a folder is one that a run writes, such as `RUN/next`, or below it."""
    path = pathlib.Path(folder)
    return any(
        part in _of_run([mark for mark in RUN_MARKS if (parent / mark).exists()], below="")
        for parent, part in zip(path.parents, reversed(path.parts), strict=False)
    )


@dataclass
class FolderTree:
    """The names below a root.

    Attributes:
        root: the folder.
        files: names of the files in each folder, sorted; key: the folder relative to the root,
            with '/', '' for the root itself.
        skipped: relative paths of hidden files and folders, helper folders and files of runs.
        broken: relative paths of symbolic links without a target, or in a circle.
        special: relative paths of pipes, sockets and devices, which are never opened.
        json_keys: which keys of annotation formats each JSON file holds, as far as it was read; see
            `contents.json_with`.
    """

    root: AnyPath
    files: dict[str, list[str]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    json_keys: dict[str, frozenset[str]] = field(default_factory=dict)

    def path(self, folder: str, name: str = "") -> str:
        """The full path of a folder, or of a file in it."""
        inner = f"{folder}/{name}" if folder and name else folder or name
        return f"{self._base}{inner}" if inner else str(self.root)

    @functools.cached_property
    def _base(self) -> str:
        return str(self.root).rstrip("/") + "/"

    @functools.cached_property
    def top(self) -> str:
        """The deepest folder that holds all pictures: an archive may be unpacked into folders.

        The names of the folders above tell nothing about single images.
        """
        held = [folder for folder, names in self.files.items()
                if any(name.lower().endswith(_PICTURES) for name in names)]  # fmt: skip
        parts = os.path.commonprefix([folder.split("/") for folder in held])
        return "/".join(parts)

    def below(self, folder: str) -> Iterator[tuple[str, list[str]]]:
        """(folder, its file names) of a folder and of all folders below it."""
        start = folder.strip("/")
        for place, names in self.files.items():
            if not start or place == start or place.startswith(f"{start}/"):
                yield place, names

    def with_ending(self, *endings: str) -> list[str]:
        """Relative paths of the files with these endings (lower case), sorted."""
        kinds = {ending[ending.rfind(".") :] for ending in endings}
        found = [path for kind in kinds for path in self._by_kind.get(kind, ())]
        if any(ending[0] != "." for ending in endings):
            found = [path for path in found if path.lower().endswith(endings)]
        return sorted(found)

    def of_kind(self, pattern: str) -> list[str]:
        """Relative paths, sorted, of the files whose last ending, in lower case, is of a pattern.

        The ending of a file without a dot is ''.
        """
        kinds = (kind for kind in self._by_kind if re.fullmatch(pattern, kind))
        return sorted(path for kind in kinds for path in self._by_kind[kind])

    @functools.cached_property
    def _by_kind(self) -> dict[str, list[str]]:
        """Relative paths by what follows the last dot, made once: a folder may hold millions."""
        kinds: dict[str, list[str]] = {}
        for place, names in self.files.items():
            prefix = f"{place}/" if place else ""
            for name in names:
                dot = name.rfind(".")
                kind = name[dot:].lower() if dot >= 0 else ""
                kinds.setdefault(kind, []).append(prefix + name)
        return kinds

    def has(self, relative: str) -> bool:
        """True if the file is in the listing."""
        folder, _, name = relative.rpartition("/")
        return name in self.files.get(folder, ())


@contextlib.contextmanager
def collecting_later() -> Iterator[None]:
    """Python's garbage collector pauses: it would walk millions of names again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def scan(root: AnyPath, folder: str = "") -> FolderTree:
    """Lists a root, or a folder relative to it.

    Symbolic links to folders are followed, except links that lead back to a folder above them.

    Raises:
        DataError: the root is not a folder, or a folder is not readable.
    """
    tree = FolderTree(root)
    start = join(root, folder) if folder else root
    if is_remote(start):
        _scan_remote(tree, start)
    elif not start.is_dir():
        raise DataError(f"{start}: not a folder; expected the folder with the images")
    else:
        _scan_local(tree, str(start))
    tree.files = {place: sorted(names) for place, names in sorted(tree.files.items()) if names}
    return tree


def _of_run(names: Collection[str], below: str) -> frozenset[str]:
    """The files and folders of a run, if the folder of these names is one."""
    if not set(RUN_MARKS) <= set(names):
        return frozenset()
    # The root may be data and a run at once, and eval a split of it.
    return _OF_RUNS | {"eval"} if below else _OF_RUNS


def _scan_local(tree: FolderTree, start: str) -> None:
    waiting = [("", start, (os.path.realpath(start),))]
    while waiting:
        below, place, above = waiting.pop()
        names = []
        try:
            entries = list(os.scandir(place))
        except PermissionError:
            raise DataError(f"{place}: permission denied; make the folder readable") from None
        of_run = _of_run({entry.name for entry in entries}, below)
        for entry in entries:
            relative = f"{below}/{entry.name}" if below else entry.name
            if is_helper(entry.name) or entry.name in of_run:
                tree.skipped.append(relative)
            elif entry.is_symlink() and not os.path.exists(entry.path):
                tree.broken.append(relative)
            elif entry.is_dir():
                real = os.path.realpath(entry.path) if entry.is_symlink() else ""
                if real not in above:
                    waiting.append((relative, entry.path, (*above, real or entry.path)))
            elif not entry.is_file():
                tree.special.append(relative)
            else:
                names.append(entry.name)
        tree.files[below] = names


def _scan_remote(tree: FolderTree, start: AnyPath) -> None:
    folders: dict[str, list[str]] = dict(walk(start, _FILE_ENDINGS))
    for below, names in folders.items():
        if any(is_helper(part) for part in below.split("/") if part):
            continue
        inside = {f"{below}/{name}" if below else name: name for name in names}
        tree.skipped += [path for path, name in inside.items() if is_helper(name)]
        tree.files[below] = [
            name for path, name in inside.items() if path not in folders and not is_helper(name)
        ]
