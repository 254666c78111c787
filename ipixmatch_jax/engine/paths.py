"""Paths of files here and in object stores (gs://), with one interface."""

import os
import pathlib
from typing import Any


def as_path(path: str | os.PathLike) -> Any:
    """A `pathlib.Path`, or for `gs://…` and the like an `etils.epath.Path`."""
    if not is_remote(path):
        return pathlib.Path(path)
    from etils import epath

    return epath.Path(path)


def is_remote(path: str | os.PathLike) -> bool:
    """Whether it names an object store, in which files are written whole and not locked."""
    return "://" in os.fspath(path)


def write_whole(path: Any, text: str) -> None:
    """Writes a file so that nobody, also after kill -9, ever sees a part of it."""
    if is_remote(path):
        path.write_text(text)  # objects appear whole
        return
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)
