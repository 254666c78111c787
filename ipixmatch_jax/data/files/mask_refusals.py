"""Refuses masks whose values show that they are no class ids, or other ids than they seem."""

from collections import Counter
from collections.abc import Mapping, Sequence

from ipixmatch_jax.data.files.dithered import dithered
from ipixmatch_jax.data.files.jpeg_traces import saved_as_jpeg
from ipixmatch_jax.data.files.mask_checks import histogram_text, percent
from ipixmatch_jax.data.files.mask_edges import Steps
from ipixmatch_jax.data.files.mask_facts import MaskFacts
from ipixmatch_jax.data.files.object_masks import number_objects, number_regions, one_channel
from ipixmatch_jax.data.files.rare_ids import specks
from ipixmatch_jax.data.files.webp_traces import saved_as_webp
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError

# Masks of more values in which fewer neighbors are equal are photos.
_MOST_IDS, _LEAST_EQUAL = 64, 0.5
# Least number and share of masks that the other value surrounds, and share of masks of both kinds.
_LEAST_INVERTED, _INVERTED, _SURROUNDED = 2, 0.1, 0.8
# Files with rims: edges that pass through ids between, and edges that do not, as a multiple of
# them. Of street scenes and fashion photographs every file has 20 times as many of the latter or
# more; of files that were resized, none has more than 1.3 times as many.
_LEAST_RIMS, _FEW_DIRECT, _MANY_DIRECT = 20, 3, 10
_SHOWN = 4
# Masks that hold 0, next to others whose ids begin at 1.
_LEAST_SHIFTED = 2
# Share of 255 in a mask of 0 and 255 alone, and as a multiple of that in masks of ids and 255.
_MUCH_WHITE, _MORE_WHITE = 0.1, 3
# Share of 255 in all masks from which on it may be the background, and not ignore.
_MOST_IGNORED = 0.5


def of_files(facts: Sequence[MaskFacts], max_pixels: int) -> None:
    """Raise a DataError if the files show that their values cannot be read as they are.

    Args:
        facts: of all masks.
        max_pixels: larger masks are refused before they are decoded.
    """
    steps = sum((fact.steps for fact in facts), Steps())
    _refuse_lossy(facts)
    _refuse_dithered(facts, max_pixels)
    _refuse_photos(facts)
    _refuse_smoothed(facts, steps)
    _refuse_two_styles(facts)
    _refuse_shown_inverted(facts)
    _refuse_inverted(facts)
    _refuse_shifted(facts)
    _refuse_compressed(facts, max_pixels)
    _refuse_partly_smoothed(facts)
    if steps.interpolated:
        raise _interpolated(facts, steps)
    _refuse_objects(facts, max_pixels)


def of_ids(
    facts: Sequence[MaskFacts], total: Mapping[int, int], max_pixels: int, where: str
) -> None:
    """Raise a DataError if values that look like class ids are doubtful.

    Args:
        facts: of all masks.
        total: pixels of each value in all masks.
        max_pixels: larger masks are refused before they are decoded.
        where: the masks, in messages.
    """
    _refuse_specks(facts, total, max_pixels)
    _refuse_ignored(total, where)


def of_channels(facts: Sequence[MaskFacts], max_pixels: int) -> None:
    """Raise a DataError if one channel of colored masks numbers the objects of each image."""
    _refuse_objects(one_channel(facts), max_pixels)


def _refuse_lossy(facts: Sequence[MaskFacts]) -> None:
    lossy = [fact for fact in facts if fact.lossy]
    if lossy:
        raise DataError(
            f"{lossy[0].path}: a {lossy[0].lossy}, like {len(lossy) - 1} of the other "
            f"{len(facts) - 1} masks; its compression changes class ids at every edge: "
            f"{histogram_text(lossy[0].counts)}; expected PNG; set data.masks=binary if the masks "
            "hold background and foreground alone, or make them again without lossy compression"
        )


