"""ISAT's JSON, one file per image: polygons with a category and a layer.

Written for ISAT with Segment Anything 0.x and 1.x. Higher layers cover lower ones; the category
`__background__` is class 0. The classes are those of `isat.yaml`, if it is there.
"""

from typing import Any

from ipixmatch_jax.data.importers.annotations import Sheet
from ipixmatch_jax.data.importers.contents import check_json, content, json_with, read_json
from ipixmatch_jax.data.importers.found import Choices, Found, some
from ipixmatch_jax.data.importers.own_names import collect_by_names
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError

_KEYS = ("info", "objects")


class Isat:
    """ISAT's JSON files."""

    name = "isat"
    source = "ISAT JSON (ISAT with Segment Anything)"

    def sniff(self, tree: FolderTree) -> str:
        files = [path for path in json_with(tree, _KEYS)[:20] if _read(tree, path)]
        return f"info and objects of ISAT in {some(files, 3)}" if files else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        check_json(tree, _KEYS)
        sheets = []
        for path in json_with(tree, _KEYS):
            found = _read(tree, path)
            if found:
                sheets.append(_sheet(path, found, tree.path("", path)))
        return collect_by_names(
            tree, sheets, _names(tree) or None, choices, tool="ISAT", key="info.name"
        )


def _read(tree: FolderTree, path: str) -> dict[str, Any]:
    """The content of a file of ISAT; {} for other JSON."""
    try:
        found = read_json(tree.path("", path))
    except DataError:
        return {}
    info = found.get("info") if isinstance(found, dict) else None
    ours = isinstance(info, dict) and str(info.get("description", "")).upper() == "ISAT"
    return found if ours else {}


def _sheet(source: str, found: dict, path: str) -> Sheet:
    try:
        info = found["info"]
        objects = sorted(found["objects"], key=lambda one: float(one.get("layer") or 0.0))
        shapes = [
            (str(one["category"]), {"kind": "polygon", "points": one["segmentation"]})
            for one in objects
        ]
        return Sheet(source, str(info["name"]), (int(info["height"]), int(info["width"])), shapes)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: no ISAT file: {type(error).__name__} {error}; save it again in ISAT"
        ) from None


def _names(tree: FolderTree) -> list[str]:
    """The categories of isat.yaml, in its order."""
    import yaml

    for path in tree.with_ending("isat.yaml"):
        try:
            labels = yaml.safe_load(content(tree.path("", path)))["label"]
            return [str(label["name"]) for label in labels]
        except (yaml.YAMLError, KeyError, TypeError, ValueError):
            raise DataError(
                f"{tree.path('', path)}: no categories of ISAT; expected `label` with a list of "
                "names; save it again in ISAT, or remove it"
            ) from None
    return []
