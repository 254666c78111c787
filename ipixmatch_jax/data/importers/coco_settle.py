"""COCO JSON as other programs and people write it, brought to the form of COCO 2017.

Ids as texts, polygons as pairs of numbers or without the outer list, and areas as texts have one
meaning. Two categories of one id, categories without a name and images without a size have none.
"""

from typing import Any

import numpy as np

from ipixmatch_jax.errors import DataError


def settle(content: dict, path: str) -> None:
    """Changes ids, regions and areas of an instances file to those of COCO 2017.

    Args:
        content: the file.
        path: its name, for messages.

    Raises:
        DataError: a category has no name of its own, or an image no size.
    """
    try:
        for image in content["images"]:
            image["id"] = _number(image["id"])
            for key in ("height", "width"):
                if image.get(key) is not None and int(image[key]) <= 0:
                    raise DataError(
                        f"{path}: image {image.get('file_name')} has {key} {image[key]}; expected "
                        "the size of the image in pixels; write it there, or export again"
                    )
        _settle_categories(content["categories"], path)
        for annotation in content["annotations"]:
            for key in ("image_id", "category_id"):
                annotation[key] = _number(annotation.get(key))
            annotation["area"] = _area(annotation.get("area"))
            _settle_region(annotation)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: no COCO annotations: {type(error).__name__} {error}; expected lists of "
            "images, annotations and categories; export them again"
        ) from None


def _number(value: Any) -> Any:
    """A number that is written as text, such as the id "7" of a table; other ids as they are."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def _settle_categories(categories: list[dict], path: str) -> None:
    names: dict[Any, str] = {}
    for entry in categories:
        entry["id"] = _number(entry["id"])
        if entry.get("name") is None or not str(entry["name"]).strip():
            raise DataError(
                f"{path}: category {entry['id']} has no name; expected the name of a class; write "
                "it in `categories`"
            )
        name = str(entry["name"])
        if names.setdefault(entry["id"], name) != name:
            raise DataError(
                f"{path}: category {entry['id']} is {names[entry['id']]!r} and {name!r}; expected "
                "an id of its own for each category; renumber one of them, and its annotations"
            )


def _area(value: Any) -> float | None:
    """The area of an annotation; None if it is no number, so that the pixels are counted."""
    try:
        area = float(value)
    except (TypeError, ValueError):
        return None
    return area if np.isfinite(area) and area > 0 else None


def _settle_region(annotation: dict) -> None:
    """Gives polygons the form [[x, y, x, y, ...], ...], and leaves out those without an area."""
    drawn = annotation.get("segmentation")
    if not isinstance(drawn, list) or not drawn:
        return
    if all(isinstance(value, int | float) for value in drawn):
        drawn = [drawn]
    elif len(drawn) > 2 and all(_is_point(one) for one in drawn):
        drawn = [[value for point in drawn for value in point]]
    drawn = [
        [value for point in one for value in point]
        if isinstance(one, list) and one and all(_is_point(point) for point in one)
        else one
        for one in drawn
    ]
    kept = [one for one in drawn if not isinstance(one, list) or len(one) >= 6]
    if drawn and not kept:
        values = [float(value) for one in drawn for value in one]
        if len(values) >= 2 and not annotation.get("bbox"):
            left, top = min(values[::2]), min(values[1::2])
            size = [max(values[::2]) - left, max(values[1::2]) - top]
            annotation["bbox"] = [left, top, *size]
    annotation["segmentation"] = kept


def _is_point(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(one, int | float) for one in value)
    )
