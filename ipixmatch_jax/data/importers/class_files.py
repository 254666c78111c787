"""Class names and colors from the files that people and tools leave with their masks."""

import json
from collections.abc import Callable
from dataclasses import replace

from ipixmatch_jax.data.files.split_lists import decoded
from ipixmatch_jax.data.importers.class_csv import (
    class_dict,
    class_mapping,
    class_table,
    pixel_values,
)
from ipixmatch_jax.data.importers.class_file import ClassFile, Color, color_of, mapped_classes
from ipixmatch_jax.data.importers.class_lines import NUMBERED, class_lines
from ipixmatch_jax.data.importers.class_tables import label_map, manifest_colors
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.data.records import IGNORE, spread_palette
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import as_path


def find_classes(tree: FolderTree) -> ClassFile:
    """The class file in the root of the tree or of its data, or in the only folder with one.

    Raises:
        DataError: a file is unreadable, or contradicts itself or another one.
    """
    listed: list[ClassFile] = []
    deepest = 1 + (tree.top.count("/") + 1 if tree.top else 0)
    for name, read in _READERS.items():
        found = tree.with_ending(name.lower().lstrip("*"))
        found = [path for path in found if name[0] == "*" or path.rpartition("/")[2] == name]
        found.sort(key=lambda path: path.count("/"))
        # Files further down may belong to a part of the data.
        if not found or found[0].count("/") > deepest:
            continue
        shallow = [path for path in found if path.count("/") == found[0].count("/")]
        contents = {_read(tree.path("", path), read) for path in shallow}
        # Files of an ending may hold other things.
        contents = {one for one in contents if one.names} if name[0] == "*" else contents
        if len({replace(content, path="") for content in contents}) > 1:
            raise DataError(
                f"{tree.path('', shallow[0])}, {tree.path('', shallow[1])}: state different "
                "classes; expected one list of classes; point at one of the folders, or write "
                "classes.txt in the root"
            )
        first = min(contents, key=lambda content: content.path, default=ClassFile())
        if first.names:
            listed.append(first)
    _check_order(listed)
    return listed[0] if listed else ClassFile()


def _check_order(files: list[ClassFile]) -> None:
    """Raise a DataError if two files of one folder list the same names in another order."""
    for first, other in ((files[0], other) for other in files[1:]):
        beside = other.path.rpartition("/")[0] == first.path.rpartition("/")[0]
        renumbered = first.names != other.names and sorted(first.names) == sorted(other.names)
        # With equal colors for each name, the order may be that of the tool.
        colored = bool(first.palette) and _colors(first) == _colors(other)
        if beside and renumbered and not colored:
            raise DataError(
                f"{first.path}, {other.path}: list the same classes in another order; expected "
                "one list of classes; remove the file that does not belong to the masks"
            )


def _colors(content: ClassFile) -> dict[str, Color]:
    return dict(zip(content.names, content.palette, strict=False))


def _read(path: str, read: Callable[[str], ClassFile]) -> ClassFile:
    try:
        content = read(decoded(as_path(path).read_bytes()))
    except UnicodeDecodeError as error:
        if read in (_fiftyone, _category_ids):
            return ClassFile(path)
        raise DataError(f"{path}: is not UTF-8 ({error.reason}); save it as UTF-8") from None
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataError(
            f"{path}: cannot be read as classes ({error}); expected NAME or NAME RED GREEN "
            'BLUE a line, or in JSON {"classes": [names], "palette": [[red, green, blue]]}'
        ) from None
    return replace(content, path=path)


def _classes_json(text: str) -> ClassFile:
    content = json.loads(text)
    if isinstance(content, list):
        return _listed_classes(content)
    if "classes" not in content:
        return mapped_classes(content)
    if content["classes"] and isinstance(content["classes"][0], dict):
        return _listed_classes(content["classes"])
    palette = tuple(tuple(int(c) for c in color) for color in content.get("palette", ()))
    return ClassFile("", tuple(map(str, content["classes"])), palette)


