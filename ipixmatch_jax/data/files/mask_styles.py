"""Mask styles: functions from a stored mask to class ids, by the value of `data.masks`."""

import functools
from collections.abc import Callable
from typing import Protocol

import numpy as np

from ipixmatch_jax.data.files.mask_checks import SHOWN, counts_of, histogram_text
from ipixmatch_jax.data.files.stored_masks import StoredMask
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError

Color = tuple[int, int, int]

# Gray values up to _DARK are certainly background, and from _BRIGHT on certainly foreground.
_DARK, _BRIGHT, _THRESHOLD = 64, 192, 128
# Values up to this one may be class ids.
_NO_IDS = 8
# Channels of a gray JPEG differ by no more than this.
_CHROMA_NOISE = 24
# A color belongs to the nearest class if the second nearest is more than twice as far away.
_CLEAR = 0.5
_UNKNOWN = -1


class Reader(Protocol):
    """The facts about a data set's masks that a style needs; see `masks.Masks`."""

    num_classes: int
    colors: tuple[tuple[Color, int], ...] | None
    palette: tuple[Color, ...]
    values: tuple[int, ...]
    ignored: tuple[int, ...]


Style = Callable[[StoredMask, Reader, str], np.ndarray]


def ids_of(stored: StoredMask, reader: Reader, name: str) -> np.ndarray:
    """Class ids as they are stored, or the positions of the stored values in `reader.values`.

    Three equal channels count as one. Missing data becomes 255: NaN, a single negative value, the
    largest value of a type of 16 bits or more, and the value of GDAL's no-data tag except 0.
    """
    if stored.lossy:
        raise DataError(
            f"{name}: a {stored.lossy}; its compression changes class ids at every edge; expected "
            "a PNG; make the mask again without lossy compression, or set data.masks=binary if it "
            "holds background and foreground alone"
        )
    _refuse_alpha(stored, name)
    values = stored.gray
    if values is None:
        raise DataError(
            f"{name}: pixel format 'RGB'; expected one 8-bit channel of class ids (gray or palette "
            "PNG); if its colors are the classes, set data.masks='colors' and data.palette, or "
            "convert the mask to class ids"
        )
    _check_palette(stored, reader, name)
    integers = whole_numbers(values, stored.nodata, name)
    ignored = np.isin(integers, reader.ignored) if reader.ignored else None
    if reader.values:
        if ignored is None:
            return _positions(integers, reader.values, name)
        # Not by 255, which may be the value of a class.
        kept = np.where(ignored, reader.values[0], integers.astype(np.int64))
        return np.where(ignored, np.uint8(IGNORE), _positions(kept, reader.values, name))
    if ignored is not None:
        integers = np.where(ignored, np.array(IGNORE, integers.dtype), integers)
    if integers.dtype != np.uint8:
        low, high = int(integers.min()), int(integers.max())
        if low < 0 or high > IGNORE:
            raise DataError(
                f"{name}: mask value {low if low < 0 else high}; expected 8-bit class ids, with "
                f"{IGNORE} for ignore; renumber the masks, or set data.mask_values to the stored "
                f"value of each class; it holds {histogram_text(counts_of(integers))}"
            )
    return integers.astype(np.uint8)


