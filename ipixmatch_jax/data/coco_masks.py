"""Class-id masks from COCO annotations: python -m ipixmatch_jax.data.coco_masks ROOT

ROOT holds annotations/instances_train2017.json and instances_val2017.json; masks/ID.png is written
for every image. Regions are decoded by pycocotools, COCO's own library (extra `coco`).
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ipixmatch_jax.data.datasets.coco import CATEGORY_IDS, PARTS
from ipixmatch_jax.errors import DataError, UserError, exit_code

_CLASS_OF = {category: index for index, category in enumerate(CATEGORY_IDS, start=1)}


def rasterize(
    size: tuple[int, int],
    annotations: Sequence[dict],
    class_of: Mapping[int, int] = _CLASS_OF,
) -> np.ndarray:
    """Draws the instances of one image: polygons and run lengths to class ids, uint8 [H,W].

    Crowds are drawn first, then instances from the largest to the smallest, so that small ones
    stay visible.

    Args:
        size: (H, W).
        annotations: entries of `annotations` in an instances file.
        class_of: category id -> class id; by default COCO's 80 categories to 1..80.

    Raises:
        DataError: pycocotools is not installed, a category is unknown, or a region is damaged.
    """
    mask = np.zeros(size, np.uint8)
    order = sorted(annotations, key=lambda a: (not a.get("iscrowd", 0), -(a.get("area") or 0.0)))
    for annotation in order:
        category = annotation["category_id"]
        if category not in class_of:
            raise DataError(
                f"annotation {annotation.get('id')}: category_id {category} is not in "
                "`categories`; add the category or remove the annotation"
            )
        mask[_region(annotation, size)] = class_of[category]
    return mask


def _region(annotation: dict, size: tuple[int, int]) -> np.ndarray:
    """The pixels of one annotation, bool [H,W]."""
    try:
        from pycocotools import mask as coco
    except ImportError:
        raise DataError(
            "COCO annotations need pycocotools; run: pip install 'ipixmatch-jax[coco]'"
        ) from None
    drawn: Any = annotation.get("segmentation")
    height, width = size
    try:
        if isinstance(drawn, dict):
            if tuple(drawn["size"]) != (height, width):
                raise ValueError(f"run lengths of size {drawn['size']}, image {[height, width]}")
            runs = drawn
            if isinstance(drawn["counts"], list):
                if sum(drawn["counts"]) != height * width:
                    raise ValueError("run lengths do not add up to the image")
                runs = coco.frPyObjects(drawn, height, width)
        else:
            polygons = [polygon for polygon in drawn or () if len(polygon) >= 6]
            if not polygons:
                return np.zeros(size, bool)
            runs = coco.merge(coco.frPyObjects(polygons, height, width))
        return coco.decode(runs).astype(bool)
    except Exception as error:  # the C extension raises bare Exceptions
        raise DataError(
            f"annotation {annotation.get('id')}: segmentation cannot be decoded ({error}); "
            "export the annotations again"
        ) from None


def make_masks(root: Path) -> int:
    """Writes `masks/ID.png` for every image of both instances files; returns the number written.

    Raises:
        DataError: the annotations are missing or damaged.
    """
    written = 0
    (root / "masks").mkdir(exist_ok=True)
    for part in PARTS:
        path = root / "annotations" / f"instances_{part}.json"
        try:
            content = json.loads(path.read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise DataError(
                f"{path}: cannot be read ({error}); expected COCO's annotations"
            ) from None
        of_image: dict[int, list[dict]] = {}
        for annotation in content["annotations"]:
            of_image.setdefault(annotation["image_id"], []).append(annotation)
        for image in content["images"]:
            size = (image["height"], image["width"])
            mask = rasterize(size, of_image.get(image["id"], []))
            stem = Path(image["file_name"]).stem
            Image.fromarray(mask).save(root / "masks" / f"{stem}.png")
            written += 1
    return written


def main(arguments: Sequence[str]) -> int:
    """Writes the masks of one root; returns 0, or 2 for a user error."""
    if len(arguments) != 1:
        print("usage: python -m ipixmatch_jax.data.coco_masks ROOT", file=sys.stderr)
        return 2
    try:
        print(f"{make_masks(Path(arguments[0]))} masks written")
    except UserError as error:
        return exit_code(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
