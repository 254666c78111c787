"""Whether the masks of a folder mean the classes that a config names."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.importers.class_files import find_classes
from ipixmatch_jax.data.importers.found import Drawn, Found
from ipixmatch_jax.data.importers.tree import collecting_later, scan
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import as_path

_SHOWN = 8
# Masks that are read by the colors of `data.palette`.
_BY_COLOR = ("colors", "nearest")


def moved_classes(there: Mapping[str, Hashable], here: Mapping[str, Hashable]) -> list[str]:
    """The names that both have, with another value in each: `dog (1 there, 2 here)`."""
    return [
        f"{name} ({value} there, {here[name]} here)"
        for name, value in there.items()
        if name in here and here[name] != value
    ]


def drawn_otherwise(found: Found, data: ConfigDict) -> list[str]:
    """A message if masks are drawn from annotations with other ids than `data.class_names` has."""
    drawn = any(isinstance(item.mask, Drawn) for item in found.items)
    if not drawn or not found.classes:
        return []
    names = found.classes.names
    moved = moved_classes(_numbered(names), _numbered(data.class_names))
    if not moved:
        return []
    return [
        f"{data.root}: its annotations name the classes {_listed(names)}, and data.class_names is "
        f"{_listed(data.class_names)}: {_listed(moved)}; expected one order, since masks of other "
        "ids would be taken for other classes; give the annotations the classes of "
        "data.class_names in its order (LabelMe: a file labels.txt; COCO: categories; YOLO: names)"
    ]


def other_classes(data: ConfigDict) -> list[str]:
    """Compares the classes that a folder states with those of a config that was made for another.

    Args:
        data: `config.data`, whose `root` is the folder.

    Returns:
        A remark if the folder names other classes.

    Raises:
        DataError: a class has another id, value or color there: it would be taken for another.
    """
    if data.name != "folder" or not data.folder.format or not len(data.class_names):
        return []
    given = {f"folder.{key}": value for key, value in data.folder.items()}
    given |= {key: data[key] for key in ("labeled", "val", "test", "channels")}
    try:
        found = describe_folder(data.root, given)
    except DataError:
        return []  # reading the folder says what is wrong with it
    names, colored = tuple(found.get("class_names", ())), found.get("masks") in _BY_COLOR
    if not names or colored != (data.masks in _BY_COLOR):
        return []
    column = "palette" if colored else "mask_values"
    moved = moved_classes(
        _numbered(names, found.get(column, ())), _numbered(data.class_names, data[column])
    )
    if moved:
        raise DataError(
            f"{data.root}: its classes are {_listed(names)}, those of the run are "
            f"{_listed(data.class_names)}: {_listed(moved)}; its masks would be taken for other "
            "classes; expected the ids or colors of the run; bring the classes of that folder "
            "into the order of the run, and its masks with them"
        )
    others = [
        f"{name!r} is {data.class_names[index]!r} in the run"
        for index, name in enumerate(names[: len(data.class_names)])
        if name != data.class_names[index]
    ]
    return [f"{data.root} has other names of classes: {_listed(others)}"] if others else []


def renamed_classes(data: ConfigDict) -> list[str]:
    """A remark if the class file of a run's own folder says something else than `data.class_names`.

    Masks keep their ids, so that the names of the run still hold for masks that did not change.
    """
    # Annotations of other formats name their classes themselves.
    if data.name != "folder" or data.folder.format != "folders" or not len(data.class_names):
        return []
    try:
        with collecting_later():
            file = find_classes(scan(as_path(data.root).expanduser()))
    except DataError:
        return []
    names = tuple(file.names)
    if len(names) != len(data.class_names) or names == tuple(data.class_names):
        return []
    return [
        f"{file.path} names the classes {_listed(names)}; those of the run, "
        f"{_listed(data.class_names)}, are used"
    ]


def _numbered(names: Sequence[str], stored: Sequence[Any] = ()) -> dict[str, Hashable]:
    """Name to its color or stored value; without any, to its id."""
    values = [_plain(value) for value in stored] or list(range(len(names)))
    return dict(zip(names, values, strict=False))


def _plain(value: Any) -> Hashable:
    return tuple(map(int, value)) if isinstance(value, Sequence) else int(value)


def _listed(items: Sequence[str]) -> str:
    return ", ".join(items[:_SHOWN]) + (", …" if len(items) > _SHOWN else "")
