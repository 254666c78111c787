"""Datumaro's own format: annotations/SUBSET.json with items, images/SUBSET/…

Written for Datumaro 1.x (and CVAT's export "Datumaro 1.0"). Run lengths are those of COCO.
"""

import numpy as np

from ipixmatch_jax.data.importers import names as folder_names
from ipixmatch_jax.data.importers.annotations import Sheet, collect
from ipixmatch_jax.data.importers.coco_regions import draw_annotations
from ipixmatch_jax.data.importers.contents import json_with, read_json
from ipixmatch_jax.data.importers.found import Choices, Found, some
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError

_KEYS = ("items", "categories", "annotations", "label")
# Annotations without an area.
_NO_AREA = ("label", "caption", "points", "polyline", "cuboid_3d")


class Datumaro:
    """Datumaro's JSON."""

    name = "datumaro"
    source = "Datumaro JSON (1.x)"

    def sniff(self, tree: FolderTree) -> str:
        files = json_with(tree, _KEYS)
        return f"items with annotations in {some(files, 3)}" if files else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        sheets: list[Sheet] = []
        labels: list[str] = []
        skipped: dict[str, int] = {}
        for path in json_with(tree, _KEYS):
            full = tree.path("", path)
            content = read_json(full)
            try:
                names = [str(one["name"]) for one in content["categories"]["label"]["labels"]]
                labels += [name for name in names if name not in labels]
                subset = path.rpartition("/")[2].rpartition(".")[0]
                for item in content["items"]:
                    sheets.append(_sheet(path, item, names, folder_names.split(subset), skipped))
            except (KeyError, TypeError, ValueError, IndexError) as error:
                raise DataError(
                    f"{full}: no Datumaro items: {type(error).__name__} {error}; expected id, "
                    "image and annotations with label_id; export them again"
                ) from None
        if skipped:
            counts = ", ".join(f"{n} {kind}" for kind, n in sorted(skipped.items()))
            if not any(sheet.shapes for sheet in sheets):
                raise DataError(
                    f"{tree.root}: the annotations have no area ({counts}); expected polygons or "
                    "masks; export segmentation"
                )
        found = collect(tree, sheets, labels, choices)
        if skipped:
            found.warnings.append(f"annotations without an area are left out: {counts}")
        return found


def _sheet(path: str, item: dict, names: list[str], split: str, skipped: dict[str, int]) -> Sheet:
    image = item.get("image") or item.get("media") or {}
    size = tuple(int(v) for v in image["size"]) if image.get("size") else None
    shapes = []
    found = item["annotations"]
    for one in sorted(found, key=lambda one: one.get("z_order", 0)):
        kind = one["type"]
        if kind in _NO_AREA or kind == "bbox":
            skipped[kind] = skipped.get(kind, 0) + 1
            continue
        if one["label_id"] is None or not 0 <= one["label_id"] < len(names):
            raise ValueError(
                f"label_id {one['label_id']} of {item['id']}, with {len(names)} labels"
            )
        shapes.append((names[one["label_id"]], _shape(kind, one, size)))
    # An image without regions is not labeled; see data.folder.unannotated.
    name = image.get("path") or str(item["id"])
    return Sheet(path, name, size, shapes, split, known=bool(shapes))


def _shape(kind: str, one: dict, size: tuple[int, ...] | None) -> dict:
    if kind == "polygon":
        points = np.reshape(one["points"], (-1, 2)).tolist()
        return {"kind": "polygon", "points": points}
    if kind == "ellipse":
        x0, y0, x1, y1 = one["points"]
        # CVAT writes the turn of a shape as an attribute.
        angle = float((one.get("attributes") or {}).get("rotation") or 0.0)
        return {"kind": "ellipse", "center": [(x0 + x1) / 2, (y0 + y1) / 2],
                "radii": [abs(x1 - x0) / 2, abs(y1 - y0) / 2], "angle": angle}  # fmt: skip
    if kind == "mask":
        rle = one["rle"]
        height, width = (int(v) for v in rle["size"])
        annotation = {"id": one.get("id"), "category_id": 0, "segmentation": rle}
        pixels = draw_annotations((height, width), [annotation], {0: 1}) > 0
        return {"kind": "mask", "pixels": pixels, "at": (0, 0)}
    raise ValueError(f"annotation {kind!r}; expected polygon, mask or ellipse")
