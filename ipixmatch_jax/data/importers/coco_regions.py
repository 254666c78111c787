"""Regions of COCO annotations as class ids, decoded by pycocotools (extra `coco`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ipixmatch_jax.errors import DataError

# Annotations whose regions are compared with their boxes; pixels by which they may differ.
_COMPARED, _LEAST_EXCHANGED, _FAR = 200, 3, 3.0
# An outline so many times as long as that of the same pixels in another order is none.
_RAGGED = 2
# Difference of two equal areas, as a share of the object.
_SAME_AREA = 0.05


def draw_annotations(
    size: tuple[int, int],
    annotations: Sequence[dict],
    class_of: Mapping[int, int],
) -> np.ndarray:
    """Draws the instances of one image: polygons and run lengths to class ids, uint8 [H,W].

    Crowds are drawn first, then instances from the largest to the smallest, so that small ones
    stay visible. Where `area` is missing or 0, as converters leave it, the pixels are counted.

    Args:
        size: (H, W).
        annotations: entries of `annotations` in an instances file.
        class_of: category id -> class id.

    Raises:
        DataError: pycocotools is not installed, a category is unknown, or a region is damaged.
    """
    mask = np.zeros(size, np.uint8)
    order = sorted(annotations, key=lambda a: (not a.get("iscrowd", 0), -_area(a, size)))
    for annotation in order:
        category = annotation["category_id"]
        if category not in class_of:
            raise DataError(
                f"annotation {annotation.get('id')}: category_id {category} is not in "
                "`categories`; add the category or remove the annotation"
            )
        mask[_region(annotation, size)] = class_of[category]
    return mask


def _area(annotation: dict, size: tuple[int, int]) -> float:
    return annotation.get("area") or float(_region(annotation, size).sum())


def check_boxes(annotations: Sequence[dict], path: str) -> None:
    """Raises a DataError if regions fit their boxes only with rows and columns exchanged.

    Args:
        annotations: entries of `annotations` in an instances file.
        path: the file, for messages.
    """
    exchanged, first, compared = 0, None, 0
    for annotation in annotations[:: max(1, len(annotations) // _COMPARED)]:
        found, stated = _bounds(annotation), annotation.get("bbox")
        if found is None or not stated or len(stated) != 4:
            continue
        box, turned = found
        left, top, width, height = map(float, stated)
        own = np.array([left, top, left + width, top + height])
        compared += 1
        if np.abs(box - own).max() > _FAR and np.abs(turned - own).max() <= _FAR:
            exchanged, first = exchanged + 1, first or annotation
    if first and exchanged > 0.5 * compared and exchanged >= _LEAST_EXCHANGED:
        raise DataError(
            f"{path}: annotation {first.get('id')}, and {exchanged - 1} others of {compared} "
            f"compared: the region fits its bbox {first['bbox']} only if rows and columns are "
            "exchanged; expected polygons as x, y, and run lengths that go down the columns; "
            "export the annotations again"
        )


def _bounds(annotation: dict) -> tuple[np.ndarray, np.ndarray] | None:
    """The box of a region (left, top, right, bottom), as COCO defines it and exchanged."""
    drawn: Any = annotation.get("segmentation")
    try:
        if isinstance(drawn, dict):
            mask, turned = _both_ways(drawn)
            return _box_of(mask), _box_of(turned)
        points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in drawn])
        box = np.concatenate([points.min(0), points.max(0)]).astype(float)
        return box, box[[1, 0, 3, 2]]
    except Exception:  # damaged regions are reported when they are drawn
        return None


def _both_ways(drawn: dict) -> tuple[np.ndarray, np.ndarray]:
    """Run lengths as bool [H,W]: down the columns as COCO defines it, and along the rows."""
    height, width = map(int, drawn["size"])
    if isinstance(drawn["counts"], list):
        counts = drawn["counts"]
        flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    else:
        from pycocotools import mask as coco

        flat = coco.decode(drawn).astype(bool).T.ravel()
    return flat.reshape(width, height).T, flat.reshape(height, width)


def check_runs(annotations: Sequence[dict], path: str) -> None:
    """Raises a DataError if run lengths without boxes give whole regions only along the rows.

    Args:
        annotations: entries of `annotations` in an instances file.
        path: the file, for messages.
    """
    bare = [
        one for one in annotations
        if isinstance(one.get("segmentation"), dict) and not one.get("bbox")
    ]  # fmt: skip
    bare = bare[:: max(1, len(bare) // _COMPARED)]
    ragged = []
    for one in bare:
        try:
            mask, turned = _both_ways(one["segmentation"])
        except Exception:  # damaged regions are reported when they are drawn
            continue
        if _outline(mask) > _RAGGED * _outline(turned):
            ragged.append(one)
    if len(ragged) >= _LEAST_EXCHANGED and len(ragged) > 0.5 * len(bare):
        raise DataError(
            f"{path}: annotation {ragged[0].get('id')}, and {len(ragged) - 1} others of "
            f"{len(bare)} compared: the run lengths give whole regions along the rows, and "
            "scattered pixels down the columns; expected run lengths that go down the columns; "
            "export the annotations again"
        )


def _outline(mask: np.ndarray) -> int:
    """The number of neighboring pixels that differ."""
    return int((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum())


def _box_of(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)


def _has_holes(parts: list, whole: Any, area: Any) -> bool:
    """True if some polygons of an object lie in others, and its area leaves them out.

    COCO unites the polygons of an object, but some tools write holes as further polygons.
    """
    from pycocotools import mask as coco

    if len(parts) < 2 or not isinstance(area, int | float) or area <= 0:
        return False
    union = float(coco.area(whole))
    if union <= area or float(coco.area(parts).sum()) <= union:
        return False
    odd = float((coco.decode(parts).sum(-1) % 2 == 1).sum())
    return abs(odd - area) < abs(union - area) and abs(odd - area) <= _SAME_AREA * union


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
            parts = coco.frPyObjects(polygons, height, width)
            runs = coco.merge(parts)
            if _has_holes(parts, runs, annotation.get("area")):
                return coco.decode(parts).sum(-1) % 2 == 1
        return coco.decode(runs).astype(bool)
    except Exception as error:  # the C extension raises bare Exceptions
        raise DataError(
            f"annotation {annotation.get('id')}: segmentation cannot be decoded ({error}); "
            "export the annotations again"
        ) from None
