"""Masks drawn once from polygons, object files or arrays, and kept as PNG files of class ids.

The name of a cached file contains the hash of everything that determines the mask, so a changed
source never meets an old mask. The source folder is not written to.
"""

import hashlib
import os
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from ipixmatch_jax.data.files.mask_cache import cache_folder
from ipixmatch_jax.data.importers.found import Drawn, Item
from ipixmatch_jax.errors import DataError

# Part of every key: raise it when the drawing of any importer changes.
_VERSION = b"2"
_THREADS = 4


def materialize(items: list[Item], choice: str, problems: list[str]) -> list[Item]:
    """The items with every drawn mask replaced by the path of its cached PNG.

    Args:
        items: items of an importer.
        choice: `data.folder.cache`; '' for the default folder.
        problems: masks that cannot be drawn are described here; their items are left out.

    Raises:
        DataError: the cache folder is not writable.
    """
    drawn = [index for index, item in enumerate(items) if isinstance(item.mask, Drawn)]
    if not drawn:
        return items
    folder = cache_folder(choice)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be created ({error.strerror}); converted masks are kept there; set "
            "data.folder.cache to a writable folder"
        ) from None

    def stored(index: int) -> str | DataError:
        try:
            return _stored(items[index].mask, folder)
        except DataError as error:
            return error

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="masks") as executor:
        paths = dict(zip(drawn, executor.map(stored, drawn), strict=True))
    result = []
    for index, item in enumerate(items):
        path = paths.get(index, item.mask)
        if isinstance(path, DataError):
            problems.append(str(path))
        else:
            drawn = (
                {"mask_name": _name(item), "unsized": item.mask.unsized} if index in paths else {}
            )
            result.append(item._replace(mask=path, **drawn))
    return result


def _name(item: Item) -> str:
    """What messages call a drawn mask: its annotation file and image, or its own source."""
    own = item.mask.source or item.mask.name
    return f"{own} (its mask)" if own == item.image else own


def _stored(mask: Drawn, folder: Path) -> str:
    try:
        content = mask.content()
    except OSError as error:
        raise DataError(f"{mask.name}: cannot be read ({error.strerror or error})") from None
    key = hashlib.blake2b(_VERSION + content, digest_size=10).hexdigest()
    stem = re.sub(r"[^\w.-]", "_", Path(mask.name).stem)[:80]
    path = folder / f"{stem}-{key}.png"
    if path.exists():
        return str(path)
    ids = mask.draw()
    if ids.ndim != 2 or ids.dtype != np.uint8:
        raise DataError(f"{mask.name}: drawn mask is {ids.dtype}{list(ids.shape)}; expected [H,W]")
    try:
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
        with os.fdopen(handle, "wb") as stream:
            Image.fromarray(ids).save(stream, "PNG")
        # mkstemp gives 0600; a shared cache must be readable for others.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written ({error.strerror}); converted masks are kept there; set "
            "data.folder.cache to a writable folder"
        ) from None
    return str(path)
