"""Lists of splits as text, whatever their form: text, CSV, NumPy arrays and Excel's XLSX."""

import csv
import io
import os
import re
import zipfile
from collections.abc import Iterator
from xml.etree import ElementTree

import numpy as np

from ipixmatch_jax.data.files.split_lists import decoded
from ipixmatch_jax.npy_header import read_npy_header

# Forms that are no text.
ARRAYS, SHEETS = (".npy",), (".xlsx",)
# A sheet of a few bytes may unpack to gigabytes.
_MOST_UNPACKED = 50_000_000
_COLUMN = re.compile(r"[A-Z]+")


def list_text(content: bytes, path: str) -> str:
    """The text of a list: a line per name, or tabs between the columns of a sheet.

    Args:
        content: the bytes of the file.
        path: its name, whose ending tells the form.

    Raises:
        ValueError: not a text, an array of names or a sheet.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending in ARRAYS:
        return _of_array(content)
    return _of_sheet(content) if ending in SHEETS else decoded(content)


def _of_array(content: bytes) -> str:
    """The names or numbers of an array [N] or [N,1]."""
    shape, _, dtype = read_npy_header(io.BytesIO(content))
    if dtype.kind not in "USiu" or len(shape) not in (1, 2) or shape[1:] not in ((), (1,)):
        raise ValueError("no array of names")
    array = np.load(io.BytesIO(content), allow_pickle=False).ravel()
    names = array.astype(str) if array.dtype.kind != "S" else np.char.decode(array, "utf-8")
    return "\n".join(names.tolist())


def _of_sheet(content: bytes) -> str:
    """The first sheet of a workbook; Office Open XML (ECMA-376), SpreadsheetML."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [name for name in archive.namelist() if "xl/worksheets/sheet" in name]
            shared = "xl/sharedStrings.xml"
            strings = _strings(archive, shared) if shared in archive.namelist() else []
            rows = list(_cells(_parsed(archive, min(names)), strings))
    except (zipfile.BadZipFile, ElementTree.ParseError, KeyError, IndexError, OSError) as error:
        raise ValueError(f"no XLSX file ({error})") from None
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(rows)
    return text.getvalue()


def _parsed(archive: zipfile.ZipFile, name: str) -> ElementTree.Element:
    if archive.getinfo(name).file_size > _MOST_UNPACKED:
        raise ValueError(f"{name} is very large")
    text = archive.read(name)
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise ValueError(f"{name} declares entities")
    return ElementTree.fromstring(text)


def _strings(archive: zipfile.ZipFile, name: str) -> list[str]:
    return ["".join(_texts(one)) for one in _parsed(archive, name)]


def _texts(element: ElementTree.Element) -> list[str]:
    return [part.text or "" for part in element.iter() if part.tag.endswith("}t")]


def _cells(sheet: ElementTree.Element, strings: list[str]) -> Iterator[list[str]]:
    """The texts of each row; missing cells are ''."""
    for row in sheet.iter():
        if not row.tag.endswith("}row"):
            continue
        found: dict[int, str] = {}
        for cell in row:
            letters = _COLUMN.match(cell.get("r", ""))
            place = _number(letters.group()) if letters else len(found)
            value = next((part.text or "" for part in cell if part.tag.endswith("}v")), "")
            kind = cell.get("t")
            found[place] = strings[int(value)] if kind == "s" else value or "".join(_texts(cell))
        yield [found.get(place, "") for place in range(max(found, default=-1) + 1)]


def _number(letters: str) -> int:
    """A is 0, Z is 25, AA is 26."""
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number - 1
