"""Class names, ids and colors in tables of comma-separated values."""

import csv
import re

from ipixmatch_jax.data.importers.class_file import ClassFile, mapped_classes

# Headings of the columns of stored values and of names.
_NUMBERS = ("id", "value", "pixel value", "pixel_value", "index", "label_id", "class_id")
# The same in tables under other names: `GT_code` of BCSS.
_MORE_NUMBERS = (*_NUMBERS, "code", "gt_code", "number", "label_value", "label id", "class id",
                 "label_key", "class_index", "label_index")  # fmt: skip
_NAMES = ("name", "class", "label", "class_name", "classname", "label_name")


def class_dict(text: str) -> ClassFile:
    """CamVid of fast.ai and Kaggle: `name,r,g,b` in CSV; the heading tells other orders."""
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if any(row)]
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    columns = [0, 1, 2, 3]
    if not all(cell.isdigit() for cell in head[1:4]):
        rows = rows[1:]
        wanted = (("name", "class", "label", "class_name", "class_names"),
                  ("r", "red"), ("g", "green"), ("b", "blue"))  # fmt: skip
        stated = [next((head.index(n) for n in names if n in head), None) for names in wanted]
        if None not in stated[1:]:
            free = (i for i in range(len(head)) if i not in stated)
            columns = [next(free) if stated[0] is None else stated[0], *stated[1:]]
    palette = tuple(tuple(int(row[i]) for i in columns[1:]) for row in rows)
    return ClassFile("", tuple(row[columns[0]].strip() for row in rows), palette)


def class_table(text: str, *, more: bool = False) -> ClassFile:
    """A CSV whose heading names a column of ids or colors, and one of names; or none.

    Args:
        text: the table.
        more: whether rarer words for a column of ids count, too.
    """
    first = text.partition("\n")[0].lower()
    head = [cell.strip() for cell in re.split("[,;\t]", first)]
    numbers = _MORE_NUMBERS if more else _NUMBERS
    number = next((head.index(n) for n in numbers if n in head), None)
    name = next((head.index(n) for n in _NAMES if n in head), None)
    if {"r", "g", "b"} <= set(head) or {"red", "green", "blue"} <= set(head):
        return class_dict(text)
    delimiter = max(",;\t", key=first.count)
    if number is None or name is None:
        return _without_heading([*csv.reader(text.splitlines(), delimiter=delimiter)])
    rows = [row for row in csv.reader(text.splitlines()[1:], delimiter=delimiter) if any(row)]
    if not all(len(row) > max(number, name) and row[number].strip().isdigit() for row in rows):
        return ClassFile()
    ids = {row[name].strip(): int(row[number]) for row in rows}
    return mapped_classes(ids) if len(ids) == len(rows) else ClassFile()


def _without_heading(rows: list[list[str]]) -> ClassFile:
    """`0,background` in every row: ids and names; or none."""
    rows = [[cell.strip() for cell in row] for row in rows if any(row)]
    if len(rows) < 2 or any(len(row) != 2 or not row[0].isdigit() for row in rows):
        return ClassFile()
    ids = {name: int(number) for number, name in rows if name and not name.isdigit()}
    plain = len(ids) == len(rows) and len(set(ids.values())) == len(rows)
    return mapped_classes(ids) if plain else ClassFile()


def class_mapping(text: str) -> ClassFile:
    """V7's `class_name,class_color` in CSV: three numbers are a color, one is a stored value."""
    rows = [row for row in csv.reader(text.splitlines()) if any(row)]
    if not rows or [cell.strip().lower() for cell in rows[0][:2]] != ["class_name", "class_color"]:
        return ClassFile()
    names = [row[0].strip() for row in rows[1:]]
    numbers = [tuple(map(int, re.findall(r"\d+", " ".join(row[1:])))) for row in rows[1:]]
    if all(len(found) == 1 for found in numbers):
        return mapped_classes({n: value for n, (value,) in zip(names, numbers, strict=True)})
    plain = any(len(found) != 3 for found in numbers)
    return ClassFile() if plain else ClassFile("", tuple(names), tuple(numbers))


def pixel_values(text: str) -> ClassFile:
    """Roboflow's `_classes.csv` of semantic masks: `Pixel Value, Class`."""
    rows = [row for row in csv.reader(text.splitlines()) if row and any(row)]
    head = [cell.strip().lower() for cell in rows[0]]
    if head[:2] != ["pixel value", "class"]:
        return ClassFile()
    pairs = sorted((int(row[0]), row[1].strip()) for row in rows[1:])
    values = tuple(value for value, _ in pairs)
    plain = values == tuple(range(len(values)))
    return ClassFile("", tuple(name for _, name in pairs), (), () if plain else values)