def _nnunet(text: str) -> ClassFile:
    """`labels` of nnU-Net's dataset.json, by name (version 2) or by number (version 1)."""
    content = json.loads(text)
    labels = content.get("labels") if isinstance(content, dict) else None
    known = isinstance(labels, dict) and {"channel_names", "modality"} & content.keys()
    # Labels of several numbers are overlapping regions, and no classes.
    if not known or any(isinstance(value, list) for value in labels.values()):
        return ClassFile()
    named = {name: value for name, value in labels.items() if "ignore" not in (name, value)}
    ignored = [name if value == "ignore" else value
               for name, value in labels.items() if name not in named]  # fmt: skip
    return replace(mapped_classes(named), ignored=tuple(map(int, ignored)))


def _fiftyone(text: str) -> ClassFile:
    """FiftyOne's metadata.json: `default_mask_targets`, or `mask_targets` of its only field."""
    try:
        content = json.loads(text)
    except ValueError:
        # The file of another program.
        return ClassFile()
    info = content if isinstance(content, dict) else {}
    fields, targets = info.get("mask_targets") or {}, info.get("default_mask_targets")
    tables = [targets] if targets else []
    tables += [t for t in fields.values() if t not in tables] if isinstance(fields, dict) else []
    if len(tables) != 1 or not isinstance(tables[0], dict):
        return ClassFile()
    ids, names = list(tables[0]), list(tables[0].values())
    if not all(key.isdigit() for key in ids) or not all(isinstance(n, str) for n in names):
        # Colors as keys, or more than names as values.
        return ClassFile()
    return mapped_classes({"0": "background", **tables[0]})


def _category_ids(text: str) -> ClassFile:
    """FoodSeg103: a number and a name per line; other files of the name list other things."""
    lines = [line for line in text.splitlines() if line.strip()]
    return _lines(text) if lines and all(map(NUMBERED.match, lines)) else ClassFile()


def _listed_classes(content: list) -> ClassFile:
    """A list of names, or of `name` or `title` with `id`, `color` or both.

    SuperAnnotate and Supervisely list colors (#ff0000). Black is the background of SuperAnnotate,
    which does not list it. With an `id` for each class, ids decide the order.
    """
    if all(isinstance(one, str) for one in content):
        return ClassFile("", tuple(content))
    stated = all("title" in one for one in content)
    ids = [one.get("id") for one in content]
    if all(isinstance(i, int) and 0 <= i < IGNORE for i in ids) and len(set(ids)) == len(ids):
        if not any("color" in one for one in content):
            key = "title" if stated else "name"
            return mapped_classes({one[key]: one["id"] for one in content})
        # Other tools number their classes over all projects.
        if sorted(ids) in (list(range(len(ids))), list(range(1, len(ids) + 1))):
            content = sorted(content, key=lambda one: one["id"])
    names = [str(one["title"] if stated else one["name"]) for one in content]
    colors = [color_of(one["color"]) for one in content]
    if (0, 0, 0) not in colors and not stated:
        names, colors = ["background", *names], [(0, 0, 0), *colors]
    return ClassFile("", tuple(names), tuple(colors))


def _lines(text: str) -> ClassFile:
    return ClassFile("", *class_lines(text))


def _color_first(text: str) -> ClassFile:
    """SYNTHIA and CamVid: `RED GREEN BLUE NAME` per line; a line of NAME first is `_lines`."""
    rows = [line.split() for line in text.splitlines() if line.strip() and line[0] != "#"]
    if not all(len(row) > 3 and all(word.isdigit() for word in row[:3]) for row in rows):
        return _lines(text)
    palette = tuple(tuple(map(int, row[:3])) for row in rows)
    names = tuple(" ".join(row[3:]) for row in rows)
    return ClassFile("", names, palette, unlisted=_no_black(names, palette))