def whole_numbers(values: np.ndarray, nodata: float | None, name: str) -> np.ndarray:
    """Stored numbers [H,W] as integers, with 255 for missing data; uint8 stays uint8.

    Raises:
        DataError: some numbers are not whole, or several different ones are negative.
    """
    if values.dtype == bool:
        return values.astype(np.uint8)
    missing = values == nodata if nodata else None
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        if not (values[finite] == np.rint(values[finite])).all():
            with np.errstate(over="ignore"):
                rounded = counts_of(values[finite].round(3))
            raise DataError(
                f"{name}: {values.dtype} values that are not whole numbers; expected class ids; it "
                f"holds {histogram_text(rounded)}; save class ids, not scores or scaled values"
            )
        missing = ~finite if missing is None else missing | ~finite
        values = np.where(finite, values, 0).astype(np.int64)
    elif values.dtype.itemsize > 1 and values.dtype.kind == "u":
        top = values == np.iinfo(values.dtype).max
        rest = values[~top]
        if top.any() and rest.size and rest.any() and rest.max() <= IGNORE:
            missing = top if missing is None else missing | top
    if values.dtype.kind == "i":
        negative = values < 0
        if missing is not None:
            negative &= ~missing
        found = np.unique(values[negative])
        if len(found) > 1:
            raise DataError(
                f"{name}: mask values {', '.join(map(str, found[:SHOWN].tolist()))}; expected "
                f"class ids, and at most one negative value for no data; it holds "
                f"{histogram_text(counts_of(values))}"
            )
        if len(found):
            missing = negative if missing is None else missing | negative
    if missing is None or not missing.any():
        return values
    wide = values if values.dtype == np.uint8 else values.astype(np.int64)
    return np.where(missing, np.array(IGNORE, wide.dtype), wide)


def _positions(integers: np.ndarray, values: tuple[int, ...], name: str) -> np.ndarray:
    order = np.argsort(values)
    known = np.asarray(values, np.int64)[order]
    place = np.searchsorted(known, integers).clip(0, len(known) - 1)
    mask = order[place].astype(np.uint8)
    fits = known[place] == integers
    if not fits.all():
        ignored = (integers == IGNORE) & ~fits
        stray = ~fits & ~ignored
        if stray.any():
            found = np.unique(integers[stray])
            raise DataError(
                f"{name}: mask value {', '.join(map(str, found[:SHOWN].tolist()))} in "
                f"{100.0 * stray.mean():.1f} % of the pixels; expected data.mask_values="
                f"{tuple(values)} or {IGNORE} for ignore; it holds "
                f"{histogram_text(counts_of(integers))}"
            )
        mask[ignored] = IGNORE
    return mask


def _check_palette(stored: StoredMask, reader: Reader, name: str) -> None:
    """Raises a DataError if a value shows another class's color: palettes differ in order."""
    if (
        not stored.palette
        or not reader.palette
        or stored.palette[: len(reader.palette)] == tuple(reader.palette)
    ):
        return
    class_of = {color: class_id for class_id, color in enumerate(reader.palette)}
    if len(class_of) < len(reader.palette):
        return
    stored_as = reader.values or range(len(reader.palette))
    for value in np.flatnonzero(np.bincount(stored.values.ravel(), minlength=256)).tolist():
        color = stored.palette[value] if value < len(stored.palette) else None
        if color in class_of and stored_as[class_of[color]] != value:
            raise DataError(
                f"{name}: mask value {value} shows {color}, the color of class {class_of[color]}; "
                "expected palettes in the order of the classes in every mask; set "
                "data.masks='colors' if the colors are the classes"
            )


def _refuse_alpha(stored: StoredMask, name: str) -> None:
    alpha = stored.alpha
    if alpha is not None and (alpha != alpha[:1, :1]).any():
        raise DataError(
            f"{name}: pixel format with transparency: alpha {histogram_text(counts_of(alpha))}; "
            "expected one 8-bit channel of class ids; if the opaque pixels are the foreground, set "
            "data.masks=alpha; else flatten the mask"
        )


