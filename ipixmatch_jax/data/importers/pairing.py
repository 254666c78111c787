"""Pairs masks with images by name; every pair that is not an exact match is reported."""

import difflib
import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ipixmatch_jax.data.importers.found import some
from ipixmatch_jax.data.importers.names import (
    MASK_AFFIXES,
    before_roboflow,
    folded,
    joined,
    role,
    without_upload_prefix,
)

# (group, stem): images and masks are paired within a group, for example one scene's folder.
Name = tuple[str, str]

_SAMPLE = 200
# Share of the unpaired masks that a rule with unknown words must pair.
_COVERAGE = 0.8
# Numbers of masks that are those of other images: largest shift, and fewest images.
_MOST_SHIFTED, _LEAST_NUMBERED = 2, 4
# Letters that a single pair must share.
_LONG_CORE = 4


@dataclass
class Pairs:
    """The result of `pair`.

    Attributes:
        pairs: mask -> image.
        images_left: images without a mask, in their order.
        masks_left: masks without an image, in their order.
        notes: rules by which unequal names were paired.
        warnings: masks that were not paired, with the nearest image name.
        problems: signs that the pairs are wrong.
    """

    pairs: dict[Name, Name] = field(default_factory=dict)
    images_left: list[Name] = field(default_factory=list)
    masks_left: list[Name] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Rule:
    """Prefix and tail to remove from the names of images and of masks."""

    image: tuple[str, str]
    mask: tuple[str, str]

    @property
    def length(self) -> int:
        return sum(map(len, (*self.image, *self.mask)))

    def text(self) -> str:
        return f"{'N'.join(self.image)} <-> {'N'.join(self.mask)}"


def pair(images: list[Name], masks: list[Name], affixes: tuple[str, str] = ("", "")) -> Pairs:
    """Pairs masks with images.

    Tried in this order, each time among the names that are left: equal names (after removing
    `affixes` from the masks); the same letters in another case or Unicode form; the same numbers
    with other zero padding; the upload prefix of Label Studio on one side; names that differ by one
    prefix or tail common to all masks (N_mask, gt_N, 21_training <-> 21_manual1), or by one word in
    between (10_sat_08 <-> 10_mask_08). A name that fits two others is never paired.

    Args:
        images: (group, stem) of the images.
        masks: (group, stem) of the masks.
        affixes: (prefix, tail) of the masks' names, set by the user.
    """
    result = Pairs(images_left=list(images), masks_left=list(masks))
    own = _Rule(("", ""), affixes)
    _match(result, _core(own.image), _core(own.mask), "")
    if any(affixes):
        if not result.pairs:
            _match_image_affix(result, own)
        return _finish(result)
    result.problems += _shifted(result, images, masks)
    for key, reason in ((folded, "case or Unicode form"), (_unpadded, "zero padding")):
        _match(result, key, key, reason)
    for image_key, mask_key in ((_plain, _uploaded), (_uploaded, _plain)):
        _match(result, image_key, mask_key, "names without Label Studio's upload prefix")
    rule = _affix_rule(result)
    if rule:
        _match(result, _core(rule.image, _unpadded), _core(rule.mask, _unpadded),
               f"the rule {rule.text()}")  # fmt: skip
    else:
        _match_infix(result)
    return _finish(result)


def _shifted(result: Pairs, images: list[Name], masks: list[Name]) -> list[str]:
    """The problem if the masks have the numbers of the images plus or minus a few: 0..9, 1..10."""
    left = len(result.masks_left)
    if not 0 < left == len(result.images_left) <= _MOST_SHIFTED or len(images) < _LEAST_NUMBERED:
        return []
    numbers = [[_number(stem) for _, stem in names] for names in (images, masks)]
    if any(None in one or len(set(one)) < len(one) for one in numbers):
        return []
    image_numbers, mask_numbers = map(set, numbers)
    for shift in (left, -left):
        if mask_numbers == {number + shift for number in image_numbers}:
            lowest, highest = min(mask_numbers), max(mask_numbers)
            return [
                f"the masks have the numbers {lowest} to {highest}, and the images "
                f"{min(image_numbers)} to {max(image_numbers)}: masks and images of one name may "
                f"be those of neighbors; expected equal numbers; rename the masks by {-shift:+d}, "
                "or remove the masks without an image if the others are right"
            ]
    return []


def _number(stem: str) -> int | None:
    found = re.findall(r"\d+", stem.rpartition("/")[2])
    return int(found[-1]) if found else None


def _match_image_affix(result: Pairs, own: _Rule) -> None:
    """Pairs by the user's affixes of the masks if all images have a prefix or tail of their own."""
    stems = [stem for _, stem in result.images_left]
    masks = _unique(result.masks_left, _core(own.mask)).keys()
    for image in _options(stems, known_only=False) if stems and masks else ():
        # X_label next to X_fg and X_rgb is another mask, and no image.
        if role("".join(image)) == "mask":
            continue
        if masks & _unique(result.images_left, _core(image)).keys():
            rule = _Rule(image, own.mask)
            _match(result, _core(image), _core(own.mask), f"the rule {rule.text()}")
            return


