"""`areas.csv`: the pixels of every class in each photo, and the results that belong to a photo."""

import csv
import io
import os
import pathlib
from collections.abc import Sequence
from typing import IO, Any

from ipixmatch_jax.paths import AnyPath

# Endings of the files that may be written for a photo.
ENDINGS = (".png", "_color.png", "_overlay.png", "_confidence.png", "_probs.npy")
_COLUMNS = ("image", "result", "width", "height", "mean_confidence")
# A spreadsheet would run a cell that begins with one of these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Areas:
    """The rows of `areas.csv`, written one by one.

    Rows of photos that are not predicted again are kept. A file of the same name with other columns
    (other classes, or not a result at all) is left alone: `areas_2.csv` is written next to it.

    Args:
        folder: the output folder.
        class_names: the C classes.
    """

    def __init__(self, folder: AnyPath, class_names: Sequence[str]):
        self._header = [*_COLUMNS, *map(cell, class_names)]
        self.path, rows = self._open_or_next(folder)
        self._results = {row[0]: _unescaped(row[1]) for row in rows}
        self._kept = rows
        self._file: IO[bytes] | None = None

    def _open_or_next(self, folder: AnyPath) -> tuple[AnyPath, list[list[str]]]:
        number = 1
        while True:
            path = folder / (f"areas_{number}.csv" if number > 1 else "areas.csv")
            header, rows = _read(path)
            if header is None or header == self._header:
                return path, rows
            number += 1

    def result_of(self, photo: pathlib.Path) -> str | None:
        """The name of the results that an earlier prediction of this very photo has written."""
        return self._results.get(_key(photo))

    def begin(self, photos: Sequence[pathlib.Path]) -> int:
        """Writes the header, and the earlier rows of all other photos; returns their number."""
        again = {_key(photo) for photo in photos}
        self._file = self.path.open("wb")
        kept = [row for row in self._kept if row[0] not in again]
        self._write([self._header, *kept])
        return len(kept)

    def add(self, photo: pathlib.Path, result: str, values: Sequence[Any]) -> None:
        """Writes the row of a photo: width, height, mean confidence and pixels of every class."""
        self._write([[_key(photo), cell(result), *values]])

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def _write(self, rows: Sequence[Sequence[Any]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        self._file.write(text.getvalue().encode("utf-8"))
        self._file.flush()  # after kill -9 the file holds every photo that was done


def _key(photo: pathlib.Path) -> str:
    return cell(os.path.abspath(photo))


def cell(value: Any) -> str:
    """A text as a cell of a table: printable, and never a formula."""
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def printable(name: Any) -> str:
    """A file name as text that every file and terminal takes: bytes that are not UTF-8 escaped."""
    return os.fsencode(str(name)).decode("utf-8", "backslashreplace")


def earlier_results(folder: pathlib.Path) -> set[str]:
    """Printable absolute paths of what earlier predictions into this folder have written."""
    try:
        names = [name for name in os.listdir(folder) if name.startswith("areas")]
    except OSError:
        return set()
    found = set()
    for name in names:
        header, rows = _read(folder / name) if name.endswith(".csv") else (None, [])
        if header and tuple(header[: len(_COLUMNS)]) == _COLUMNS:
            files = [_unescaped(row[1]) + ending for row in rows for ending in ENDINGS]
            found |= {os.path.join(printable(os.path.abspath(folder)), file) for file in files}
    return found


def _unescaped(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


def _read(path: AnyPath) -> tuple[list[str] | None, list[list[str]]]:
    """The header, None without a file, and the whole rows of a table."""
    if not path.exists():
        return None, []
    text = path.read_bytes().decode("utf-8", "replace")
    lines = list(csv.reader(io.StringIO(text, newline="")))
    header = lines[0] if lines else []
    return header, [line for line in lines[1:] if len(line) == len(header) >= len(_COLUMNS)]
