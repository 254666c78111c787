"""Class names of YOLO's data.yaml, and of Darknet's obj.names: the name of each id, from 0 on."""

import re
from typing import Any

from ipixmatch_jax.data.files.split_lists import decoded
from ipixmatch_jax.data.importers.contents import content
from ipixmatch_jax.errors import DataError

_EXPECTED = "expected a list, names: [cat, dog], or a name for each id, names: {0: cat, 1: dog}"


def read_yolo_names(path: str) -> tuple[str, ...]:
    """The class names of a YOLO data.yaml, or of an obj.names with one name per line.

    Returns:
        The name of each id from 0 on; '' for an id that the file leaves out. () if it states none.

    Raises:
        DataError: unreadable, or the names have another form.
    """
    try:
        text = decoded(content(path))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 ({error.reason}); save it as UTF-8") from None
    if path.endswith((".names", ".labels")):
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    try:
        return _of_yaml(text)
    except ValueError as error:
        raise DataError(f"{path}: cannot be read as class names ({error}); {_EXPECTED}") from None


def _of_yaml(text: str) -> tuple[str, ...]:
    import yaml

    try:
        # Every value as text: YAML takes the names no, off and 007 for False and 7.
        found = yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ValueError(re.sub(r"\s+", " ", str(error))) from None
    keys = {str(key).lower(): value for key, value in found.items()} \
        if isinstance(found, dict) else {}  # fmt: skip
    names = keys.get("names") or ()
    if isinstance(names, dict):
        return _by_id(names)
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"names is {names!r:.60}")
    return tuple(names)


def _by_id(names: dict[str, Any]) -> tuple[str, ...]:
    if all(isinstance(value, str) and value.isdecimal() for value in names.values()):
        if not all(key.isdecimal() for key in names):
            # {cat: 0, dog: 1}
            pairs = [(int(value), key) for key, value in names.items()]
            if len({number for number, _ in pairs}) < len(pairs):
                raise ValueError("two names have one id")
            names = {str(number): key for number, key in pairs}
    if not all(key.isdecimal() and isinstance(value, str) for key, value in names.items()):
        raise ValueError(f"names is {names!r:.60}")
    ids = {int(key): value for key, value in names.items()}
    return tuple(ids.get(number, "") for number in range(max(ids) + 1))