def _refuse_dithered(facts: Sequence[MaskFacts], max_pixels: int) -> None:
    path = dithered(facts, max_pixels)
    if path:
        raise DataError(
            f"{path}: Pillow's palette of 216 colors, and neighboring pixels alternate between two "
            "of them: Image.convert('P') dithered the colors of the classes; expected one id for "
            "each class; save the ids themselves, or convert the colored masks by "
            "Image.quantize(dither=Image.Dither.NONE)"
        )


def _refuse_photos(facts: Sequence[MaskFacts]) -> None:
    total = sum((Counter(fact.counts) for fact in facts), Counter())
    equal = sum(fact.equal for fact in facts) / len(facts)
    if _MOST_IDS < len(total) and max(total) <= IGNORE and equal < _LEAST_EQUAL:
        raise DataError(
            f"{facts[0].path}, and {len(facts) - 1} other masks: {len(total)} values "
            f"({histogram_text(total, 4)}), and only {percent(equal)} of the pixels are equal to "
            "the next one: gray photos, and no class ids; expected masks; images and masks may be "
            "exchanged: check data.folder.train_images and data.folder.train_masks, or set "
            "data.masks=ids if they are ids"
        )


def _refuse_ignored(total: Mapping[int, int], where: str) -> None:
    share = total.get(IGNORE, 0) / sum(total.values())
    ids = sorted(set(total) - {IGNORE})
    if share >= _MOST_IGNORED and ids:
        raise DataError(
            f"{where}: {percent(share)} of the pixels are {IGNORE} ({histogram_text(total)}); "
            "expected ignore in fewer, unless it is the background; set data.masks=ids if it means "
            f"ignore, or data.mask_values={(IGNORE, *ids)} if it is the background"
        )


def _interpolated(facts: Sequence[MaskFacts], steps: Steps) -> DataError:
    return DataError(
        f"{facts[0].path}, and {len(facts) - 1} other masks: {steps.through} edges pass through "
        f"the ids between those on both sides, {steps.direct} do not: ids resized with "
        "interpolation, which draws rims of other classes around objects; expected resizing by "
        "nearest neighbor; make the masks again, or set data.masks=ids if the rims are classes"
    )


def _refuse_smoothed(facts: Sequence[MaskFacts], steps: Steps) -> None:
    if steps.smoothed:
        raise _interpolated(facts, steps)
    smoothed = [fact for fact in facts if fact.smoothed]
    if smoothed:
        first = smoothed[0]
        raise DataError(
            f"{first.path}, and {len(smoothed) - 1} other masks: {len(first.values)} values "
            f"({histogram_text(first.counts, 4)}); most are rare and lie on the edges: smoothed "
            "edges (resized with interpolation, antialiased or JPEG); expected class ids; set "
            "data.masks=binary to cut background and foreground at half brightness, data.masks=ids "
            "if they are ids, or save the masks without smoothing"
        )


def _refuse_partly_smoothed(facts: Sequence[MaskFacts]) -> None:
    """Raises a DataError if a few files have rims of ids between those on both sides.

    In all others, ids that differ by two or more meet.
    """
    rims = [f for f in facts if f.steps.through >= _LEAST_RIMS
            and f.steps.direct < _FEW_DIRECT * f.steps.through]  # fmt: skip
    named = {fact.path for fact in rims}
    others = sum((fact.steps for fact in facts if fact.path not in named), Steps())
    if rims and others.direct > _MANY_DIRECT * max(others.through, len(rims)):
        shown = ", ".join(fact.path for fact in rims[1:_SHOWN])
        raise DataError(
            f"{rims[0].path}"
            + f", and {len(rims) - 1} other masks ({shown}{', …' * (len(rims) > _SHOWN)})"
            * (len(rims) > 1)
            + f", of {len(facts)}: {sum(fact.steps.through for fact in rims)} of their edges pass "
            "through ids between those on both sides, as hardly any edge of the other masks does: "
            "these files were resized with interpolation, which draws rims of other classes around "
            "objects; expected resizing by nearest neighbor; make them again, or set "
            "data.masks=ids if the rims are classes"
        )


