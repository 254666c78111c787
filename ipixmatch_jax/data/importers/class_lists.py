"""Lists of classes under names of their own, told by what is in them: RUGD's `*-colormap.txt`.

Such a file may be about something else, such as classes of whole images. So it counts only if it
states the color of every class and the masks show no other, or its numbers fit the ids.
"""

import json
import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.files.split_lists import decoded, short_id
from ipixmatch_jax.data.importers import names
from ipixmatch_jax.data.importers.class_csv import class_table
from ipixmatch_jax.data.importers.class_file import ClassFile, Color, color_of, mapped_classes
from ipixmatch_jax.data.importers.class_lines import class_lines, is_numbered_or_colored
from ipixmatch_jax.data.importers.contents import head
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.data.records import is_background

_TABLES = (".csv", ".tsv")
_ENDINGS = (".txt", ".json", ".yaml", ".yml", *_TABLES)
_LONGEST = 100_000
_DEEPEST = 5
# A folder of more such files holds labels or lists of images.
_MOST_TEXTS = 10
_MOST = 40
# Longer names are sentences.
_LONGEST_NAME = 60
_NAMES = ("name", "title", "label", "readable", "class")
_COLORS = ("color", "colour", "rgb")
_IDS = ("id", "classid", "class_id", "label_id", "value")
_TWO = 2
_BINARY = ("background", "foreground")
_BLACK_WHITE = {(0, 0, 0), (255, 255, 255)}


@dataclass(frozen=True)
class ClassList:
    """A file that looks like a list of classes.

    Attributes:
        file: its content, with the path.
        numbered: the file states the number of every class.
        ground: the file lists a background as class 0.
    """

    file: ClassFile
    numbered: bool
    ground: bool = False


def class_lists(tree: FolderTree) -> list[ClassList]:
    """The files that look like lists of classes, at any place in the folder."""
    paths = [
        path for path in tree.with_ending(*_ENDINGS)
        # Lists of a split name images.
        if path.count("/") < _DEEPEST and not names.split_of_list(short_id(path).lower())
    ]  # fmt: skip
    counts = Counter(path.rpartition("/")[0] for path in paths)
    paths = [path for path in paths if counts[path.rpartition("/")[0]] <= _MOST_TEXTS]
    found = []
    for path in paths[:_MOST]:
        data = head(tree.path("", path), _LONGEST + 1)
        if len(data) > _LONGEST:
            continue
        try:
            text = decoded(data)
            one = _parsed(text, os.path.splitext(path)[1].lower())
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            continue
        if _are_names(one.file.names):
            first = one.file.names[0]
            ground = is_background(first) and first in text
            file = replace(one.file, path=tree.path("", path))
            found.append(replace(one, file=file, ground=ground))
    if not found:
        return []
    images = {short_id(path) for path in tree.with_ending(*IMAGE_SUFFIXES)}
    return [one for one in found if images.isdisjoint(one.file.names)]


def fitting(lists: list[ClassList], described: dict[str, Any]) -> ClassFile:
    """The list whose classes are those of the masks, without doubt; an empty one if there is none.

    Args:
        lists: what the folder holds.
        described: the keys of `config.data` that the masks alone lead to.
    """
    found = [one.file for one in lists if _fits(one, described)]
    different = {(file.names, file.palette) for file in found}
    return found[0] if len(different) == 1 else ClassFile()


def has_no_names(class_names: tuple[str, ...]) -> bool:
    """True if classes are called by their color or not at all, or as in every binary mask."""
    named = [name for name in class_names if not re.fullmatch("#[0-9a-f]{6}", name)]
    return not named or tuple(class_names) == _BINARY


def unused(lists: list[ClassList]) -> list[str]:
    """The warning about lists that are not used; [] without any."""
    if not lists:
        return []
    shown = ", ".join(
        f"{one.file.path} ({', '.join(one.file.names[:3])}{', …' * (len(one.file.names) > 3)})"
        for one in lists[:3]
    )
    return [
        f"{shown}: looks like a list of classes, and is not used, since it is not certain which "
        "name belongs to which value of the masks; write classes.txt in the root, with NAME, or "
        "NAME RED GREEN BLUE, per line from id 0 on, or set data.class_names"
    ]


def _fits(one: ClassList, described: dict[str, Any]) -> bool:
    file, count = one.file, described["num_classes"]
    if described.get("masks") == "colors":
        return bool(file.palette) and set(described["palette"]) <= set(file.palette)
    if described.get("masks", "ids") != "ids" or file.values:
        return False
    if tuple(described["class_names"]) == _BINARY:
        fit = (one.numbered and is_background(file.names[0])) or set(file.palette) == _BLACK_WHITE
        return len(file.names) == count and fit
    if described["class_names"] or described.get("mask_values"):
        return False
    if len(file.names) > count:
        return one.numbered and one.ground
    # Names of YOLO number the objects from 0 on, and masks have a background there. Two classes
    # may be those of whole images: benign and malignant.
    certain = is_background(file.names[0]) or (one.numbered and count > _TWO)
    return len(file.names) == count and certain


def _are_names(stated: tuple[str, ...]) -> bool:
    usual = all(
        re.search(r"[^\W\d_]", name) and len(name) <= _LONGEST_NAME and "/" not in name
        and not name.lower().endswith(IMAGE_SUFFIXES)
        for name in stated
    )  # fmt: skip
    return len(stated) > 1 and len(set(stated)) == len(stated) and usual


def _parsed(text: str, ending: str) -> ClassList:
    if ending == ".json":
        return _of_objects(json.loads(text))
    if ending in (".yaml", ".yml"):
        return _of_yaml(text)
    table = class_table(text.lstrip("\ufeff"), more=True) if ending in _TABLES else ClassFile()
    if not table.names and is_numbered_or_colored(text):
        table = ClassFile("", *class_lines(text))
    return ClassList(table, numbered=not table.palette or is_numbered_or_colored(text) == "both")


def _of_yaml(text: str) -> ClassList:
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    stated = content.get("names") if isinstance(content, dict) else None
    if isinstance(stated, dict):
        stated = [stated[key] for key in sorted(stated)]
    plain = isinstance(stated, list) and all(isinstance(name, str) for name in stated)
    return ClassList(ClassFile("", tuple(stated) if plain else ()), numbered=False)


def _of_objects(content: Any) -> ClassList:
    """`id2label` of a model of Hugging Face, or a list of names with colors or numbers."""
    if isinstance(content, dict) and isinstance(content.get("id2label"), dict):
        return ClassList(mapped_classes(content["id2label"]), numbered=True)
    rows = content
    for key in ("labels", "classes", "categories") if isinstance(content, dict) else ():
        rows = content.get(key) or rows
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or not rows:
        return ClassList(ClassFile(), numbered=False)
    name, color, number = (
        next((key for key in keys if all(key in row for row in rows)), "")
        for keys in (_NAMES, _COLORS, _IDS)
    )
    if not name or not (color or number):
        return ClassList(ClassFile(), numbered=False)
    ids = [int(row[number]) for row in rows] if number else []
    if ids:
        rows = [row for _, row in sorted(zip(ids, rows, strict=True), key=lambda pair: pair[0])]
    stated = tuple(str(row[name]) for row in rows)
    palette: tuple[Color, ...] = tuple(color_of(row[color]) for row in rows) if color else ()
    whole = sorted(ids) == list(range(len(ids)))
    if ids and not whole:
        # Numbers of another order, or from 1 on: the colors may count.
        return ClassList(ClassFile("", stated, palette), numbered=False)
    return ClassList(ClassFile("", stated, palette), numbered=bool(ids))
