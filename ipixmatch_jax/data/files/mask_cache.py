"""Large colored masks, converted to class ids once and kept as PNG files of one channel.

Decoding colors and looking each one up takes several times as long as reading ids, and training
reads every mask once per epoch. The name of a cached file is the hash of the mask's bytes and of
its colors, so a changed mask or palette never gets an old entry. A cache that cannot be written or
read only costs time; a damaged entry is converted again.
"""

import contextlib
import hashlib
import itertools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ipixmatch_jax.data.files.decoding import File, decoding, format_of, opened

# Part of every key: raise it when the conversion changes.
_VERSION = "1"
_ENVIRONMENT = "IPIXMATCH_CACHE"
_FOLDER = "colors"
# Converting a smaller mask takes about as long as reading it from the cache.
LEAST_PIXELS = 2**20
# Above this many bytes the oldest entries are removed; checked after every _PRUNE_EVERY writes.
MOST_BYTES = 2 * 2**30
_PRUNE_EVERY = 64

_writes = itertools.count(1)


def cache_folder(choice: str) -> Path:
    """The folder of cached masks: `data.folder.cache`, $IPIXMATCH_CACHE or the user's cache."""
    if choice:
        return Path(choice).expanduser()
    base = os.environ.get(_ENVIRONMENT)
    if base:
        return Path(base).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "ipixmatch_jax" / "masks"


def converted(
    file: File, name: str, folder: Path, meaning: object, convert: Callable[[File], np.ndarray]
) -> np.ndarray:
    """The class ids of a colored mask, uint8 [H,W], from the cache if it holds them.

    Args:
        file: path, or the bytes of the file.
        name: the file's name in messages.
        folder: the cache.
        meaning: everything else that determines the ids; its `repr` is part of the key.
        convert: returns the ids of the file's bytes.

    Raises:
        DataError: the mask cannot be read or converted.
    """
    with opened(file, name) as (stream, _):
        content = stream.read()
    size = _size(content, name)
    if size is None:
        return convert(content)
    key = hashlib.blake2b(f"{_VERSION} {meaning!r} ".encode() + content, digest_size=16)
    path = folder / _FOLDER / f"{key.hexdigest()}.png"
    mask = _cached(path, size)
    if mask is None:
        mask = convert(content)
        _store(path, mask)
    return mask


def _size(content: bytes, name: str) -> tuple[int, int] | None:
    """(H, W) of a PNG that is worth caching; None for all other files."""
    if format_of(content[:64]) != "PNG" or len(content) < 24:
        return None
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    return (height, width) if height * width >= LEAST_PIXELS else None


def _cached(path: Path, size: tuple[int, int]) -> np.ndarray | None:
    try:
        # The file's time is the time of its last use, which `prune` reads.
        os.utime(path)
        with decoding(str(path)), Image.open(path, formats=["PNG"]) as picture:
            mask = np.array(picture) if picture.size == size[::-1] else None
    except Exception:
        # Missing, damaged or not readable: the mask is converted again.
        return None
    return mask if mask is not None and mask.dtype == np.uint8 and mask.ndim == 2 else None


def _store(path: Path, mask: np.ndarray) -> None:
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as stream:
                Image.fromarray(mask).save(stream, "PNG", compress_level=1)
            # mkstemp gives 0600; a shared cache must be readable for others.
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
        if next(_writes) % _PRUNE_EVERY == 0:
            prune(path.parent, MOST_BYTES)


def prune(folder: Path, most: int) -> None:
    """Removes the entries that were not used for longest, until at most `most` bytes are left."""
    entries = []
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):
            found = entry.stat()
            entries.append((found.st_mtime, found.st_size, entry.path))
    total = sum(length for _, length, _ in entries)
    for _, length, path in sorted(entries):
        if total <= most:
            return
        with contextlib.suppress(OSError):
            os.unlink(path)
            total -= length
