"""A color without a name that is the borders between classes, such as ISPRS's `_noBoundary`."""

import numpy as np

from ipixmatch_jax.data.files.file_records import record_names
from ipixmatch_jax.data.inspection.findings import WARNING, Finding
from ipixmatch_jax.data.records import Dataset
from ipixmatch_jax.errors import DataError

# Colors in which borders are drawn.
_COLORS = ("#000000", "#ffffff")
# Masks that are looked at, and those that must show the color.
_MOST, _LEAST = 12, 2
# A line is nowhere as wide as this, except where lines meet: share of its pixels.
_WIDE, _MEETING = 12, 0.05


def border_colors(dataset: Dataset) -> list[Finding]:
    """A warning if black or white, without a name, is thin lines alone in all masks."""
    names = tuple(dataset.class_names)
    if len(names) < 3 or not all(name.startswith("#") for name in names):
        return []
    masks = {}
    for index in range(min(len(dataset.labeled), _MOST)):
        try:
            masks[record_names(dataset.labeled, index)[-1]] = dataset.labeled[index]["mask"]
        except DataError:
            continue
    for name in set(_COLORS) & set(names):
        shown = {file: mask == names.index(name) for file, mask in masks.items()}
        shown = {file: own for file, own in shown.items() if own.any()}
        if len(shown) < _LEAST or any(_wide(own) > _MEETING * own.sum() for own in shown.values()):
            continue
        color = tuple(bytes.fromhex(name[1:]))
        file = next(iter(shown))
        text = (
            f"{file}, and {len(shown) - 1} other masks: color {name} is lines of less than {_WIDE} "
            "pixels alone, as borders between classes are drawn, and is a class; if it means "
            f"nothing, set data.ignore_colors=({color},)"
        )
        return [Finding(WARNING, "border-color", "labeled", file, text)]
    return []


def _wide(own: np.ndarray) -> int:
    """The pixels in runs of `_WIDE` or more along their row, and along their column, too."""
    return int((_in_long_runs(own) & _in_long_runs(own.T).T).sum())


def _in_long_runs(own: np.ndarray) -> np.ndarray:
    """True where a run of `_WIDE` or more pixels goes along the row."""
    padded = np.pad(own, ((0, 0), (1, 1))).ravel()
    change = np.flatnonzero(np.diff(padded.astype(np.int8)))
    starts, ends = change[::2] + 1, change[1::2] + 1
    lasting = ends - starts >= _WIDE
    marks = np.zeros(padded.size + 1, np.int32)
    np.add.at(marks, starts[lasting], 1)
    np.add.at(marks, ends[lasting], -1)
    return np.cumsum(marks)[:-1].reshape(len(own), -1)[:, 1:-1] > 0
