"""Detects what the values in a set of masks mean: class ids, brightness or colors.

A guess is made only if no file contradicts it. Far fewer values than the largest one plus one are
brightness, not ids. Many rare values on edges come from smoothing. 0 and 255 alone in some files
are another style than ids in others. If the meaning stays open, a DataError shows the values with
their shares, and names the key that decides.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ipixmatch_jax.data.files import mask_colors, mask_refusals
from ipixmatch_jax.data.files.decoding import MAX_PIXELS
from ipixmatch_jax.data.files.mask_checks import histogram_text
from ipixmatch_jax.data.files.mask_edges import black_and_white
from ipixmatch_jax.data.files.mask_facts import MaskFacts, read_facts
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError

_BINARY_PALETTE = ((0, 0, 0), (255, 255, 255))
_BINARY_NAMES = ("background", "foreground")
# Values are not ids if the largest is at least _LARGE and less than this share of 0..max occurs.
_LEAST_USED, _LARGE = 0.25, 32
# Brightness steps smaller than this may be ids with gaps.
_LEAST_STEP = 10
# Small ids with this distance are written apart on purpose.
_LEAST_SPACING = 5
_MOST_LEVELS = 32


@dataclass(frozen=True)
class Said:
    """Facts about masks that the user or a class file has stated.

    Attributes:
        names: class names, in the order of the ids; ().
        palette: the color of each class; ().
        style: `data.masks` if the user set it, else ''.
        values: `data.mask_values` if the user set it.
        ignored: `data.ignore_values` if the user set it.
        num_classes: `data.num_classes` if the user set it, else 0.
        unlisted: black is the background if the masks show it, although no class has this color.
    """

    names: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    style: str = ""
    values: tuple[int, ...] = ()
    num_classes: int = 0
    ignored: tuple[int, ...] = ()
    unlisted: bool = False


def describe_masks(
    paths: Sequence[str], said: Said | None = None, max_pixels: int = MAX_PIXELS
) -> dict[str, Any]:
    """Finds the keys of `config.data` with which all masks of a data set are read correctly.

    Args:
        paths: all masks, including those of validation and test.
        said: facts that are known already; they are never overruled.
        max_pixels: larger masks are refused before they are decoded.

    Returns:
        `num_classes`, `class_names`, `palette`; also `masks` and `mask_values` if they differ from
        the defaults.

    Raises:
        DataError: a mask cannot be read, or the meaning of the values stays open.
    """
    return judge(read_facts(paths, max_pixels), said or Said(), max_pixels)


def judge(facts: Sequence[MaskFacts], said: Said, max_pixels: int = MAX_PIXELS) -> dict[str, Any]:
    """`describe_masks` for facts that have already been read."""
    facts = [_without(fact, said.ignored) for fact in facts] if said.ignored else facts
    said = _with_background(facts, said) if said.unlisted else said
    if said.style in ("binary", "alpha", "objects"):
        return _binary(said, said.style)
    if said.style in ("colors", "nearest"):
        return mask_colors.judge_colors(facts, said.names, said.palette, said.style)
    if said.values:
        return _listed(said, said.values)
    if not said.style:
        other_order = mask_colors.listed_in_other_order(facts, said.names, said.palette)
        if _lossy_black_and_white(facts):
            if other_order:
                return mask_colors.judge_colors(facts, said.names, said.palette, "nearest")
            mask_colors.refuse_background_last(facts, said.names, said.palette)
            return _binary(said, "binary")
        alpha = [fact for fact in facts if fact.alpha]
        if alpha:
            return _alpha(facts, alpha, said)
        if any(fact.real_colors for fact in facts):
            mask_colors.check_one_style(facts)
            if not said.palette:
                mask_refusals.of_channels(facts, max_pixels)
            return mask_colors.judge_colors(facts, said.names, said.palette, "colors")
        if other_order or said.palette and _shown_in(facts, said.palette):
            return mask_colors.judge_colors(facts, said.names, said.palette, "colors")
        if mask_colors.orders_differ(facts):
            return mask_colors.judge_colors(facts, said.names, said.palette, "colors")
    return _values(facts, said, max_pixels)


def _with_background(facts: Sequence[MaskFacts], said: Said) -> Said:
    """The classes with a background in front if the masks show one that the file does not list.

    Raises:
        DataError: the masks hold ids, and 0 may be the background or the first class.
    """
    if any(fact.real_colors or fact.palette for fact in facts):
        shown = any((0, 0, 0) in fact.colors for fact in facts)
    else:
        top = max(set().union(*(fact.values for fact in facts)) - {IGNORE}, default=0)
        if top < len(said.names) and said.style != "ids":
            raise DataError(
                f"{facts[0].path}, and the other masks: ids up to {top}, and {len(said.names)} "
                f"names with colors, none of which is black or called background: 0 may be the "
                f"background or {said.names[0]!r}; expected to know which; write the line `0 0 0 "
                "background` first in the file of the classes, or set data.masks=ids if 0 is "
                f"{said.names[0]!r}"
            )
        shown = top == len(said.names)
    if not shown:
        return said
    names, palette = ("background", *said.names), ((0, 0, 0), *said.palette)
    return dataclasses.replace(said, names=names, palette=palette)


def _lossy_black_and_white(facts: Sequence[MaskFacts]) -> bool:
    """True for black and white masks, some of them with the noise of lossy compression."""
    lossy = [fact for fact in facts if fact.lossy]
    plain = all(fact.counts and (fact.lossy or fact.values <= {0, IGNORE}) for fact in facts)
    return bool(lossy) and plain and black_and_white([fact.counts for fact in facts])


def _without(fact: MaskFacts, ignored: tuple[int, ...]) -> MaskFacts:
    """The facts with ignored values counted as 255."""
    counts = dict(fact.counts)
    for value in ignored:
        if value in counts:
            counts[IGNORE] = counts.get(IGNORE, 0) + counts.pop(value)
    return dataclasses.replace(fact, counts=counts)


def _shown_in(facts: Sequence[MaskFacts], palette: tuple) -> bool:
    """True if gray masks show only the palette's colors, and values too large for class ids."""
    known = set(palette)
    values = set().union(*(fact.values for fact in facts))
    return (
        not any(fact.palette for fact in facts)
        and max(values - {IGNORE}, default=0) >= len(palette)
        and all(set(fact.colors) <= known for fact in facts)
    )


