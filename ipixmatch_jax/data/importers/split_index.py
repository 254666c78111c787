"""Finds the images and masks that the words of list files name."""

import csv
import functools
import os
import posixpath
import re
from collections import Counter

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.files.masks import MASK_SUFFIXES
from ipixmatch_jax.data.files.split_lists import parse, short_id
from ipixmatch_jax.data.importers.contents import head
from ipixmatch_jax.data.importers.found import Item
from ipixmatch_jax.data.importers.list_texts import list_text
from ipixmatch_jax.data.importers.places import place_of
from ipixmatch_jax.data.importers.split_tables import (
    FEWEST,
    cells_of,
    of_json,
    of_table,
    pairs_of_json,
    unknown_splits,
)
from ipixmatch_jax.data.importers.tree import FolderTree

_JSON = (".json", ".jsonl")
STRUCTURED = (*_JSON, ".yaml", ".yml")
_ANNOTATIONS = (".json", ".xml", ".txt")
_LONGEST = 50_000_000
# Share of the lines that must name an image; the head of a table does not.
_NAMED = 0.9

# The first line of a list that is a table.
_HEAD = re.compile(r"\W*(image|img|file|name|id|path|photo|frame)[a-z_ ]*\W*($|[,;\t ])", re.I)

# A list: the line's image -> its mask, or '' if the line names none.
Rows = dict[str, str]


