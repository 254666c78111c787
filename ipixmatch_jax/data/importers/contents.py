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

# Byte order marks, and what is between the characters of UTF-16.
_BLANK = b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n"


def head(path: str, limit: int = 100_000) -> bytes:
    """The first bytes of a file, all for -1; none if it cannot be read.

    Texts in UTF-16 with a byte order mark become UTF-8. An object store sends the whole file.
    """
    try:
        if is_remote(path):
            data = as_path(path).read_bytes()[: limit if limit >= 0 else None]
        else:
            with open(path, "rb") as file:
                data = file.read(limit)
    except OSError:
        return b""
    # UTF-32 begins with the same two bytes.
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) and data[2:4] != b"\0\0":
        return data.decode("utf-16", "ignore").encode("utf-8", "ignore")
    return data


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
    data = content(path)
    try:
        # UTF-8, UTF-16 and UTF-32, with a byte order mark or without.
        return json.loads(data)
    except UnicodeDecodeError:
        raise not_unicode(data, path) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); export it again") from None


class NotUnicodeError(DataError):
    """A text in a code page that it does not state."""


def not_unicode(data: bytes, path: str) -> NotUnicodeError:
    """The error for a text that is not UTF-8: shows what it may say."""
    at = 0
    try:
        data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as error:
        at = error.start
    part = data[max(data.rfind(b'"', 0, at) + 1, at - 20) : at + 20].partition(b'"')[0]
    shown = {page: part.decode(page, "replace") for page in ("cp1252", "gbk", "cp932", "cp1251")}
    return NotUnicodeError(
        f"{path}: not UTF-8 (byte {at}): written in a code page that the file does not state; the "
        f"text there is {', '.join(f'{text!r} in {page}' for page, text in shown.items())}; "
        "expected UTF-8; save it again as UTF-8, with the code page that reads right (iconv -f gbk "
        "-t utf-8 OLD.json > NEW.json)"
    )


def _utf8(data: bytes) -> bytes:
    """JSON in UTF-16 or UTF-32 as UTF-8; other files as they are."""
    encoding = json.detect_encoding(data)
    plain = encoding.startswith("utf-8")
    return data if plain else data.decode(encoding, "replace").encode("utf-8", "replace")


def json_with(tree: FolderTree, keys: Collection[str]) -> list[str]:
    """Relative paths of the JSON files whose text holds all these keys of `JSON_KEYS`, sorted.

    Every file is read once for all formats, and not parsed.
    """
    found = []
    for path in tree.with_ending(".json"):
        if path not in tree.json_keys:
            text = _utf8(head(tree.path("", path), -1))
            tree.json_keys[path] = frozenset(k for k in JSON_KEYS if b'"%s"' % k.encode() in text)
        if tree.json_keys[path].issuperset(keys):
            found.append(path)
    return found


def check_json(tree: FolderTree, keys: Collection[str]) -> None:
    """Raises a DataError if a file that holds these keys is damaged: it may be one of several."""
    for path in json_with(tree, keys):
        read_json(tree.path("", path))


def cut_files(tree: FolderTree) -> list[str]:
    """A warning about JSON and XML files that are empty or end in the middle; [] without any."""
    if is_remote(tree.root):
        return []
    cut = [path for path in tree.with_ending(".json", ".xml") if _is_cut(tree.path("", path))]
    if not cut:
        return []
    return [
        f"{len(cut)} files are empty or end in the middle, and are not read: {', '.join(cut[:3])}"
        f"{', …' * (len(cut) > 3)}; images that they annotate count as unlabeled; export them again"
    ]


def _is_cut(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            start = file.read(64).strip(_BLANK)
            file.seek(max(file.seek(0, 2) - 64, 0))
            end = file.read().strip(_BLANK)
    except OSError:
        return False
    closing = {b"{": b"}", b"[": b"]", b"<": b">"}.get(start[:1], end[-1:])
    # JSON of one object per line begins and ends with braces, too.
    return not start or end[-1:] != closing