def _refuse_compressed(facts: Sequence[MaskFacts], max_pixels: int) -> None:
    kind, side, found = "JPEG", 8, saved_as_jpeg(facts, max_pixels)
    if not found:
        kind, side, found = "lossy WebP", 4, saved_as_webp(facts, max_pixels)
    if found:
        raise DataError(
            f"{found[0].path}, and {len(found) - 1} other masks ({histogram_text(found[0].counts)})"
            f": their ids are rounded in blocks of {side}x{side} pixels, as {kind} does it: they "
            f"were saved as {kind} once, and pixels near edges have ids of other classes; expected "
            "ids that were never compressed with loss; export the masks as PNG from the annotation "
            "tool again, or set data.masks=ids to train on them as they are, for example if they "
            "were drawn in blocks"
        )


def _refuse_objects(facts: Sequence[MaskFacts], max_pixels: int) -> None:
    if not facts:
        return
    if number_regions(facts):
        count = len(set().union(*(fact.values for fact in facts)) - {IGNORE})
        raise DataError(
            f"{facts[0].path}, and {len(facts) - 1} other masks: every mask holds nearly all of "
            f"{count} ids: they number the regions of one image (superpixels), and no classes; "
            "expected class ids; export semantic masks, or set data.masks=ids if they are classes"
        )
    if not number_objects(facts, max_pixels):
        return
    highest = sorted(max(fact.values - {IGNORE}) for fact in facts if fact.values - {IGNORE})
    raise DataError(
        f"{facts[0].path}, and {len(facts) - 1} other masks: in each one the ids run from 1 "
        f"without a gap, up to {highest[0]} in one mask and {highest[-1]} in another, and the "
        "pixels of an id touch each other: they number the objects of one image, and the same "
        "number is another thing in the next; expected class ids; set data.masks=objects "
        "to read every object as class 1 and the rest as background, data.masks=ids if they are "
        "classes"
    )


def _refuse_inverted(facts: Sequence[MaskFacts]) -> None:
    """Raises a DataError if some masks of two values are the negatives of the others."""
    two = [fact for fact in facts if len(fact.values) == 2]
    bright = [fact for fact in two if fact.rim == {max(fact.values)}]
    dark = [fact for fact in two if fact.rim == {0}]
    values = set().union(*(fact.values for fact in facts))
    surrounded = len(bright) + len(dark)
    if (
        len(values) == 2
        and min(len(bright), len(dark)) >= max(_LEAST_INVERTED, _INVERTED * len(two))
        and surrounded >= _SURROUNDED * len(two)
    ):
        raise DataError(
            f"{bright[0].path}, and {len(bright) - 1} other masks have {max(values)} all along "
            f"their border, while {dark[0].path} and {len(dark) - 1} others have 0 there: some are "
            "inverted, and 0 is the background in one and the object in another; expected one "
            "value for the background; invert those files, or set data.masks=binary if they are "
            f"right: {max(values)} is foreground"
        )


def _refuse_shown_inverted(facts: Sequence[MaskFacts]) -> None:
    """Raises a DataError if masks of two values agree as viewers show them, but not as stored."""
    white = [fact for fact in facts if fact.white_is_zero]
    others = [fact for fact in facts if not fact.white_is_zero]
    values = set().union(*(fact.values for fact in facts))
    if not white or not others or len(values) != 2 or 0 not in values:
        return
    top = max(values)
    shares = [sum(_share(fact, top) for fact in kind) / len(kind) for kind in (white, others)]
    if (shares[0] - 0.5) * (shares[1] - 0.5) < 0:
        raise DataError(
            f"{white[0].path}, and {len(white) - 1} other masks are shown with 0 as white "
            f"(WhiteIsZero in TIFF, or their palette); {top} is stored in {percent(shares[0])} of "
            f"their pixels, and in {percent(shares[1])} of {others[0].path} and {len(others) - 1} "
            "others: as stored, background and object are exchanged in some files; expected one "
            "value for the background; save all masks as PNG, or set data.masks=binary if they "
            f"are right: {top} is foreground"
        )


