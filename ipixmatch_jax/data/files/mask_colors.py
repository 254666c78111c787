"""The meaning of colored masks: which colors are classes, and whether palettes agree."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ipixmatch_jax.data.files.color_sets import (
    colored_in_turn,
    stretched_map,
    two_backgrounds,
    two_families,
)
from ipixmatch_jax.data.files.mask_checks import percent
from ipixmatch_jax.data.files.mask_facts import MaskFacts
from ipixmatch_jax.data.files.object_masks import number_colors
from ipixmatch_jax.data.records import IGNORE, is_background
from ipixmatch_jax.errors import DataError

Color = tuple[int, int, int]

_SHOWN = 12
# More colors than this are not taken as classes without being listed.
_MOST_COLORS = 64
# Smoothed edges between that many colors stay below this.
_PHOTO_COLORS = 10_000
# Colors whose channels all differ by no more than this look equal.
_NEARLY = 4
# Pascal VOC draws the border of objects in this color; it means ignore. VOC 2012, devkit.
_VOC_BORDER = (224, 224, 192)
_MOST_BORDER = 0.15
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


def judge_colors(
    facts: Sequence[MaskFacts], names: tuple[str, ...], palette: tuple[Color, ...], style: str
) -> dict[str, Any]:
    """Keys of `config.data` for colored masks.

    Args:
        facts: of every mask.
        names: class names, or ().
        palette: the color of each class, or () to take every color as a class.
        style: `colors`, or `nearest` if the user set it.

    Raises:
        DataError: names without colors, smoothed edges, too many colors, or colors of the palette
            whose red and blue are exchanged.
    """
    if palette:
        _refuse_exchanged_channels(facts, palette)
        return _keys(names, palette, style)
    total = _total(facts)
    border = total.get(_VOC_BORDER, 0)
    ignored = (_VOC_BORDER,) if 0 < border < _MOST_BORDER * sum(total.values()) else ()
    for color in ignored:
        del total[color]
    lossy = next((fact for fact in facts if fact.lossy), None)
    smoothed = next((fact for fact in facts if fact.smoothed), None)
    if lossy or smoothed or not 2 <= len(total) <= _MOST_COLORS:
        first = lossy or smoothed or facts[0]
        reason = f"a {lossy.lossy}, whose compression changes colors; " if lossy else ""
        if not lossy and is_photo(first):
            reason = (
                "photos in place of masks, or masks drawn over photos (if images and masks are "
                "exchanged, set data.folder.train_images and train_masks); "
            )
        raise DataError(
            f"{first.path}, and the other masks: {reason}{len(total)} colors, the commonest "
            f"{_text(total)}; expected 2 to {_MOST_COLORS}, one for each class (smoothed edges and "
            "JPEG make many); list NAME RED GREEN BLUE of every class in classes.txt (or set "
            "data.palette) and set data.masks=nearest to ignore the blends, or correct the masks"
        )
    close = _nearly_equal(sorted(total))
    if close:
        first = next(fact for fact in facts if close[1] in fact.colors)
        raise DataError(
            f"{first.path}, and the other masks: colors {close[0]} and {close[1]} are nearly "
            f"equal, and {len(total)} colors occur: {_text(total)}; expected one color for each "
            "class; list NAME RED GREEN BLUE of every class in classes.txt (or set data.palette), "
            "with data.masks=nearest if colors differ a little between files"
        )
    _refuse_doubtful(facts, total)
    if number_colors(facts):
        raise DataError(
            f"{facts[0].path}, and the other masks: nearly every one of {len(total)} colors "
            f"occurs in one mask alone ({_text(total)}): they tell objects apart, not classes; "
            "expected one color for each class; export semantic masks; or set data.masks=objects "
            "to read every color but black as class 1, or data.palette to the colors of the classes"
        )
    if names:
        raise DataError(
            f"{facts[0].path}, and the other masks: {len(names)} class names without colors, and "
            f"{len(total)} colors: {_text(total)}; expected to know which name each color has; "
            "write NAME RED GREEN BLUE on each line of classes.txt, or set data.palette to the "
            "colors in the order of the names"
        )
    colors = tuple(sorted(total))
    names = tuple("#{:02x}{:02x}{:02x}".format(*color) for color in colors)
    return {**_keys(names, colors, style), "ignore_colors": ignored}


def _refuse_exchanged_channels(facts: Sequence[MaskFacts], palette: tuple[Color, ...]) -> None:
    """Raises a DataError if colors that are not listed are so with red and blue exchanged."""
    known = set(palette)
    exchanged = [
        fact for fact in facts
        if set(fact.colors) - known and all(color[::-1] in known for color in fact.colors)
    ]  # fmt: skip
    if not exchanged:
        return
    first = exchanged[0]
    stray = {color: n for color, n in first.colors.items() if color not in known}
    raise DataError(
        f"{first.path}, and {len(exchanged) - 1} other masks of {len(facts)}: the colors "
        f"{_text(stray)} are not listed, and with red and blue exchanged they are: written in BGR "
        "order, as OpenCV does; other colors may be listed both ways, and would be read as the "
        "wrong class; expected the listed colors; save these masks again with cv2.cvtColor(mask, "
        "cv2.COLOR_BGR2RGB), or exchange red and blue in the list of colors"
    )


def _refuse_doubtful(facts: Sequence[MaskFacts], total: dict[Color, int]) -> None:
    """Raises a DataError if the same class has other colors in other files."""
    place = f"{facts[0].path}, and the other masks"
    stretched = stretched_map(facts)
    if stretched:
        raise DataError(
            f"{place}: colors of Matplotlib's map {stretched!r} ({_text(total)}), from its first "
            "to its last color in every file, whatever classes the file holds: each was stretched "
            "by itself, and the same color means another class in another file; expected one color "
            "for each class; save the ids themselves as PNG, or set data.palette to the colors if "
            "they are the same in all files"
        )
    if colored_in_turn(facts):
        raise DataError(
            f"{place}: the first colors of scikit-image's list in every file, more in some files "
            f"than in others ({_text(total)}): label2rgb gives them in turn to the labels of an "
            "image, and the same color means another class in an image that lacks a class; "
            "expected one color for each class; save the ids themselves as PNG, or set "
            "data.palette to the colors if they are the same in all files"
        )
    if two_backgrounds(facts):
        raise DataError(
            f"{place}: black is the commonest color of some and white that of others, and no mask "
            f"shows both ({_text(total)}): likely the same background, by two programs; expected "
            "one color for each class; save the masks with one background, or list NAME RED GREEN "
            "BLUE of every class in classes.txt (or set data.palette) if they are two classes"
        )
    pairs = two_families(facts)
    if pairs:
        shown = ", ".join(f"{one} and {other}" for one, other in pairs[:_SHOWN])
        raise DataError(
            f"{place}: similar colors that never occur in the same mask: {shown}; {len(total)} "
            f"colors occur: {_text(total)}; expected one color for each class; list NAME RED GREEN "
            "BLUE of every class in classes.txt (or set data.palette), with data.masks=nearest to "
            "read both as one class"
        )


def _nearly_equal(colors: Sequence[Color]) -> tuple[Color, Color] | None:
    """Two colors that no eye tells apart; None if there are none, or if one channel holds ids."""
    array = np.array(colors, np.int16)
    if (array.min(0) != array.max(0)).sum() < 2:
        return None
    distance = np.abs(array[:, None] - array[None]).max(-1) + 256 * np.eye(len(array), dtype=int)
    one, other = np.unravel_index(distance.argmin(), distance.shape)
    return (colors[one], colors[other]) if distance[one, other] <= _NEARLY else None


def orders_differ(facts: Sequence[MaskFacts]) -> bool:
    """True if two palettes have the same colors in another order: the color is the class.

    Raises:
        DataError: a value shows different colors, and no color comes back at another value.
    """
    color_of: dict[int, tuple[Color, str]] = {}
    values_of: dict[Color, set[int]] = {}
    clash = ""
    for fact in facts:
        for value, color in fact.palette.items():
            other, path = color_of.setdefault(value, (color, fact.path))
            values_of.setdefault(color, set()).add(value)
            if other != color and not clash:
                clash = f"{fact.path}: value {value} shows {color}, in {path} it shows {other}"
    if any(len(values) > 1 for values in values_of.values()):
        return bool(clash)
    if clash:
        raise DataError(
            f"{clash}; expected one palette in all masks; set data.masks='colors' if the colors "
            "are the classes, or data.masks=ids if the values are"
        )
    return False


def listed_in_other_order(
    facts: Sequence[MaskFacts], names: tuple[str, ...], palette: tuple[Color, ...]
) -> bool:
    """True if gray masks show colors of a list whose order is not that of their brightness.

    A list of `road 255 255 255` and `background 0 0 0` says that 255 is class 0.

    Raises:
        DataError: the list holds black last and white first, and the masks 0 and 1.
    """
    if not palette or any(fact.palette or fact.real_colors or fact.alpha for fact in facts):
        return False
    if any(fact.lossy for fact in facts):
        return tuple(palette) == (_WHITE, _BLACK)
    shown = sorted(_total(facts))
    if tuple(palette) == (_WHITE, _BLACK) and shown == [_BLACK, (1, 1, 1)]:
        first, last = names or ("white", "black")
        raise DataError(
            f"{facts[0].path}, and the other masks: ids 0 and 1, and the list of classes has "
            f"{first!r} in white first and {last!r} in black last: 0 may be black, or the first "
            "class; expected to know which; list the class in black first, or set data.masks=ids "
            f"if 0 is {first!r}"
        )
    known = {color: class_id for class_id, color in enumerate(palette)}
    if len(shown) < 2 or not known.keys() >= {*shown}:
        return False
    return [known[color] for color in shown] != list(range(len(shown)))


def refuse_background_last(
    facts: Sequence[MaskFacts], names: tuple[str, ...], palette: tuple[Color, ...]
) -> None:
    """Raises a DataError if masks are black and white, and of two names the last is background."""
    if palette or len(names) != 2 or not is_background(names[1]):
        return
    raise DataError(
        f"{facts[0].path}, and the other masks: black and white, and the list of classes has "
        f"{names[0]!r} first, {names[1]!r} last: black, 0, may be either; expected the name of "
        f"black first; exchange the lines of the list, or write a color for each: {names[0]} 255 "
        f"255 255 and {names[1]} 0 0 0"
    )


def check_one_style(facts: Sequence[MaskFacts]) -> None:
    """Raise a DataError if some masks are colored and others hold ids.

    A gray mask may belong to a colored set, if its grays are colors of that set, too.
    """
    colored = _total([fact for fact in facts if fact.real_colors])
    for fact in facts:
        strange = set(fact.colors) - set(colored) - {(0, 0, 0), (IGNORE, IGNORE, IGNORE)}
        if not fact.real_colors and not fact.palette and (strange or not fact.colors):
            example = next(f for f in facts if f.real_colors)
            raise DataError(
                f"{fact.path}: one channel with values {sorted(fact.counts)[:_SHOWN]}, while "
                f"{example.path} is colored ({_text(example.colors)}); expected one style in all "
                "masks; convert them all to class ids or all to colors"
            )


def is_photo(fact: MaskFacts) -> bool:
    """True if a mask shows as many colors as only photos do, such as an object that was cut out."""
    return len(fact.colors) > _PHOTO_COLORS and not fact.lossy


def _total(facts: Sequence[MaskFacts]) -> dict[Color, int]:
    total: dict[Color, int] = {}
    for fact in facts:
        for color, count in fact.colors.items():
            total[color] = total.get(color, 0) + count
    return total


def _text(counts: dict[Color, int]) -> str:
    pixels = max(sum(counts.values()), 1)
    common = sorted(counts, key=lambda color: -counts[color])[:_SHOWN]
    text = ", ".join(f"{color}: {percent(counts[color] / pixels)}" for color in common)
    return text + (f" and {len(counts) - len(common)} more" if len(counts) > len(common) else "")


def _keys(names: tuple[str, ...], palette: tuple[Color, ...], style: str) -> dict[str, Any]:
    return {
        "num_classes": len(palette),
        "class_names": names,
        "masks": style,
        "palette": palette,
    }
