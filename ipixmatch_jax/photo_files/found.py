"""Finds the photos to predict: files, folders and patterns."""

import collections
import dataclasses
import glob
import os
import pathlib
from collections.abc import Iterator, Sequence

from ipixmatch_jax.data import IMAGE_SUFFIXES
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import at_home, is_remote
from ipixmatch_jax.photo_files.areas import earlier_results, printable

# Folders that systems and tools keep next to photos.
_HELPER_FOLDERS = ("__MACOSX", "@eaDir")


@dataclasses.dataclass
class FoundPhotos:
    """Photos, and the counts of files that were left out.

    Attributes:
        base: folder that the names of the photos are relative to.
        paths: the photos, in order.
        skipped: reason → number of files.
    """

    base: pathlib.Path
    paths: list[pathlib.Path]
    skipped: collections.Counter

    def skipped_text(self) -> str:
        """The files that were left out, in words; empty without any."""
        return ", ".join(f"{count} {reason}" for reason, count in sorted(self.skipped.items()))


def find_photos(inputs: Sequence[os.PathLike | str]) -> FoundPhotos:
    """The photos that `inputs` name; folders are searched with all their subfolders.

    Hidden files and folders, files that are no photos and the results of earlier predictions are
    left out of folders and patterns, and counted. A file that is named itself is always taken.

    Args:
        inputs: photos, folders or patterns.

    Raises:
        DataError: an input that does not exist or holds no photo.
    """
    skipped: collections.Counter = collections.Counter()
    paths, bases = {}, []
    for item in map(at_home, inputs):
        base, found = _photos(item, skipped)
        bases.append(os.path.abspath(base))
        # Two inputs may name the same file.
        paths.update({os.path.abspath(path): path for path in found})
    return FoundPhotos(pathlib.Path(os.path.commonpath(bases)), list(paths.values()), skipped)


def _photos(item: str, skipped: collections.Counter) -> tuple[str, list[pathlib.Path]]:
    """The folder that names are relative to, and the photos of one input."""
    if is_remote(item):
        raise DataError(
            f"--input {item} is not on this machine; expected a photo, a folder or a pattern; "
            "download it first"
        )
    if os.path.isdir(item):
        base, files = item, _files_below(item, skipped)
    elif os.path.exists(item):
        return os.path.dirname(item) or ".", [pathlib.Path(item)]
    elif glob.has_magic(item):
        base = _fixed_part(item)
        files = sorted(path for path in glob.glob(item, recursive=True) if os.path.isfile(path))
        if not files:
            raise DataError(
                f"--input {item}: no file has such a name; expected a pattern of photos; check "
                "the folder and the ending, or write '**/*.jpg' to search subfolders, too"
            )
    else:
        raise DataError(
            f"--input {item} does not exist; expected a photo, a folder of photos or a pattern"
        )
    before = skipped.copy()
    found = list(_without_others(files, skipped))
    if not found:
        others = ", ".join(
            f"{count} {reason}" for reason, count in sorted((skipped - before).items())
        )
        raise DataError(
            f"--input {item} holds no photo{f' ({others})' if others else ''}; expected "
            f"{', '.join(IMAGE_SUFFIXES)} files, in it or in its subfolders"
        )
    return base, found


def _files_below(folder: str, skipped: collections.Counter) -> Iterator[str]:
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # links may lead in circles
            folders.clear()
            continue
        seen.add(real)
        left_out = [n for n in folders if n.startswith(".") or n in _HELPER_FOLDERS]
        if left_out:
            skipped["hidden or helper folder(s)"] += len(left_out)
        folders[:] = sorted(set(folders) - set(left_out))
        yield from (os.path.join(place, name) for name in sorted(names))


def _without_others(files: Iterator[str], skipped: collections.Counter) -> Iterator[pathlib.Path]:
    results: dict[str, set[str]] = {}
    for file in files:
        folder, name = os.path.split(file)
        suffix = os.path.splitext(name)[1].lower()
        if name.startswith("."):
            skipped["hidden file(s)"] += 1
        elif suffix not in IMAGE_SUFFIXES:
            skipped[f"{suffix or 'other'} file(s)"] += 1
        elif printable(os.path.abspath(file)) in _results_around(folder, results):
            skipped["result(s) of earlier predictions"] += 1
        else:
            yield pathlib.Path(file)


def _results_around(folder: str, known: dict[str, set[str]]) -> set[str]:
    """Printable absolute paths of earlier results that a folder, or one above it, records."""
    folder = os.path.abspath(folder)
    if folder not in known:
        above = os.path.dirname(folder)
        inherited = _results_around(above, known) if above != folder else set()
        own = earlier_results(pathlib.Path(folder))
        known[folder] = inherited | own if own else inherited
    return known[folder]


def _fixed_part(pattern: str) -> str:
    """The folder of a pattern that holds all its matches."""
    parts = pathlib.PurePath(pattern).parts
    count = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return os.path.join(*parts[:count]) if count else "."