def _no_black(names: tuple[str, ...], palette: tuple[Color, ...]) -> bool:
    return (0, 0, 0) not in palette and "background" not in map(str.lower, names)


def _labelmap(text: str) -> ClassFile:
    """CVAT and Datumaro: `label:red,green,blue:parts:actions` per line."""
    names, palette = [], []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, color = (part.strip() for part in line.split(":")[:2])
        names.append(name)
        palette.append(tuple(map(int, color.split(","))) if color else ())
    if not any(palette):
        # Both tools then take the colors of Pascal VOC, in the order of the lines.
        palette = [tuple(color) for color in spread_palette(len(names)).tolist()]
    if not all(palette):
        raise ValueError("some labels have a color, others have none")
    order = sorted(range(len(names)), key=lambda i: names[i].lower() != "background")
    return ClassFile("", tuple(names[i] for i in order), tuple(palette[i] for i in order))


def _dataset_meta(text: str) -> ClassFile:
    """Datumaro: `label_map` {id: name} and `segmentation_colors`."""
    content = json.loads(text)
    if "label_map" not in content:
        return ClassFile()
    labels = {int(key): str(name) for key, name in content["label_map"].items()}
    ids = sorted(labels)
    palette = tuple(tuple(map(int, c)) for c in content.get("segmentation_colors") or ())
    if palette and len(palette) != len(ids):
        raise ValueError(f"{len(palette)} colors for {len(ids)} labels")
    values = () if palette or ids == list(range(len(ids))) else tuple(ids)
    names = tuple(labels[i] for i in ids)
    unlisted = bool(palette) and _no_black(names, palette)
    return ClassFile("", names, palette, values, unlisted=unlisted)


def _mapillary(text: str) -> ClassFile:
    """Mapillary's config: `labels` in the order of the ids, with `readable` and `color`."""
    content = json.loads(text)
    labels = content.get("labels")
    if not labels or "color" not in labels[0]:
        return ClassFile()
    names = [str(label.get("readable") or label["name"]) for label in labels]
    doubled = {name for name in names if names.count(name) > 1}
    names = [str(label["name"]) if name in doubled else name
             for name, label in zip(names, labels, strict=True)]  # fmt: skip
    return ClassFile("", tuple(names), tuple(tuple(label["color"]) for label in labels))


def _by_id(read: Callable[[str], dict[str, int]]) -> Callable[[str], ClassFile]:
    return lambda text: mapped_classes(ids) if (ids := read(text)) else ClassFile()


# File name -> reader, in this order. Files that state the classes of masks only.
_READERS: dict[str, Callable[[str], ClassFile]] = {
    "classes.json": _classes_json,
    "classes.txt": _lines,
    "labelmap.txt": _labelmap,
    "dataset_meta.json": _dataset_meta,
    "_classes.csv": pixel_values,
    "class_dict.csv": class_dict,
    "label_class_dict.csv": class_dict,
    "class_dict_seg.csv": class_dict,
    "labels_class_dict.csv": class_dict,
    "labelmap.csv": class_dict,
    "class_mapping.csv": class_mapping,
    **dict.fromkeys(("classes.csv", "labels.csv", "colormap.csv"), class_table),
    "label_colors.txt": _color_first,
    "class_names.txt": _lines,
    "labels.txt": _lines,
    "codes.txt": _lines,
    **dict.fromkeys(("id2label.json", "class_list.json", "class_id_to_name.json"), _classes_json),
    "dataset.json": _nnunet,
    "category_id.txt": _category_ids,
    "metadata.json": _fiftyone,
    "*.pbtxt": _by_id(label_map),
    "*.ctbl": _lines,
    "*.manifest": _by_id(manifest_colors),
}


def read_mapillary(path: str) -> ClassFile:
    """The classes of a Mapillary config file.

    Raises:
        DataError: unreadable.
    """
    return _read(path, _mapillary)
