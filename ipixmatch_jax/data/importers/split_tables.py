"""Tables and JSON files that tell the split of each image, or pair images with masks."""

import csv
import json

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.importers import names

# Columns of a table that name the split of an image, and words in the name of a JSON of splits.
SPLIT_WORDS = frozenset("split splits set subset subsets partition partitions usage phase".split())
# Columns that number parts of the data for cross-validation, among others.
_PARTS = SPLIT_WORDS | {"fold", "folds", "kfold"}
# Columns that say yes for the images of one split, such as fastai's is_valid.
_YES_COLUMNS = {"is_valid": "val", "is_val": "val", "is_test": "test"}
_YES, _NO = ("true", "1", "yes"), ("false", "0", "no")
FEWEST = 2


def of_table(text: str) -> list[tuple[str, list[str]]]:
    """(split, other cells) of each row if a column of the table names splits, else [].

    A table with one column per split, headed train and val, gives (split, [cell]).
    """
    rows = _rows(text)
    if len(rows) < 1 + FEWEST:
        return []
    titles = [cell.strip().lower() for cell in rows[0]]
    for column, title in enumerate(titles):
        words = [row[column].strip() for row in rows[1:] if len(row) == len(titles)]
        splits = [_split_of_cell(title, word) for word in words]
        if len(words) == len(rows) - 1 and all(splits):
            return [
                (split, [cell.strip() for i, cell in enumerate(row) if i != column])
                for split, row in zip(splits, rows[1:], strict=True)
            ]
    if len(titles) > 1 and all(map(names.is_only_split, titles)):
        return [
            (names.split(title), [cell.strip()])
            for row in rows[1:]
            for title, cell in zip(titles, row, strict=False)
            if cell.strip()
        ]
    return []


def unknown_splits(text: str) -> tuple[str, list[list[str]]]:
    """The words of a column of splits that `of_table` does not know, and the cells of each row."""
    rows = _rows(text)
    titles = [cell.strip().lower() for cell in rows[0]] if rows else []
    for column, title in enumerate(titles):
        if title in _PARTS:
            words = sorted({row[column].strip() for row in rows[1:] if len(row) == len(titles)})
            shown = ", ".join(words[:4])
            return f"{title}: {shown}", [[cell.strip() for cell in row] for row in rows[1:]]
    return "", []


def cells_of(text: str) -> list[list[str]]:
    """The cells of each row of a table, stripped."""
    return [[cell.strip() for cell in row] for row in _rows(text)]


def _rows(text: str) -> list[list[str]]:
    head_line = text.partition("\n")[0]
    separator = max(",;\t", key=head_line.count)
    return [row for row in csv.reader(text.splitlines(), delimiter=separator) if any(row)]


def _split_of_cell(title: str, word: str) -> str:
    """The split that a cell tells under the title of its column, or ''."""
    if title in SPLIT_WORDS:
        return names.split(word)
    if title in _YES_COLUMNS and word.lower() in (*_YES, *_NO):
        return _YES_COLUMNS[title] if word.lower() in _YES else "train"
    return ""


def pairs_of_json(text: str, *, lines: bool) -> list[tuple[str, str, str]]:
    """(split, image, mask) of JSON objects that name both: [{"image": …, "mask": …}, …].

    The objects may lie in lists by split, {"training": [...]}, or one in each line.
    """
    content = [json.loads(line) for line in text.splitlines() if line] if lines else None
    content = json.loads(text) if content is None else content
    groups = content if isinstance(content, dict) else {"": content}
    found = []
    for name, group in groups.items():
        for entry in group if isinstance(group, list) else ():
            values = entry if isinstance(entry, dict) else {}
            named = {
                names.role(key): value
                for key, value in values.items()
                if isinstance(value, str) and value.lower().endswith(IMAGE_SUFFIXES)
            }
            image = named.get("image") or named.get("")
            if image and named.get("mask"):
                found.append((names.split(name), image, named["mask"]))
    return found


def of_json(text: str, split: str = "") -> list[tuple[str, list[str]]]:
    """(split, [image]) of {"train": [images], "val": [images]}, else [].

    Args:
        text: JSON or YAML.
        split: the split that the name of the file tells, for a list of images; or ''.
    """
    try:
        content = json.loads(text)
    except ValueError:
        content = _of_yaml(text)
    if split and isinstance(content, list):
        return [(split, [image]) for image in content if isinstance(image, str)]
    if not isinstance(content, dict) or not all(
        names.split(key) and isinstance(value, list) for key, value in content.items()
    ):
        return []
    return [
        (names.split(key), [str(image)]) for key, value in content.items()
        for image in value
    ]  # fmt: skip


def _of_yaml(text: str) -> object:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