def _values(facts: Sequence[MaskFacts], said: Said, max_pixels: int) -> dict[str, Any]:
    total: dict[int, int] = {}
    for fact in facts:
        for value, count in fact.counts.items():
            total[value] = total.get(value, 0) + count
    where = f"{facts[0].path}" + (f", and {len(facts) - 1} other masks" if len(facts) > 1 else "")
    ids = set(total) - {IGNORE}
    if said.style != "ids":
        mask_refusals.of_files(facts, max_pixels)
        found = _brightness(facts, total, said, where)
        if found:
            return found
        mask_refusals.of_ids(facts, total, max_pixels, where)
        if max(ids, default=0) == 0:
            raise DataError(
                f"{where}: all pixels are 0 or {IGNORE} ({histogram_text(total)}); expected class "
                f"ids; no pixel is of classes 1..{IGNORE - 1}; draw some foreground, or set "
                "data.masks=ids and data.num_classes if this is meant"
            )
        if len(ids) == 1:
            raise DataError(
                f"{where}: all pixels are of one class ({histogram_text(total)}); expected two "
                "classes or more, such as background and one class; label the rest as 0, or set "
                "data.masks=ids and data.num_classes if this is meant"
            )
        _refuse_gaps(ids, said.names, where)
    count = said.num_classes or max(len(said.names), max(ids, default=0) + 1, 2)
    own = next((fact.table for fact in facts if len(fact.table) >= count), ())
    palette = said.palette or own[:count]
    # Equal colors mean that the palette was never set.
    return {
        "num_classes": count,
        "class_names": said.names,
        "palette": palette if len(set(palette)) == count else (),
    }


def _refuse_gaps(ids: set[int], names: tuple[str, ...], where: str) -> None:
    """Raises a DataError if there is a name for each id in use, and these are not 0, 1, 2, …"""
    if len(names) == len(ids) and max(ids) >= len(names):
        raise DataError(
            f"{where}: the ids in use are {', '.join(map(str, sorted(ids)))}, and there are "
            f"{len(names)} names ({', '.join(names)}); expected a name for each id from 0 on; set "
            f"data.mask_values={tuple(sorted(ids))} if the names are those of these ids in this "
            "order, or add the names that are missing"
        )


