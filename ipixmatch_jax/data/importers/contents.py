"""Contents of files, here and in object stores."""

import json
from collections.abc import Collection
from typing import Any

from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import as_path, is_remote


def head(path: str, limit: int = 100_000) -> bytes:
    """The first bytes of a file, all for -1; none if it cannot be read.

    An object store sends the whole file.
    """
    try:
        if is_remote(path):
            return as_path(path).read_bytes()[: limit if limit >= 0 else None]
        with open(path, "rb") as file:
            return file.read(limit)
    except OSError:
        return b""


def content(path: str) -> bytes:
    """All bytes of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return as_path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def read_json(path: str) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: unreadable or not JSON.
    """
    try:
        return json.loads(content(path).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); export it again") from None


def holds(path: str, words: Collection[bytes]) -> bool:
    """True if the file can be read and holds all words, as the keys of a JSON format."""
    found = head(path, -1)
    return all(word in found for word in words)