def binary_of(stored: StoredMask, reader: Reader, name: str) -> np.ndarray:
    """Background 0 and foreground 1; the brightness of foreground may differ between files.

    In a file of two values, 0 is background. A file of more values (smoothed edges, JPEG) is cut at
    half of the full brightness.
    """
    _refuse_alpha(stored, name)
    values = stored.gray
    if values is None:
        values = nearly_gray(stored.colors)
    if values is None:
        raise DataError(
            f"{name}: colors; expected a gray mask (data.masks=binary); set data.masks='colors' "
            "and data.palette if its colors are the classes"
        )
    if values.dtype.kind == "f":
        raise DataError(f"{name}: {values.dtype} values; expected integers; save the mask as PNG")
    # One value per class needs no threshold.
    counts = counts_of(values.astype(np.uint8) if values.dtype == bool else values)
    held = sorted(counts)
    if not stored.lossy and (len(held) <= 2 and held[0] == 0 or held == [1]):
        return (values != 0).astype(np.uint8)
    full = 255 if values.dtype == np.uint8 else int(np.iinfo(values.dtype).max)
    scale = full / 255.0
    clear = held[0] <= _DARK * scale and held[-1] >= _BRIGHT * scale
    # A few small values may be ids 0, 1 and 2; 0 alone is background.
    dark = held == [0] or (_NO_IDS < held[-1] <= _DARK * scale and len(held) > 2)
    one_sided = held[0] >= _BRIGHT * scale or dark
    if held == [0, 1, 255] or not (clear or one_sided):
        raise DataError(
            f"{name}: holds {histogram_text(counts)}; expected background and foreground alone "
            "(data.masks=binary): 0 and 1, 0 and 255, or brightness between; correct the mask"
        )
    return (values >= _THRESHOLD * scale).astype(np.uint8)


def objects_of(stored: StoredMask, reader: Reader, name: str) -> np.ndarray:
    """Background 0, and 1 for every number or color of an object; missing data becomes 255.

    Black is the background of colors.
    """
    _refuse_alpha(stored, name)
    if stored.lossy:
        raise DataError(
            f"{name}: lossy compression; expected numbers or colors of objects "
            "(data.masks=objects); save them as PNG or TIFF"
        )
    gray = stored.gray
    if gray is None:
        return (stored.colors > 0).any(-1).astype(np.uint8)
    if gray.dtype.kind == "u":
        return (gray > 0).astype(np.uint8)
    integers = whole_numbers(gray, stored.nodata, name)
    missing = (integers == IGNORE) & (gray != IGNORE)
    return np.where(missing, IGNORE, integers > 0).astype(np.uint8)


