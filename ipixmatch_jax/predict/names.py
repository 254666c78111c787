"""Names of the results: no two photos share a file, and nothing that exists is overwritten."""

import collections
import os
import pathlib
import unicodedata
from collections.abc import Callable, Sequence

from ipixmatch_jax.paths import AnyPath, is_remote
from ipixmatch_jax.photo_files.areas import ENDINGS, printable


def result_names(
    photos: Sequence[pathlib.Path],
    base: pathlib.Path,
    output: AnyPath,
    earlier: Callable[[pathlib.Path], str | None],
) -> list[str]:
    """The name of the results of each photo: its path below `base`, without the suffix.

    If files of two photos would have the same name, or a file exists already, the suffix is added,
    then a number: `a`, `a_jpg`, `a_jpg_2`. Results of an earlier prediction keep their name.

    Args:
        photos: the photos.
        base: folder that holds all of them.
        output: folder of the results.
        earlier: photo → name of its results in an earlier prediction, which may be replaced.
    """
    photo_paths = {_comparable(os.path.abspath(photo)) for photo in photos}
    recorded = [earlier(photo) for photo in photos]
    levels = [0] * len(photos)

    def name_of(position: int) -> str:
        return _candidate(photos[position], base, position, levels[position], recorded[position])

    def is_taken(position: int) -> bool:
        name = name_of(position)
        files = [output / (name + ending) for ending in ENDINGS]
        paths = () if is_remote(output) else map(os.path.abspath, files)
        if any(_comparable(path) in photo_paths for path in paths):
            return True
        return printable(name) != recorded[position] and any(map(_exists, files))

    while True:
        names = [name_of(position) for position in range(len(photos))]
        kept = {p for p, name in enumerate(names) if printable(name) == recorded[p]}
        clashing = set()
        for shared in _shared(names):
            clashing |= (shared - kept) or shared
        clashing |= {p for p in range(len(photos)) if p not in clashing and is_taken(p)}
        if not clashing:
            return names
        for position in clashing:
            levels[position] += 1


def _shared(names: Sequence[str]) -> list[set[int]]:
    """The groups of positions whose results would have a file of the same name."""
    owners: dict[str, set[int]] = collections.defaultdict(set)
    for position, name in enumerate(names):
        for ending in ENDINGS:
            owners[_comparable(name + ending)].add(position)
    return [positions for positions in owners.values() if len(positions) > 1]


def _candidate(
    photo: pathlib.Path, base: pathlib.Path, position: int, level: int, recorded: str | None
) -> str:
    path = pathlib.Path(os.path.relpath(os.path.abspath(photo), base))
    stem = path.with_suffix("").as_posix()
    with_suffix = f"{stem}_{path.suffix[1:]}" if path.suffix else stem
    names = [stem, with_suffix, *(f"{with_suffix}_{position + n}" for n in range(2, level + 1))]
    # Recorded names are printable; one that is not UTF-8 cannot be found among them.
    usual = [name for name in names if printable(name) == recorded]
    first = usual or ([recorded] if recorded and "\\x" not in recorded else [])
    return [*first, *(name for name in names if name not in first)][level]


def _comparable(path: str) -> str:
    # Some file systems take names of another case, or of another Unicode form, for the same.
    return unicodedata.normalize("NFC", path).casefold()


def _exists(path: AnyPath) -> bool:
    try:
        # A link that leads nowhere is a file too: writing would create what it names.
        return path.exists() or (not is_remote(path) and path.is_symlink())
    except OSError:  # a name too long for the file system; writing it says so, for its photo alone
        return False
