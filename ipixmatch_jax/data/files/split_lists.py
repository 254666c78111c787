"""Split lists: one id per line, or `IMAGE MASK` as in published splits."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.files.masks import MASK_SUFFIXES

# Tails of file names that do not belong to the record's name.
_TAILS = ("_leftImg8bit",)


@dataclass(frozen=True)
class Entry:
    """A line of a list: a record id, its files relative to the root if named, and the place."""

    id: str
    image: str = ""
    mask: str = ""
    where: str = ""


def short_id(name: str) -> str:
    """The file name without folder, image ending and `_leftImg8bit`."""
    name = name.replace("\\", "/").rsplit("/", 1)[-1]
    stem, suffix = os.path.splitext(name)
    name = stem if suffix.lower() in IMAGE_SUFFIXES else name
    for tail in _TAILS:
        name = name.removesuffix(tail)
    return name


# What separates IMAGE and MASK: as a rule a space, in lists of other tools a tab or a comma.
_SEPARATORS = ("\t", ",", ";", " ")


def parse(line: str) -> Entry:
    """Parse a line, `ID`, `IMAGE` or `IMAGE MASK`; names may contain spaces.

    IMAGE IMAGE, as UniMatch advises for unlabeled images, is the image alone.
    """
    for separator in _SEPARATORS:
        words = line.split(separator)
        for cut in range(1, len(words)):
            image, mask = separator.join(words[:cut]).strip(), separator.join(words[cut:]).strip()
            stem, suffix = os.path.splitext(image)
            if suffix.lower() not in IMAGE_SUFFIXES:
                continue
            if image == mask:
                return Entry(stem, image)
            if os.path.splitext(mask)[1].lower() in MASK_SUFFIXES:
                return Entry(stem, image, mask)
    return Entry(line)


def decoded(content: bytes, errors: str = "strict") -> str:
    """The text of a list, in UTF-8 or UTF-16; `errors` is that of `bytes.decode`.

    Raises:
        UnicodeDecodeError: neither, and errors are strict.
    """
    # PowerShell writes UTF-16.
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    return content.decode("utf-16" if utf16 else "utf-8-sig", errors)


def read_list(path: Path, key: str, problems: list[str]) -> list[Entry]:
    """Read a list file; blank lines and `#` comments are skipped.

    Args:
        path: the list file.
        key: the config key that names the list, used in messages.
        problems: a missing file, an empty list and duplicate ids are appended here.

    Returns:
        The entries in the order of the file, each id once.
    """
    try:
        lines = decoded(path.read_bytes()).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = "not there" if isinstance(error, FileNotFoundError) else str(error)
        problems.append(
            f"{path}: list cannot be read ({reason}); expected a text file with one id, or IMAGE "
            f"and MASK, per line; set {key} to a list file relative to data.root"
        )
        return []
    entries: dict[str, Entry] = {}
    first_line: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        entry = replace(parse(line), where=f"{path} line {number}")
        if entry.id in entries:
            problems.append(
                f"{path}: id {entry.id!r} in line {number} and in line {first_line[entry.id]}; "
                "expected every id once; remove one line"
            )
            continue
        entries[entry.id], first_line[entry.id] = entry, number
    if not entries:
        problems.append(f"{path}: the list holds no id; expected one id per line ({key})")
    return list(entries.values())
