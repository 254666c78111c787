"""A weak transform of one's own, `data.transform='module:function'`, and the checks of its results.

It gets the crop after scaling, rotation, padding and flips, and returns another one:

    def transform(image, mask, valid, rng):
        # image uint8 [h,w,C]; mask uint8 [h,w], or None without labels; valid bool [h,w]
        # rng: the numpy.random.Generator of this crop, the only source of random numbers
        return image, mask, valid

Results have the same shapes and dtypes. The mask keeps its values: it may move them or set 255.
"""

import functools
import inspect
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.registry import imported

_SIGNATURE = "function(image, mask, valid, rng) -> (image, mask, valid)"
_SEE = "see docs/data.md, A transform of your own"


@functools.cache
def find_transform(name: str) -> Callable | None:
    """The function that `package.module:function` names; None for an empty name.

    Raises:
        ConfigError: no such module or function, or one that does not take four arguments.
    """
    if not name:
        return None
    found = imported("data.transform", name, "package.module:function")
    if not callable(found):
        raise ConfigError(
            f"data.transform is {name!r}, of type {type(found).__name__}; expected {_SIGNATURE}; "
            f"{_SEE}"
        )
    try:
        inspect.signature(found).bind(*(None,) * 4)
    except TypeError as error:
        raise ConfigError(
            f"data.transform is {name!r}, which cannot be called as {_SIGNATURE}: {error}; {_SEE}"
        ) from error
    except ValueError:  # compiled code without a signature
        pass
    return found


def apply_transform(
    name: str, view: dict[str, np.ndarray], rng: np.random.Generator, image_id: str
) -> dict[str, np.ndarray]:
    """The view of a record after the transform; the view itself if there is none.

    Args:
        name: `data.transform`.
        view: `image` uint8 [h,w,C], `valid` bool [h,w] and, if labeled, `mask` uint8 [h,w]; the
            transform may overwrite the arrays.
        rng: the source of all random numbers.
        image_id: id of the record, for messages.

    Raises:
        ConfigError: the transform fails, or returns something else than it must.
    """
    function = find_transform(name)
    if function is None:
        return view
    where = f"data.transform={name!r} with image {image_id!r}"
    known = np.bincount(view["mask"].ravel(), minlength=256) > 0 if "mask" in view else None
    expected = {part: (a.shape, a.dtype) for part, a in view.items()}
    try:
        result = function(view["image"], view.get("mask"), view["valid"], rng)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigError(
            f"{where}: {type(error).__name__}: {error} ({place.filename}:{place.lineno})"
        ) from error
    if not isinstance(result, tuple | list) or len(result) != 3:
        raise ConfigError(
            f"{where} returned {_told(result)}; expected three values, image, mask and valid; "
            f"{_SEE}"
        )
    found = dict(zip(("image", "mask", "valid"), result, strict=True))
    if "mask" not in view and found.pop("mask") is not None:
        raise ConfigError(
            f"{where} returned a mask, but the image is unlabeled: mask is None; return it as None"
        )
    for part, (shape, dtype) in expected.items():
        _check_array(f"{where} returned {part}", found[part], shape, dtype)
    found = {part: np.ascontiguousarray(found[part]) for part in view}
    if known is not None:
        _check_values(where, found["mask"], known)
        found["mask"] = np.where(found["valid"], found["mask"], np.uint8(IGNORE))
    return found


def _told(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.dtype} {list(value.shape)}"
    size = f" of {len(value)}" if isinstance(value, tuple | list | dict) else ""
    return f"a {type(value).__name__}{size}"


def _check_array(what: str, array: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if not isinstance(array, np.ndarray) or (array.shape, array.dtype) != (shape, dtype):
        fix = "return the crop at its own size"
        if isinstance(array, np.ndarray) and array.shape == shape:
            fix = f"convert it with .astype({str(dtype)!r})"
        raise ConfigError(
            f"{what} as {_told(array)}; expected an array {dtype} {list(shape)}; {fix}"
        )


def _check_values(where: str, mask: np.ndarray, known: np.ndarray) -> None:
    new = np.flatnonzero((np.bincount(mask.ravel(), minlength=256) > 0) & ~known)
    new = [int(value) for value in new if value != IGNORE]
    if new:
        raise ConfigError(
            f"{where} returned a mask with the values {new[:6]}, which the crop did not have; "
            "expected class ids of the crop, or 255; interpolate masks by nearest neighbor"
        )


def check_repeatable(name: str, view_of: Callable[[int], dict[str, np.ndarray]]) -> None:
    """Makes a few views twice and compares them.

    Args:
        name: `data.transform`.
        view_of: makes the view of a position; the same random numbers each time.

    Raises:
        ConfigError: two views of one position differ.
    """
    for position in range(4):
        first, second = view_of(position), view_of(position)
        differing = [part for part in first if not np.array_equal(first[part], second[part])]
        if differing:
            raise ConfigError(
                f"data.transform={name!r} returned another {differing[0]} when it was called "
                "again with the same crop and random numbers; expected a function of its "
                "arguments, so that a run can be resumed and repeated; draw every random number "
                f"from rng, and keep nothing between calls; {_SEE}"
            )