def nearly_gray(colors: np.ndarray) -> np.ndarray | None:
    """Brightness uint8 [H,W] of colors that lossy compression made of gray, or None."""
    low, high = colors.min(-1), colors.max(-1)
    if (high - low).max() > _CHROMA_NOISE:
        return None
    return ((low.astype(np.uint16) + high) // 2).astype(np.uint8)


def alpha_of(stored: StoredMask, reader: Reader, name: str) -> np.ndarray:
    """Transparent pixels are class 0, opaque ones class 1."""
    if stored.alpha is None:
        raise DataError(
            f"{name}: has no transparency; expected masks whose opaque pixels are the foreground "
            "(data.masks=alpha)"
        )
    counts = counts_of(stored.alpha)
    if not counts.keys() <= {0, 255}:
        # Smoothed outlines: the edge is where pixels are half transparent.
        return (stored.alpha >= _THRESHOLD).astype(np.uint8)
    return (stored.alpha > 0).astype(np.uint8)


def plain_colors(stored: StoredMask, name: str) -> np.ndarray:
    """The colors that a mask shows, uint8 [H,W,3].

    Raises:
        DataError: lossy compression, or transparency that hides colors.
    """
    if stored.lossy:
        raise DataError(
            f"{name}: a {stored.lossy}; its compression changes the colors of classes; expected a "
            "PNG; set data.masks=nearest to take the nearest class color and ignore blends"
        )
    colors = stored.shown()
    if colors is None:
        raise DataError(f"{name}: {stored.values.dtype} values; expected colors of 8 bits")
    if stored.alpha is not None:
        _check_hidden(colors, stored.alpha, name)
    return colors


def _check_hidden(colors: np.ndarray, alpha: np.ndarray, name: str) -> None:
    if not np.isin(alpha, (0, 255)).all():
        raise DataError(
            f"{name}: alpha {histogram_text(counts_of(alpha))}; expected 0 or 255 (smoothed edges "
            "make more); flatten the mask without smoothing"
        )
    numbers, clear = _numbers(colors), alpha == 0
    hidden = np.unique(numbers[clear])
    if np.isin(hidden, np.unique(numbers[~clear])).any():
        raise DataError(
            f"{name}: one color is transparent in some pixels and opaque in others; expected one "
            "meaning for each color; flatten the mask, or give transparent pixels a color of "
            "their own"
        )


def colors_of(stored: StoredMask, reader: Reader, name: str) -> np.ndarray:
    """The class of each pixel's color; a color without a class is an error."""
    return color_ids(plain_colors(stored, name), reader.colors or (), name)


def color_ids(colors: np.ndarray, classes: tuple[tuple[Color, int], ...], name: str) -> np.ndarray:
    """Class ids uint8 [H,W] of colors uint8 [H,W,3]; see `masks.from_colors`."""
    numbers = _numbers(colors)
    ids = _color_table(classes)[numbers]
    unknown = ids == _UNKNOWN
    if unknown.any():
        found = np.unique(numbers[unknown])
        shown = ", ".join(str(_color(int(v))) for v in found[:SHOWN])
        raise DataError(
            f"{name}: color {shown}{', …' if len(found) > SHOWN else ''} in "
            f"{100.0 * unknown.mean():.1f} % of the pixels; expected the colors of data.palette "
            "or data.ignore_colors; add them there, or correct the mask; smoothed edges and JPEG "
            "make many colors: set data.masks=nearest to take the nearest class color and "
            "ignore blends"
        )
    return ids.astype(np.uint8)


def nearest_of(stored: StoredMask, reader: Reader, name: str) -> np.ndarray:
    """The class whose color is clearly nearest; pixels between two classes become 255."""
    colors = stored.shown()
    if colors is None:
        raise DataError(f"{name}: {stored.values.dtype} values; expected colors of 8 bits")
    numbers = _numbers(colors)
    seen = np.zeros(2**24, bool)
    seen[numbers] = True
    found = np.flatnonzero(seen)
    table = np.full(2**24, IGNORE, np.uint8)
    classes = reader.colors or ()
    known = np.array([color for color, _ in classes], np.float32)
    ids = np.array([class_id for _, class_id in classes], np.uint8)
    for start in range(0, len(found), 2**16):
        part = found[start : start + 2**16]
        rgb = np.stack([part & 255, part >> 8 & 255, part >> 16], -1).astype(np.float32)
        distance = np.sqrt(((rgb[:, None] - known) ** 2).sum(-1))
        nearest = distance.argmin(-1)
        two = np.partition(distance, 1, -1)
        table[part] = np.where(two[:, 0] < _CLEAR * two[:, 1], ids[nearest], IGNORE)
    return table[numbers]


def _numbers(colors: np.ndarray) -> np.ndarray:
    """One number for each color uint8 [H,W,3], red in its lowest byte: uint32 [H,W]."""
    four = np.empty((*colors.shape[:2], 4), np.uint8)
    four[..., :3], four[..., 3] = colors, 0
    return four.view("<u4")[..., 0]


def _color(number: int) -> Color:
    return number & 255, (number >> 8) & 255, number >> 16


@functools.lru_cache(maxsize=4)
def _color_table(classes: tuple[tuple[Color, int], ...]) -> np.ndarray:
    """The class id of every color by its number, int16 [2**24]; -1 for no class."""
    table = np.full(2**24, _UNKNOWN, np.int16)
    for (red, green, blue), class_id in classes:
        table[red | green << 8 | blue << 16] = class_id
    return table


STYLES: dict[str, Style] = {
    "ids": ids_of,
    "colors": colors_of,
    "binary": binary_of,
    "alpha": alpha_of,
    "objects": objects_of,
    "nearest": nearest_of,
}