def _brightness(
    facts: Sequence[MaskFacts], total: dict[int, int], said: Said, where: str
) -> dict[str, Any] | None:
    """The keys if the values are brightness; None if they are plausible ids.

    Raises:
        DataError: they are no plausible ids, and the class of each value stays open.
    """
    ids = sorted(set(total) - {IGNORE})
    if ids == [0] and IGNORE in total and IGNORE not in said.ignored:
        mask_colors.refuse_background_last(facts, said.names, said.palette)
        return _listed(said, (0, IGNORE), _BINARY_NAMES, _BINARY_PALETTE)
    top = max(ids, default=0)
    names = len(said.names) or said.num_classes
    if top <= IGNORE - 1 and names > top:
        return None
    spaced = _even(tuple(ids), _LEAST_SPACING)
    if (
        3 <= len(spaced)
        and IGNORE not in total
        and names in (0, len(spaced))
        and not any(fact.palette for fact in facts)
    ):
        # 0, 10, 20: classes written with a distance, so that they can be told by eye.
        return _listed(said, spaced)
    enough = len(ids) >= _LEAST_USED * (top + 1)
    if top <= IGNORE - 1 and (top < _LARGE or enough) and (len(spaced) < 3 or names):
        return None
    if len(ids) > 1 and all(fact.palette for fact in facts) and not names:
        # A palette names every value by a color: these are ids with gaps, and no brightness.
        return _listed(said, tuple(ids), palette=_own_palette(facts, ids))
    levels = tuple(sorted(total))
    stretched = _stretched(facts)
    if not stretched:
        for candidate in (tuple(ids), levels):
            # (0, 128, 255): 255 may be a third class, or ignore, with foreground at 128.
            certain = IGNORE not in total or (candidate == levels and len(levels) > 3)
            if _even(candidate) and (names == len(candidate) or (not names and certain)):
                return _listed(said, candidate, _BINARY_NAMES if len(candidate) == 2 else ())
    reason = (
        "every file reaches the same brightness with other levels: each was stretched by itself, "
        "and the same value means another class in another file"
        if stretched
        else f"{len(levels)} values up to {max(levels)} are brightness and no class ids"
    )
    options = f"data.mask_values={tuple(ids)}" + (
        f" if {IGNORE} means ignore, or {levels} if it is a class" if IGNORE in total else ""
    )
    raise DataError(
        f"{where}: values {histogram_text(total)}; {reason}; expected class ids 0, 1, 2, …; set "
        + (f"data.ignore_values=({top},) if {top} means ignore; or " if _apart(ids) else "")
        + (options if len(levels) <= 16 else "data.mask_values to the stored value of each class")
        + ", or data.masks=ids and data.num_classes if they are ids; or save the masks as ids"
    )


def _apart(ids: list[int]) -> bool:
    """True if the largest value alone is no plausible class id."""
    return len(ids) > 2 and ids[:-1] == list(range(len(ids) - 1))


def _own_palette(facts: Sequence[MaskFacts], ids: list[int]) -> tuple[tuple[int, int, int], ...]:
    colors = {value: color for fact in facts for value, color in fact.palette.items()}
    return tuple(colors[value] for value in ids)


def _even(values: tuple[int, ...], least: int = _LEAST_STEP) -> tuple[int, ...]:
    """The values if they are evenly spaced from 0, else ()."""
    if not 2 <= len(values) <= _MOST_LEVELS or values[0] != 0:
        return ()
    step = values[-1] / (len(values) - 1)
    even = all(abs(value - i * step) <= 1 for i, value in enumerate(values))
    return values if even and step >= least else ()


def _stretched(facts: Sequence[MaskFacts]) -> bool:
    """True if files of different numbers of levels all reach the same largest value."""
    several = [tuple(sorted(fact.values)) for fact in facts if len(fact.values) > 1]
    tops = {levels[-1] for levels in several}
    kinds = {len(levels) for levels in several}
    full = tops in ({IGNORE}, {65535})
    return full and len(kinds) > 1 and all(map(_even, several))


def _listed(
    said: Said,
    values: tuple[int, ...],
    names: tuple[str, ...] = (),
    palette: tuple[tuple[int, int, int], ...] = (),
) -> dict[str, Any]:
    return {
        "num_classes": len(values),
        "class_names": said.names or names,
        "palette": said.palette or palette,
        "mask_values": tuple(values),
    }


def _binary(said: Said, style: str) -> dict[str, Any]:
    names = ("background", "object") if style == "objects" else _BINARY_NAMES
    own, palette = said.names or names, said.palette or _BINARY_PALETTE
    if len(own) == len(palette) == 2 and palette == _BINARY_PALETTE[::-1]:
        # A list of white first and black last: black is class 0 here.
        own, palette = own[::-1], palette[::-1]
    return {"num_classes": 2, "class_names": own, "palette": palette, "masks": style}


def _alpha(facts: Sequence[MaskFacts], alpha: list[MaskFacts], said: Said) -> dict[str, Any]:
    """Masks with transparency: without colors, the opaque pixels are the foreground."""
    plain = all(len(fact.colors) == 1 for fact in facts)
    if plain and len(alpha) == len(facts) and all(set(f.alpha) == {0, 255} for f in alpha):
        return _binary(said, "alpha")
    if (
        not plain
        and said.palette
        or all(f.alpha.keys() <= {0, 255} for f in alpha)
        and all(f.real_colors for f in facts)
        and not any(mask_colors.is_photo(f) for f in facts)
    ):
        return mask_colors.judge_colors(facts, said.names, said.palette, "colors")
    first = alpha[0]
    raise DataError(
        f"{first.path}: alpha {histogram_text(first.alpha)} in {len(alpha)} of {len(facts)} masks; "
        "expected masks without transparency; set data.masks=alpha if the opaque pixels are the "
        "foreground, or flatten the masks"
    )
