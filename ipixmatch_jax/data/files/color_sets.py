"""Colors of which the same class has several, because programs wrote its files differently."""

import itertools
from collections.abc import Sequence

import numpy as np

from ipixmatch_jax.data.files.mask_facts import MaskFacts

Color = tuple[int, int, int]

# Matplotlib's color maps at their first and last value, each channel to within one.
_MAP_ENDS = {
    "viridis": ((68, 1, 84), (253, 231, 36)),
    "plasma": ((12, 7, 134), (239, 248, 33)),
    "inferno": ((0, 0, 3), (252, 254, 164)),
    "magma": ((0, 0, 3), (251, 252, 191)),
    "cividis": ((0, 34, 77), (253, 231, 55)),
    "jet": ((0, 0, 127), (127, 0, 0)),
    "turbo": ((48, 18, 59), (122, 4, 2)),
}
# The ends of `jet` are usual colors of classes, navy and maroon; so all colors must lie on it.
# Of each channel: positions from 0 to 1, and the brightness there, up to 255.
_JET = (
    ((0, 0.35, 0.66, 0.89, 1), (0, 0, 255, 255, 127.5)),
    ((0, 0.125, 0.375, 0.64, 0.91, 1), (0, 0, 255, 255, 0, 0)),
    ((0, 0.11, 0.34, 0.65, 1), (127.5, 255, 255, 0, 0)),
)
# The colors that skimage.color.label2rgb gives to the labels of an image in turn.
_IN_TURN = (
    (255, 0, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 128, 0),
    (75, 0, 130), (255, 140, 0), (0, 255, 255), (255, 192, 203), (154, 205, 50),
)  # fmt: skip
# With two colors, the second may be a rarer class.
_LEAST_IN_TURN = 3
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
# Share of the masks of which a background is the commonest color.
_MOSTLY = 0.8
# Two colors of one class: no channel differs by more, and no other color is as near.
_SIMILAR = 32


def stretched_map(facts: Sequence[MaskFacts]) -> str:
    """The color map with which every file was drawn from its own least to its own largest id.

    Matplotlib's `imsave` does so: in a file of three classes the second has the middle color, in
    a file of two the color of the end. '' unless files of two colors and files of more colors all
    show both ends.
    """
    several = [set(fact.colors) for fact in facts if len(fact.colors) > 1]
    if len({len(colors) for colors in several}) < 2:
        return ""
    for name, ends in _MAP_ENDS.items():
        if all(all(_holds(colors, end) for end in ends) for colors in several) and (
            name != "jet" or _on_jet(set().union(*several))
        ):
            return name
    return ""


def colored_in_turn(facts: Sequence[MaskFacts]) -> bool:
    """True if every file shows the first colors of scikit-image's list, and not all show as many.

    `label2rgb` gives red to the lowest label of an image, blue to the next one and so on: a class
    has another color in an image that lacks a lower class.
    """
    counts = set()
    for fact in facts:
        own = set(fact.colors) - {_BLACK}
        if own != set(_IN_TURN[: len(own)]):
            return False
        counts |= {len(own)} if own else set()
    return len(counts) > 1 and max(counts) >= _LEAST_IN_TURN


def _holds(colors: set[Color], wanted: Color) -> bool:
    return any(max(abs(a - b) for a, b in zip(c, wanted, strict=True)) <= 1 for c in colors)


def _on_jet(colors: set[Color]) -> bool:
    steps = np.linspace(0, 1, 256)
    jet = np.stack([np.interp(steps, *channel) for channel in _JET], -1)
    distance = np.abs(np.array(sorted(colors))[:, None] - jet).max(-1).min(-1)
    return bool((distance <= 2).all())


def two_backgrounds(facts: Sequence[MaskFacts]) -> bool:
    """True if black is the background of some masks, and white that of all others.

    Each is the commonest color of nearly every mask that shows it, no mask shows both, and both
    kinds of masks have some other color in common.
    """
    black, white = [[f for f in facts if color in f.colors] for color in (_BLACK, _WHITE)]
    if not black or not white or len(black) + len(white) != len(facts):
        return False
    if any(_WHITE in fact.colors for fact in black):
        return False
    common = sum(
        max(fact.colors, key=fact.colors.__getitem__) in (_BLACK, _WHITE) for fact in facts
    )
    shared = set().union(*(f.colors for f in black)) & set().union(*(f.colors for f in white))
    return bool(shared) and common >= _MOSTLY * len(facts)


def two_families(facts: Sequence[MaskFacts]) -> list[tuple[Color, Color]]:
    """Pairs of similar colors that tell two kinds of files apart; empty if there are none.

    Every color has one in the other kind of files that is nearly the same, except those that both
    kinds show; no file shows both colors of a pair. So another program wrote the colors of the same
    classes, or converted them to another color space.
    """
    shown = [frozenset(fact.colors) for fact in facts]
    colors = sorted(set().union(*shown))
    if len(colors) < 3:
        return []
    together = {pair for held in shown for pair in itertools.combinations(sorted(held), 2)}
    array = np.array(colors, np.int16)
    distance = np.abs(array[:, None] - array[None]).max(-1) + 999 * np.eye(len(colors), dtype=int)
    nearest = distance.argmin(1)
    pairs = [
        (colors[i], colors[j])
        for i, j in enumerate(nearest)
        if i < j and nearest[j] == i and distance[i, j] <= _SIMILAR
        and (colors[i], colors[j]) not in together
    ]  # fmt: skip
    paired = {color for pair in pairs for color in pair}
    shared = set(colors) - paired
    if not pairs or len(shared) > 1 + len(pairs):
        return []
    # Each file shows colors of one kind alone; the first pair that a file shows tells its kind.
    kind: dict[Color, int] = {pairs[0][0]: 0, pairs[0][1]: 1}
    other = {one: two for pair in pairs for one, two in (pair, pair[::-1])}
    for _ in pairs:
        for held in shown:
            kinds = {kind[color] for color in held & kind.keys()}
            if len(kinds) > 1:
                return []
            for color in held & paired if kinds else ():
                kind.setdefault(color, min(kinds))
                kind.setdefault(other[color], 1 - min(kinds))
    return pairs if kind.keys() == paired else []
