"""What the name of a mask has more than that of its image: `_mask` of X_mask, `gt_` of gt_X."""

import re
from collections.abc import Iterable

from ipixmatch_jax.data.importers.names import MASK_AFFIXES, joined
from ipixmatch_jax.data.importers.pairing import Name

_TAIL = re.compile(r"(.+)[_\-. ]([A-Za-z]+1?)$")
_HEAD = re.compile(r"([A-Za-z]+)(?:[_\-. ](.+)|(\d+))$")


def bare(stem: str, affixes: tuple[str, str] = ("", "")) -> str:
    """The image name in a mask's file name: X of X_mask or mask_X, 1 of mask1; '' without affix."""
    prefix, tail = affixes
    if any(affixes):
        fits = stem.startswith(prefix) and stem.endswith(tail) and len(stem) > len(prefix + tail)
        return stem[len(prefix) : len(stem) - len(tail)] if fits else ""
    found = _TAIL.match(stem)
    if found and found.group(2).lower() in MASK_AFFIXES:
        return found.group(1)
    found = _HEAD.match(stem)
    if not found or found.group(1).lower() not in MASK_AFFIXES:
        return ""
    return found.group(2) or found.group(3)


def rival_affixes(names: Iterable[Name]) -> dict[str, list[Name]]:
    """Affixes of masks that belong to the same images: `*_mask` and `*_gt` for X_mask and X_gt.

    Without any image that has two masks, none.
    """
    affixes: dict[str, list[Name]] = {}
    images: dict[str, set[Name]] = {}
    for group, stem in names:
        image = bare(stem) or joined(stem)[0]
        start = stem.rfind(image)
        affix = f"{stem[:start]}*{stem[start + len(image) :]}".lower()
        affixes.setdefault(affix, []).append((group, stem))
        images.setdefault(affix, set()).add((group, image))
    return {
        affix: own for affix, own in affixes.items()
        if any(images[affix] & images[other] for other in images if other != affix)
    }  # fmt: skip
