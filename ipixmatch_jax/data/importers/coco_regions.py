"""Regions of COCO annotations as class ids, decoded by pycocotools (extra `coco`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ipixmatch_jax.errors import DataError


def draw_annotations(
    size: tuple[int, int],
    annotations: Sequence[dict],
    class_of: Mapping[int, int],
) -> np.ndarray:
    """Draws the instances of one image: polygons and run lengths to class ids, uint8 [H,W].

    Crowds are drawn first, then instances from the largest to the smallest, so that small ones
    stay visible.

    Args:
        size: (H, W).
        annotations: entries of `annotations` in an instances file.
        class_of: category id -> class id.

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
            if not all(np.isfinite(polygon).all() for polygon in polygons):
                raise ValueError("a point is not finite")
            runs = coco.merge(coco.frPyObjects(polygons, height, width))
        return coco.decode(runs).astype(bool)
    except Exception as error:  # the C extension raises bare Exceptions
        raise DataError(
            f"annotation {annotation.get('id')}: segmentation cannot be decoded ({error}); "
            "export the annotations again"
        ) from None
