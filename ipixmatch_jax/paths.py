"""Local files and object stores (gs://) with one interface; no jax."""

import os
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ipixmatch_jax.errors import DataError

if TYPE_CHECKING:
    from etils import epath

    AnyPath = pathlib.Path | epath.Path
else:
    # etils is imported only for paths that need it.
    AnyPath = pathlib.Path

NEEDS_GS = "gs:// needs the extra gs; run: pip install 'ipixmatch-jax[gs]'"


def as_path(path: str | os.PathLike) -> AnyPath:
    """A `pathlib.Path`, or for `gs://…` and the like an `etils.epath.Path`."""
    if not is_remote(path):
        return pathlib.Path(at_home(path))
    from etils import epath

    return epath.Path(path)


def at_home(path: str | os.PathLike) -> str:
    """A path with the user's folder in place of `~/`, which no shell expands in `--flag=~/x`."""
    text = os.fspath(path)
    return os.path.expanduser(text) if text.startswith(f"~{os.sep}") else text


def is_remote(path: str | os.PathLike) -> bool:
    """Whether the path is in an object store; files there are written whole and not locked."""
    return "://" in os.fspath(path)


def fixed(path: AnyPath) -> AnyPath:
    """The path independent of the current folder, which a notebook may change."""
    return path if is_remote(path) else path.absolute()


def lacks_gs(error: BaseException) -> bool:
    """Whether an error says that the packages for gs:// are not installed."""
    return isinstance(error, ImportError) and "gcsfs" in str(error)


def join(folder: AnyPath, name: str) -> AnyPath:
    """`folder / name`; a name that is absolute or in an object store stands for itself."""
    # Not left to `/`: its result for gs:// and an absolute name depends on Python's version.
    alone = is_remote(name) or os.path.isabs(name)
    return as_path(name) if alone else folder / name


def names_in(folder: AnyPath) -> list[str]:
    """The names of a folder's entries, sorted; empty if the folder does not exist.

    Raises:
        DataError: no permission to read the folder.
    """
    try:
        if is_remote(folder):
            return sorted(path.name for path in folder.iterdir())
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        raise DataError(f"{folder}: permission denied; make the folder readable") from None


def walk(folder: AnyPath, endings: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """(folder relative to this one, '' first; names of its entries), sorted by path.

    Args:
        folder: the folder to begin with.
        endings: lower-case file endings; a name with one of them is taken for a file without a
            check, which would cost a request per name in an object store.
    """
    waiting = [""]
    while waiting:
        below = waiting.pop()
        place = folder / below if below else folder
        names = names_in(place)
        yield below, names
        inner = [name for name in names if _is_folder(place / name, endings)]
        waiting += [f"{below}/{name}" if below else name for name in reversed(inner)]


def _is_folder(path: AnyPath, endings: tuple[str, ...]) -> bool:
    if path.name.lower().endswith(endings):
        return False
    # Links may form circles.
    return path.is_dir() and (is_remote(path) or not path.is_symlink())


def fetched(file: str | os.PathLike | bytes) -> Any:
    """The bytes of a file in an object store; local paths and bytes are returned as they are.

    Raises:
        OSError: the file does not exist or cannot be read.
    """
    if isinstance(file, bytes) or not is_remote(file):
        return file
    return as_path(file).read_bytes()
