"""Folders with brackets in their names, such as `runs [2024]`, for orbax."""

import functools
import glob
import os
from collections.abc import Iterator
from typing import Any

from etils import epath

from ipixmatch_jax.paths import is_remote


@functools.cache
def take_folders_literally() -> None:
    """Makes `glob` of local etils paths apply to the pattern alone, not to the folder's name.

    Orbax finds the parts of a checkpoint by it. In a folder with brackets it finds none, saves
    without an error, and can restore nothing.
    """
    kind = type(epath.Path("/"))
    original = kind.glob

    def literal(self: Any, pattern: str) -> Iterator[Any]:
        folder = os.fspath(self)
        if is_remote(folder) or not glob.has_magic(folder):
            return original(self, pattern)
        names = glob.glob(os.fspath(pattern), root_dir=folder)
        return iter([epath.Path(os.path.join(folder, name)) for name in names])

    kind.glob = literal