class SplitIndex:
    """Finds images by the words of list files."""

    def __init__(self, tree: FolderTree, items: list[Item]):
        self.tree = tree
        self.root = root = str(tree.root).rstrip("/") + "/"
        # Tables with a split per row, of which several columns may name the images.
        self.unclear: list[str] = []
        # Tables with a column of splits whose words are unknown, and these words.
        self.unknown: dict[str, str] = {}
        # (image, mask) that lists name, if the mask is not there or is there twice.
        self.lost: list[tuple[str, str]] = []
        # List -> its lines that name no image here.
        self.absent: dict[str, list[str]] = {}
        # Lists whose numbers have other zero padding than the names of the images.
        self.padded: list[str] = []
        # The folder of the list that is read, and whether numbers may have other padding.
        self.folder, self.unpadded = "", False
        self.names: dict[str, str] = {}
        doubled: set[str] = set()
        for item in items:
            inner = item.image.removeprefix(root)
            for name in {inner, os.path.splitext(inner)[0], item.id, os.path.basename(inner),
                         short_id(inner)}:  # fmt: skip
                if self.names.setdefault(name, item.image) != item.image:
                    doubled.add(name)
        for name in doubled:
            del self.names[name]

    def columns(self, path: str, split: str) -> dict[str, Rows]:
        """The rows of each split that a column of a table names, or a JSON {split: [images]}.

        A JSON list of images is of the split that the name of the file tells.
        """
        self.folder = path.rpartition("/")[0]
        try:
            text = list_text(head(self.tree.path("", path), _LONGEST), path)
            ending = os.path.splitext(path)[1].lower()
            if ending in _JSON:
                pairs = self._pairs(pairs_of_json(text, lines=ending == ".jsonl"))
                if pairs:
                    return pairs
            lines = of_json(text, split) if ending in STRUCTURED else of_table(text)
            if not lines and ending not in STRUCTURED:
                self._note_unknown(path, text)
        except (ValueError, RecursionError, csv.Error):
            return {}
        column = self._image_column([cells for _, cells in lines], path)
        found: dict[str, Rows] = {}
        for split, cells in lines if column is not None else ():
            image = self._image(cells[column])
            if not image:
                self.absent.setdefault(path, []).append(cells[column])
            else:
                masks = (self._mask(cell, image) for i, cell in enumerate(cells) if i != column)
                found.setdefault(split, {})[image] = next(filter(None, masks), "")
        return found

    def _pairs(self, entries: list[tuple[str, str, str]]) -> dict[str, Rows]:
        """The rows of each split of (split, image, mask); {} if they are no images of here."""
        found: dict[str, Rows] = {}
        lost = len(self.lost)
        for split, image, mask in entries:
            if self._image(image):
                own = self._image(image)
                found.setdefault(split, {})[own] = self._mask(mask, own)
        if sum(map(len, found.values())) >= max(FEWEST, _NAMED * len(entries)):
            return found
        del self.lost[lost:]
        return {}

    def _image_column(self, rows: list[list[str]], path: str) -> int | None:
        """The column that names the images; None if there is none, or it is not certain."""
        fitting: dict[int, list[str]] = {}
        for column in range(min(map(len, rows), default=0)):
            images = [self._image(cells[column]) for cells in rows]
            if sum(map(bool, images)) >= max(FEWEST, _NAMED * len(rows)):
                fitting[column] = images
        # Names of files are certain; numbers may be an index or an age.
        files = [
            column for column in fitting
            if all(cells[column].lower().endswith(IMAGE_SUFFIXES) for cells in rows)
        ]  # fmt: skip
        candidates = files or list(fitting)
        different = {tuple(fitting[column]) for column in candidates}
        if len(different) > 1:
            self.unclear.append(path)
        return candidates[0] if len(different) == 1 else None

    def _note_unknown(self, path: str, text: str) -> None:
        """Notes a table of these images with a column of splits whose words are unknown."""
        unknown, rows = unknown_splits(text)
        named = sum(any(map(self._image, row)) for row in rows)
        if unknown and named >= max(FEWEST, _NAMED * len(rows)):
            self.unknown[path] = unknown

    def _image(self, cell: str) -> str:
        # Lists of annotation files name the images as well.
        stem, ending = os.path.splitext(cell)
        cell = stem if ending.lower() in _ANNOTATIONS else cell
        own = posixpath.join(self.folder, cell)
        names = (own, cell, short_id(cell))
        found = next((self.names[name] for name in names if name in self.names), "")
        return found or (self._numbered.get(_unpadded(short_id(cell)), "") if self.unpadded else "")

    @functools.cached_property
    def _numbered(self) -> dict[str, str]:
        """Names without the zeros before their numbers -> image; no names that two images have."""
        plain = {image: _unpadded(short_id(image)) for image in self.names.values()}
        counts = Counter(plain.values())
        return {name: image for image, name in plain.items() if counts[name] == 1}

    def rows(self, path: str, fewest: int = FEWEST) -> Rows:
        """The rows of a list; {} if it is no list of the images, or has less than `fewest` rows."""
        self.folder = path.rpartition("/")[0]
        try:
            text = list_text(head(self.tree.path("", path), _LONGEST), path)
        except ValueError:
            return {}
        lines = [line.strip() for line in text.splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        rows = self._of_lines(lines, fewest) or self._with_other_padding(path, lines)
        if rows and path not in self.padded:
            heads = path.lower().endswith((".csv", ".tsv")) or _HEAD.match(lines[0])
            lost = len(self.lost)
            absent = [line for line in lines[bool(heads) :] if not self._parsed(line)]
            del self.lost[lost:]  # noted when the rows were read
            self.absent |= {path: absent} if absent else {}
        return rows

    def _with_other_padding(self, path: str, lines: list[str]) -> Rows:
        """The rows of a list whose numbers have other zero padding than the images."""
        self.unpadded = True
        try:
            rows = self._of_lines(lines, FEWEST)
        finally:
            self.unpadded = False
        # Two lines for one image: 1 and 01 are no numbers of images.
        if not rows or len(rows) < len(lines):
            return {}
        self.padded.append(path)
        return rows

    def table(self, path: str) -> Rows:
        """The rows of a table of images, one of whose columns names them; {} for other files."""
        self.folder = path.rpartition("/")[0]
        try:
            rows = cells_of(list_text(head(self.tree.path("", path), _LONGEST), path))
        except (ValueError, csv.Error):
            return {}
        rows = rows[1:] if rows and not any(map(self._image, rows[0])) else rows
        column = self._image_column(rows, path)
        found: Rows = {}
        for cells in rows if column is not None else ():
            image = self._image(cells[column])
            if not image:
                self.absent.setdefault(path, []).append(cells[column])
            else:
                masks = (self._mask(cell, image) for i, cell in enumerate(cells) if i != column)
                found[image] = next(filter(None, masks), "")
        return found

    def _of_lines(self, lines: list[str], fewest: int) -> Rows:
        lost = len(self.lost)
        parsed = [row for line in lines if (row := self._parsed(line))]
        rows = {image: mask for row in parsed for image, mask in row.items()}
        # A list may name a single folder of many images.
        all_named = len(parsed) == len(lines) and len(rows) >= fewest
        if all_named or len(parsed) >= max(FEWEST, _NAMED * (len(lines) - 1)):
            return rows
        del self.lost[lost:]
        return {}

    def _parsed(self, line: str) -> Rows:
        """The image that a line names, or all images of the folder, such as a video."""
        entry = parse(line)
        name = entry.image or entry.id
        image = self._image(name)
        if image:
            return {image: self._mask(entry.mask, image)}
        return dict.fromkeys(self._folders.get(name.replace("\\", "/").strip("/"), ()), "")

    @functools.cached_property
    def _folders(self) -> dict[str, list[str]]:
        """Path and last name of folders -> their images; no names that two folders have."""
        found: dict[str, list[str]] = {}
        for image in dict.fromkeys(self.names.values()):
            found.setdefault(os.path.dirname(image.removeprefix(self.root)), []).append(image)
        lasts = Counter(os.path.basename(folder) for folder in found)
        return found | {
            os.path.basename(folder): images for folder, images in found.items()
            if lasts[os.path.basename(folder)] == 1
        }  # fmt: skip

    def _mask(self, name: str, image: str) -> str:
        parts = name.replace("\\", "/").removeprefix("./").lstrip("/").split("/")
        own = posixpath.join(self.folder, *parts)
        if parts[-1].lower().endswith(MASK_SUFFIXES) and self.tree.has(own):
            return self.tree.path("", own)
        # The first folders may be those of another machine.
        for start in range(len(parts)):
            inner = "/".join(parts[start:])
            if "/" in inner or not start:
                if inner and self.tree.has(inner):
                    return self.tree.path("", inner)
        name = parts[-1]
        paths = self._masks.get(name, ())
        if len(paths) != 1 and name.lower().endswith(MASK_SUFFIXES):
            self.lost.append((image, name))
        return self.tree.path("", paths[0]) if len(paths) == 1 else ""

    @functools.cached_property
    def _masks(self) -> dict[str, list[str]]:
        """Name -> relative paths of the files in folders of masks."""
        found: dict[str, list[str]] = {}
        for folder, files in self.tree.files.items():
            if place_of(folder).role == "mask":
                for name in files:
                    found.setdefault(name, []).append(f"{folder}/{name}")
        return found


def _unpadded(name: str) -> str:
    """A name without the zeros before its numbers."""
    return re.sub(r"\d+", lambda match: str(int(match.group())), name)
