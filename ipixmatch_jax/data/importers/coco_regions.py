"""Regions of COCO annotations as class ids, decoded by pycocotools (extra `coco`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ipixmatch_jax.data.importers.drawing import signed_area
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


def _has_holes(polygons: list, parts: list, whole: Any, annotation: dict) -> bool:
    """True if some polygons of an object lie in others, and are holes.

    COCO unites the polygons of an object, but some tools write holes as further polygons: then the
    area leaves them out, or, without an area, they run the other way round, as those of OpenCV do.
    """
    from pycocotools import mask as coco

    if len(parts) < 2:
        return False
    area, union = _stated_area(annotation), float(coco.area(whole))
    if area is None:
        inner = _nested(parts)
        turns = [(signed_area(polygons[i]) > 0, signed_area(polygons[j]) > 0) for i, j in inner]
        return bool(turns) and all(one != other for one, other in turns)
    if union <= area or float(coco.area(parts).sum()) <= union:
        return False
    odd = float((coco.decode(parts).sum(-1) % 2 == 1).sum())
    return abs(odd - area) < abs(union - area) and abs(odd - area) <= _SAME_AREA * union


def _stated_area(annotation: dict) -> float | None:
    """The area of an annotation; None if it is missing, or that of the box."""
    area, box = annotation.get("area"), annotation.get("bbox") or ()
    if not isinstance(area, int | float) or area <= 0:
        return None
    return None if len(box) == 4 and abs(area - box[2] * box[3]) <= 1 else area


def _nested(parts: list) -> list[tuple[int, int]]:
    """(inner, outer) of the run lengths that lie wholly in others."""
    from pycocotools import mask as coco

    areas = coco.area(parts)
    return [
        (i, j)
        for i in range(len(parts))
        for j in range(len(parts))
        if 0 < areas[i] < areas[j] and coco.area(coco.merge([parts[i], parts[j]])) == areas[j]
    ]


def doubtful_holes(content: dict) -> list[str]:
    """A warning about polygons inside others of an object that may be holes; [] without any.

    Args:
        content: an instances file.
    """
    try:
        from pycocotools import mask as coco
    except ImportError:
        # Said when the regions are drawn.
        return []
    sizes = {image["id"]: (image.get("height"), image.get("width")) for image in content["images"]}
    several = [
        one for one in content["annotations"]
        if isinstance(one.get("segmentation"), list) and len(one["segmentation"]) > 1
        and _stated_area(one) is None
    ]  # fmt: skip
    several = several[:: max(1, len(several) // _COMPARED)]
    found = []
    for one in several:
        try:
            height, width = map(int, sizes[one["image_id"]])
            parts = coco.frPyObjects(one["segmentation"], height, width)
            whole = coco.merge(parts)
            if _nested(parts) and not _has_holes(one["segmentation"], parts, whole, one):
                found.append(one.get("id"))
        except Exception:  # damaged regions are reported when they are drawn
            continue
    if not found:
        return []
    return [
        f"{len(found)} of {len(several)} objects of several polygons, such as annotation {found[0]}"
        ", have polygons inside others, and no area tells whether they are holes; they are not "
        "left out; write `area`, or run lengths, which know holes"
    ]


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
            if _has_holes(polygons, parts, runs, annotation):
                return coco.decode(parts).sum(-1) % 2 == 1
        return coco.decode(runs).astype(bool)
    except Exception as error:  # the C extension raises bare Exceptions
        raise DataError(
            f"annotation {annotation.get('id')}: segmentation cannot be decoded ({error}); "
            "export the annotations again"
        ) from None