def _share(fact: MaskFacts, value: int) -> float:
    return fact.counts.get(value, 0) / sum(fact.counts.values())


def _refuse_shifted(facts: Sequence[MaskFacts]) -> None:
    """Raises a DataError if the ids of some files begin at 1 and those of the others at 0.

    0 is the commonest id of all files that hold it, 1 that of all the others, and only those go
    one higher.
    """
    ids = {fact.path: fact.values - {IGNORE} for fact in facts}
    low = [fact for fact in facts if 0 in ids[fact.path]]
    high = [fact for fact in facts if ids[fact.path] and 0 not in ids[fact.path]]
    if len(low) < _LEAST_SHIFTED or not high:
        return
    top = max(max(ids[fact.path]) for fact in low)
    if (
        1 <= top
        and max(max(ids[fact.path]) for fact in high) == top + 1
        and all(_commonest(fact) == 0 for fact in low)
        and all(_commonest(fact) == 1 for fact in high)
    ):
        raise DataError(
            f"{high[0].path}, and {len(high) - 1} other masks hold ids from 1 to {top + 1} "
            f"({histogram_text(high[0].counts)}), and {low[0].path}, and {len(low) - 1} others, "
            f"from 0 to {top} ({histogram_text(low[0].counts)}): the commonest id is 1 in the "
            "former and 0 in the latter; some are likely shifted by one; expected one numbering in "
            "all masks; subtract 1 from those files, or set data.masks=ids if they are right"
        )


def _commonest(fact: MaskFacts) -> int:
    return max((value for value in fact.counts if value != IGNORE), key=fact.counts.__getitem__)


def _refuse_specks(facts: Sequence[MaskFacts], total: Mapping[int, int], max_pixels: int) -> None:
    found = specks(facts, total, max_pixels)
    if not found:
        return
    fact = next(fact for fact in facts if found[0] in fact.counts)
    held = sum(found[0] in fact.counts for fact in facts)
    raise DataError(
        f"{fact.path}: {total[found[0]]} pixels in {held} of {len(facts)} masks have the id "
        f"{found[0]}, never more than 3 in a row ({histogram_text(total)}): stray pixels of a "
        "paint program, or ids that were saved as JPEG or smoothed; expected ids that cover areas; "
        "correct the masks, or set data.masks=ids if it is a class"
    )


def _white(fact: MaskFacts) -> float:
    return _share(fact, IGNORE)


def _refuse_two_styles(facts: Sequence[MaskFacts]) -> None:
    """Raises a DataError if some files hold only 0 and 255, and others ids without much 255."""
    ids = [fact for fact in facts if fact.values - {0, IGNORE}]
    bright = [fact for fact in facts if fact.values in ({0, IGNORE}, {IGNORE})]
    if not ids or not bright:
        return
    ignored = sum(map(_white, ids)) / len(ids)
    if ignored:
        # A mask may be ignored as a whole; next to background, more of it than elsewhere is odd.
        bright = [fact for fact in bright if fact.values != {IGNORE}]
        least = max(_MUCH_WHITE, _MORE_WHITE * ignored)
        if not bright or min(map(_white, bright)) < least:
            return
    held = set().union(*(fact.values for fact in ids)) - {IGNORE}
    two = not ignored and len(held - {0}) == 1
    without = f"with {percent(ignored)} of" if ignored else "without"
    key = (
        "data.masks=binary to read both as background and foreground"
        if two
        else "data.masks=ids if 255 means ignore, or write the class id"
    )
    raise DataError(
        f"{bright[0].path}, and {len(bright) - 1} other masks hold 0 and {IGNORE} alone "
        f"({histogram_text(bright[0].counts)}), while {ids[0].path} and {len(ids) - 1} others hold "
        f"ids {without} {IGNORE} ({histogram_text(ids[0].counts)}); expected one style; set {key}"
        + (f", or data.masks=ids if {IGNORE} means ignore" if two else "")
    )
