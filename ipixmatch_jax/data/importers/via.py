"""VGG Image Annotator: via_region_data.json, its CSV, and project files of VIA 1 and 2."""

import csv
import json
import math

from ipixmatch_jax.data.files.split_lists import decoded
from ipixmatch_jax.data.importers.annotations import Sheet, collect
from ipixmatch_jax.data.importers.contents import check_json, content, head, json_with, read_json
from ipixmatch_jax.data.importers.found import Choices, Found, some
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError

_KEYS = {"filename", "regions"}


class Via:
    """VIA's JSON and CSV."""

    name = "via"
    source = "VGG Image Annotator (VIA 1 and 2)"

    def sniff(self, tree: FolderTree) -> str:
        named = [*json_with(tree, _KEYS), *tree.with_ending(".csv")][:50]
        files = [path for path in named if _entries(tree, path)]
        return f"filename and regions in {some(files, 3)}" if files else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        sheets, attributes, unnamed = [], set(), []
        check_json(tree, _KEYS)
        jsons = [path for path in json_with(tree, _KEYS) if _entries(tree, path)]
        # A CSV next to a JSON is the same export once more, unless it has images of its own.
        named = {entry["filename"] for path in jsons for entry in _entries(tree, path)}
        for path in [*jsons, *tree.with_ending(".csv")]:
            for entry in _entries(tree, path):
                if path not in jsons and entry["filename"] in named:
                    continue
                regions = entry["regions"]
                regions = list(regions.values()) if isinstance(regions, dict) else regions
                attributes |= {key for r in regions for key in r.get("region_attributes", {})}
                full = tree.path("", path)
                shapes = [(_label(r, full, entry["filename"]), _shape(r, full)) for r in regions]
                unnamed += [entry["filename"]] * any(
                    not r.get("region_attributes") for r in regions
                )
                sheets.append(Sheet(path, entry["filename"], None, shapes, known=bool(shapes)))
        if len(attributes) > 1:
            raise DataError(
                f"{tree.root}: regions have {len(attributes)} attributes: "
                f"{some(sorted(attributes))}; expected one, the class; remove the others in VIA"
            )
        if attributes and unnamed:
            raise DataError(
                f"{tree.root}: regions of {len(unnamed)} images, such as {unnamed[0]}, have no "
                f"attribute, others have {min(attributes)}; expected a class for each region; set "
                "it in VIA, or remove those regions"
            )
        return collect(tree, sheets, None, choices)


def _entries(tree: FolderTree, path: str) -> list[dict]:
    if path.lower().endswith(".csv"):
        return _rows(tree.path("", path))
    try:
        project = read_json(tree.path("", path))
    except DataError:
        return []
    project = project.get("_via_img_metadata", project) if isinstance(project, dict) else {}
    values = list(project.values()) if isinstance(project, dict) else []
    fits = values and all(isinstance(value, dict) and value.keys() >= _KEYS for value in values)
    return values if fits else []


def _rows(path: str) -> list[dict]:
    """The entries of VIA's CSV: one row per region, or one per image without any."""
    if b"region_shape_attributes" not in head(path, 500):
        return []
    entries: dict[str, dict] = {}
    try:
        lines = [line.removeprefix("#") for line in decoded(content(path)).splitlines()]
        # Comments of VIA 3 begin with #, its column names too. Excel may write semicolons.
        separator = ";" if lines[0].count(";") > lines[0].count(",") else ","
        for row in csv.DictReader(lines, delimiter=separator):
            entry = entries.setdefault(
                row["filename"], {"filename": row["filename"], "regions": []}
            )
            shape = json.loads(row["region_shape_attributes"] or "{}")
            if shape:
                attributes = json.loads(row["region_attributes"] or "{}")
                entry["regions"].append(
                    {"shape_attributes": shape, "region_attributes": attributes}
                )
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as VIA's CSV ({error}); export it again") from None
    return list(entries.values())


def _label(region: dict, path: str, image: str) -> str:
    values = region.get("region_attributes") or {}
    if not values:
        return "object"
    label = next(iter(values.values()))
    if isinstance(label, dict):
        chosen = [name for name, on in label.items() if on]
        label = chosen[0] if len(chosen) == 1 else ""
    if not isinstance(label, str) or not label:
        raise DataError(
            f"{path}, image {image}: a region without a class, or with several; set its attribute "
            "in VIA"
        )
    return label


def _shape(region: dict, path: str) -> dict:
    shape = region.get("shape_attributes", {})
    kind = shape.get("name")
    try:
        if kind in ("polygon", "polyline"):
            points = zip(shape["all_points_x"], shape["all_points_y"], strict=True)
            return {"kind": "polygon", "points": [list(point) for point in points]}
        if kind == "rect":
            x, y = shape["x"], shape["y"]
            corner = [x + shape["width"], y + shape["height"]]
            return {"kind": "rectangle", "points": [[x, y], corner]}
        if kind == "circle":
            radii = [shape["r"], shape["r"]]
            return {"kind": "ellipse", "center": [shape["cx"], shape["cy"]], "radii": radii}
        if kind == "ellipse":
            return {"kind": "ellipse", "center": [shape["cx"], shape["cy"]],
                    "radii": [shape["rx"], shape["ry"]],
                    "angle": math.degrees(shape.get("theta", 0.0))}  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: a {kind} lacks {error}; export the annotations again") from None
    raise DataError(f"{path}: shape {kind!r} has no area; expected polygon, rect, circle, ellipse")
