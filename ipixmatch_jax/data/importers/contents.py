"""Contents of files, here and in object stores."""

import json
from collections.abc import Collection
from typing import Any

from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import as_path, is_remote

# Keys by which importers recognize their JSON files.
JSON_KEYS = (
    "images", "annotations", "categories", "segments_info", "items", "label", "data", "filename",
    "regions", "shapes", "imagePath", "info", "objects", "segmentation",
)  # fmt: skip


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


def json_with(tree: FolderTree, keys: Collection[str]) -> list[str]:
    """Relative paths of the JSON files whose text holds all these keys of `JSON_KEYS`, sorted.

    Every file is read once for all formats, and not parsed.
    """
    found = []
    for path in tree.with_ending(".json"):
        if path not in tree.json_keys:
            text = head(tree.path("", path), -1)
            tree.json_keys[path] = frozenset(k for k in JSON_KEYS if b'"%s"' % k.encode() in text)
        if tree.json_keys[path].issuperset(keys):
            found.append(path)
    return found
