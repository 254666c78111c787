"""Which photos are named on the command line, and what their predictions are called."""

import glob
import os
import pathlib
from collections.abc import Iterator, Sequence

from ipixmatch_jax.data import IMAGE_SUFFIXES
from ipixmatch_jax.errors import DataError


def named_photos(inputs: Sequence[os.PathLike | str]) -> dict[str, pathlib.Path]:
    """Photos by the name of what is written of them: their path from the folder that holds all.

    The suffix is left out, unless two photos differ in nothing else.

    Args:
        inputs: photos, folders or patterns.

    Raises:
        DataError: one of them holds no photo.
    """
    paths = list(dict.fromkeys(path for item in inputs for path in _photos(str(item))))
    base = os.path.commonpath([path.parent.absolute() for path in paths])
    names = [path.absolute().relative_to(base) for path in paths]
    stems = [name.with_suffix("").as_posix() for name in names]
    unique = [
        stem if stems.count(stem) == 1 else name.as_posix().replace(".", "_")
        for stem, name in zip(stems, names, strict=True)
    ]
    return dict(zip(unique, paths, strict=True))


def _photos(item: str) -> Iterator[pathlib.Path]:
    path = pathlib.Path(item)
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    elif path.exists():
        found = [path]
    elif glob.has_magic(item):
        matches = (pathlib.Path(match) for match in sorted(glob.glob(item, recursive=True)))
        found = [p for p in matches if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
    else:
        raise DataError(
            f"--input {item} does not exist; expected a photo, a folder of photos or a pattern"
        )
    if not found:
        raise DataError(f"--input {item} holds no photo; expected {', '.join(IMAGE_SUFFIXES)}")
    yield from found