def _match_infix(result: Pairs) -> None:
    """Pairs names that differ by one word between others: 10_sat_08 and 10_mask_08, or 10_08."""
    masks = [_parts(stem) for _, stem in result.masks_left]
    width = len(masks[0]) if masks else 0
    if width < 3 or any(len(parts) != width for parts in masks):
        return
    images = [_parts(stem) for _, stem in result.images_left]
    for place in range(1, width - 1):
        if not all(parts[place].lower() in MASK_AFFIXES for parts in masks):
            continue
        words = {parts[place] for parts in images if len(parts) == width}
        if len(words) > 1 or not all(word.isalpha() for word in words):
            continue
        image_key, mask_key = _without(place, width, words), _without(place, width, None)
        found = _unique(result.images_left, image_key).keys()
        matched = len(found & _unique(result.masks_left, mask_key).keys())
        if matched > 1 and matched >= _COVERAGE * len(masks):
            removed = " and ".join(sorted(words | {masks[0][place]}))
            _match(result, image_key, mask_key, f"names without {removed}")
            return


def _parts(stem: str) -> list[str]:
    return re.split(r"[_\-. ]", stem.rpartition("/")[2])


def _without(place: int, width: int, words: set[str] | None) -> Callable[[str], str]:
    """A function that removes the word at a place from names of `width` parts; '' for others.

    With `words` given, only these are removed, and names that lack the word stay as they are.
    """

    def key(stem: str) -> str:
        folder, slash, _ = stem.rpartition("/")
        parts = _parts(stem)
        if words is not None and not words and len(parts) == width - 1:
            return folder + slash + "_".join(parts)
        if len(parts) != width or (words is not None and parts[place] not in words):
            return ""
        return folder + slash + "_".join(parts[:place] + parts[place + 1 :])

    return key


def _core(affixes: tuple[str, str], key: Callable[[str], str] = str) -> Callable[[str], str]:
    """A function that removes a prefix and tail and applies `key`; '' if they do not fit."""
    prefix, tail = affixes

    def core(stem: str) -> str:
        folder, slash, name = stem.rpartition("/")
        if not name.startswith(prefix) or not name.endswith(tail):
            return ""
        inner = name[len(prefix) : len(name) - len(tail)]
        return folder + slash + key(inner) if inner else ""

    return core


def _unpadded(stem: str) -> str:
    return re.sub(r"\d+", lambda digits: str(int(digits.group())), folded(stem))


def _uploaded(stem: str) -> str:
    """The name without Label Studio's upload prefix; '' if it has none."""
    folder, slash, name = stem.rpartition("/")
    plain = without_upload_prefix(name)
    return folder + slash + plain if plain != name else ""


def _plain(stem: str) -> str:
    return "" if _uploaded(stem) else stem


def _unique(names: Iterable[Name], key: Callable[[str], str]) -> dict[Name, Name]:
    """(group, key) -> name for the keys that occur once."""
    keyed = [((group, key(stem)), (group, stem)) for group, stem in names if key(stem)]
    counts = Counter(one for one, _ in keyed)
    return {one: name for one, name in keyed if counts[one] == 1}


def _match(
    result: Pairs, image_key: Callable[[str], str], mask_key: Callable[[str], str], reason: str
) -> None:
    if not result.masks_left or not result.images_left:
        return
    images = _unique(result.images_left, image_key)
    masks = _unique(result.masks_left, mask_key)
    new = {masks[key]: images[key] for key in masks if key in images}
    if not new:
        return
    result.pairs |= new
    taken = set(new.values())
    result.images_left = [name for name in result.images_left if name not in taken]
    result.masks_left = [name for name in result.masks_left if name not in new]
    if reason:
        shown = some([f"{mask[1]} -> {image[1]}" for mask, image in new.items()], 3)
        result.notes.append(f"{len(new)} masks paired by {reason}: {shown}")


def _affix_rule(result: Pairs) -> _Rule | None:
    """Finds the prefix and tail that pair most of the remaining masks, or None."""
    images, masks = result.images_left, result.masks_left[:_SAMPLE]
    if not images or not masks:
        return None
    image_options = _options([stem for _, stem in images], known_only=bool(result.pairs))
    mask_options = _options([stem for _, stem in masks], known_only=bool(result.pairs))
    best: tuple[int, int, _Rule] | None = None
    for image, mask in itertools.product(image_options, mask_options):
        rule = _Rule(image, mask)
        if _is_number(image[0]) and _is_number(mask[0]):
            # 20240101-road and 20240102-road are two days.
            continue
        found = _unique(images, _core(image, _unpadded))
        matched = len(found.keys() & _unique(masks, _core(mask, _unpadded)).keys())
        if matched and (best is None or (matched, -rule.length) > best[:2]):
            best = (matched, -rule.length, rule)
    if best is None:
        return None
    matched, _, rule = best
    known = _known(rule.mask) and not any(rule.image)
    # One pair of short names is no evidence: a1 and b1 may be two images.
    convincing = matched > 1 or len(_core(rule.mask)(masks[0][1])) >= _LONG_CORE
    # Numbers left over after two prefixes were removed look like a shift: frame0 <-> mask1.
    least = len(masks) if any(rule.image) else _COVERAGE * len(masks)
    return rule if known or (convincing and matched >= least) else None


