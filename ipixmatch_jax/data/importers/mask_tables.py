"""Tables with a mask file and a label for each object: those of Open Images and V7."""

import csv
import os
from collections.abc import Sequence

from ipixmatch_jax.data.importers.contents import content, head
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError

# Headings of the columns of masks, images and labels; V7's masks have no ending.
_COLUMNS = (("MaskPath", "ImageID", "LabelName"), ("mask_id", "image_id", "class_name"))
# Folders with more tables have one for each image.
_MOST_TABLES = 200
# Tables and lists that may tell the class of each mask.
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".xml")


def naming(tree: FolderTree, masks: Sequence[str]) -> str:
    """The first table or JSON file that names two of a few masks, or ''.

    Args:
        tree: the folder.
        masks: relative paths of masks.
    """
    stems = [os.path.splitext(path.rpartition("/")[2])[0].encode() for path in masks]
    for path in tree.with_ending(*_TABLES)[:_MOST_TABLES]:
        text = head(tree.path("", path))
        if sum(stem in text for stem in stems) > 1:
            return path
    return ""


def tables_of_masks(tree: FolderTree) -> list[str]:
    """Relative paths of the CSV files whose headings name masks, images and labels."""
    found = []
    for path in tree.with_ending(".csv")[:_MOST_TABLES]:
        first = head(tree.path("", path), 1000).partition(b"\n")[0].decode("utf-8", "replace")
        cells = {cell.strip() for cell in first.split(",")}
        if any(set(columns) <= cells for columns in _COLUMNS):
            found.append(path)
    return found


def masks_of(tree: FolderTree, path: str) -> list[tuple[str, str, str]]:
    """(mask, image id, label) of each row of a table."""
    rows = list(csv.DictReader(_text(tree, path).splitlines()))
    columns = next((c for c in _COLUMNS if rows and set(c) <= rows[0].keys()), ())
    return [tuple((row[name] or "").strip() for name in columns) for row in rows if columns]


def names_of(tree: FolderTree) -> dict[str, str]:
    """Label -> name, such as /m/01yrx -> Cat, from class-descriptions.csv and files like it."""
    names = {}
    for path in tree.with_ending(".csv"):
        if path.rpartition("/")[2].startswith(("class-descriptions", "oidv7-class-descriptions")):
            for row in csv.reader(_text(tree, path).splitlines()):
                if len(row) > 1 and row[0] != "LabelName":
                    names[row[0].strip()] = row[1].strip()
    return names


def _text(tree: FolderTree, path: str) -> str:
    try:
        return content(tree.path("", path)).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{tree.path('', path)}: is not UTF-8 ({error.reason}); save it as UTF-8"
        ) from None