def _is_number(prefix: str) -> bool:
    return prefix.strip("_-. ").isdigit()


def _known(affixes: tuple[str, str]) -> bool:
    parts = [part.strip("_-. ").lower() for part in affixes if part]
    return bool(parts) and all(part in MASK_AFFIXES for part in parts)


def _options(stems: list[str], *, known_only: bool) -> list[tuple[str, str]]:
    """(prefix, tail) pairs that may be removed: common to all names, or known words."""
    names = [stem.rpartition("/")[2] for stem in stems]
    tails, prefixes = {""}, {""}
    if not known_only:
        tails |= set(_boundaries([name[::-1] for name in names], reverse=True))
        prefixes |= set(_boundaries(names, reverse=False))
    for name in names[:_SAMPLE]:
        found = re.match(r"(.*?)([_\-. ]?)([A-Za-z]+\d?)$", name)
        if found and found.group(3).lower() in MASK_AFFIXES:
            tails.add(found.group(2) + found.group(3))
        tails.add(joined(name)[1])
        found = re.match(r"([A-Za-z]+)([_\-. ])", name)
        if found and found.group(1).lower() in MASK_AFFIXES:
            prefixes.add(found.group())
    return [(p, t) for p in sorted(prefixes) for t in sorted(tails)]


def _boundaries(names: list[str], *, reverse: bool) -> list[str]:
    """The beginnings common to all names that end at a word boundary."""
    common = os.path.commonprefix(names)
    if len(names) == 1:
        common = common[: max(len(common) - 1, 0)]
    found = []
    for end in range(1, len(common) + 1):
        part = common[:end]
        following = names[0][end : end + 1]
        # A boundary: after a separator, or between a letter and a digit.
        inside = part[-1].isalnum() and following.isalnum()
        if not following or (inside and part[-1].isdigit() == following.isdigit()):
            continue
        if reverse and part[-1].isalnum() and not inside:
            continue
        found.append(part[::-1] if reverse else part)
    return found[:8]


# Tails of nnU-Net's channels, and of the bands of cameras.
_CHANNEL = re.compile(
    r"(?:.*/)?(.+)(_\d{4}|[_-](?:rgb|nir|ir|swir|red|green|blue|rededge|thermal|depth|b\d\d?a?))",
    re.IGNORECASE,
)


def _channels(result: Pairs) -> list[str]:
    """The tails _0000, _rgb, … of the images if each mask that is left has an image with each."""
    tails: dict[str, set[str]] = {}
    for _, stem in result.images_left:
        found = _CHANNEL.fullmatch(stem)
        if found:
            tails.setdefault(found.group(1), set()).add(found.group(2))
    every = [tails.get(stem.rpartition("/")[2], set()) for _, stem in result.masks_left]
    same = bool(every) and len(every[0]) > 1 and all(one == every[0] for one in every)
    return sorted(every[0]) if same else []


def _finish(result: Pairs) -> Pairs:
    if not result.masks_left:
        return result
    stems = [stem for _, stem in result.images_left][:20000]
    described = []
    for _, stem in result.masks_left[:3]:
        near = difflib.get_close_matches(stem, stems, n=1, cutoff=0.7)
        described.append(f"{stem} (nearest: {near[0]})" if near else stem)
    renamed = {before_roboflow(stem.rpartition("/")[2]) for stem in stems} - {""}
    own = sum(stem.rpartition("/")[2] in renamed for _, stem in result.masks_left)
    if own:
        result.warnings.append(
            f"{own} masks have the names of photos before Roboflow renamed them; Roboflow may have "
            "resized, flipped or copied these photos; use the original photos, or export the masks "
            "from Roboflow, too"
        )
    channels = _channels(result)
    if channels:
        result.warnings.append(
            f"{some(channels)}: every mask has an image with each of these tails, as nnU-Net names "
            "the channels of one image, and cameras their bands; expected one image for a mask; "
            "join the channels in one TIFF or NPY file of several bands, or move the others away"
        )
    more = ", …" if len(result.masks_left) > 3 else ""
    result.warnings.append(
        f"{len(result.masks_left)} masks have no image of the same name and are left out: "
        f"{', '.join(described)}{more}"
    )
    return result
