"""Signs of smoothed edges in masks: values and colors that lie between those of the classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ipixmatch_jax.data.records import IGNORE

# A mask of fewer values has no smoothed edges that could be told from classes.
_FEW_VALUES = 5
# Values with a smaller share of the pixels may be smoothed edges, if they lie on edges.
_RARE = 0.02
# Share of the pixels of rare values that lie in lines no more than a pixel or two thick.
_THIN = 0.7
# Fewer blends may be classes of thin things, such as poles and wires.
_FEWEST_BLENDS = 3
# Largest distance of a blend to the line between two colors.
_NEAR = 4.0
_MOST_COMPARED = 256
# Values of black and white after lossy compression, and the share of the others.
_NEAR_BLACK, _MOST_BETWEEN = 48, 0.1
# Neighboring values that hold more than this multiple of the mean between black and white, or more
# than this share of all pixels, are a class.
_PEAK, _MOST_PEAKED, _NO_PEAK = 9, 2.5, 0.0002
# Interpolated ids: steps of two or more that are direct, as a multiple of those that are not: if
# images were enlarged twice or more, and at most. Noise has twice as many or more.
_FEW_DIRECT, _MOST_DIRECT = 0.1, 1.8
# More values than these are brightness; see `mask_values`.
_MOST_IDS = 64


def many_rare(counts: Mapping) -> bool:
    """True if a mask has many colors, most of which few pixels show."""
    total = sum(counts.values())
    rare = sum(count < 0.002 * total for count in counts.values())
    return len(counts) > 24 and rare > 0.7 * len(counts)


def smoothed_values(values: np.ndarray, counts: Mapping[int, int]) -> bool:
    """True if rare values lie on the edges of common ones, as resampling and JPEG leave them."""
    if len(counts) < _FEW_VALUES:
        return False
    common, rare = _common_and_rare(counts)
    low, high = min(counts), max(counts)
    between = [value for value in rare if low < value < high]
    if not common or len(between) < 3 or 2 * len(between) < len(counts):
        return False
    if len(counts) > 64 and len(between) > 0.8 * len(counts):
        return True
    return bool(thin_lines(values)[np.isin(values, between)].mean() > _THIN)


def smoothed_colors(numbers: np.ndarray, counts: Mapping[tuple[int, int, int], int]) -> bool:
    """True if rare colors on edges are blends of the common colors.

    Args:
        numbers: one number for each color, red in its lowest byte: uint32 [H,W].
        counts: pixels of each color.
    """
    if many_rare(counts):
        return True
    common, rare = _common_and_rare(counts)
    if len(common) < 2 or len(rare) < _FEWEST_BLENDS:
        return False
    rare = sorted(rare, key=lambda color: -counts[color])[:_MOST_COMPARED]
    blends = _on_lines(np.array(rare, np.float64), np.array(common, np.float64))
    if blends.sum() < max(_FEWEST_BLENDS, 0.5 * len(rare)):
        return False
    blended = [r | g << 8 | b << 16 for (r, g, b), blend in zip(rare, blends, strict=True) if blend]
    return bool(thin_lines(numbers)[np.isin(numbers, blended)].mean() > _THIN)


def _common_and_rare(counts: Mapping) -> tuple[list, list]:
    total = sum(counts.values())
    common = [value for value, count in counts.items() if count >= _RARE * total]
    return common, [value for value, count in counts.items() if count < _RARE * total]


def _on_lines(colors: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """For each of [N,3] colors, True if it lies between two of the [M,3] ends: bool [N]."""
    near = np.zeros(len(colors), bool)
    for i in range(len(ends)):
        for j in range(i):
            line = ends[j] - ends[i]
            share = ((colors - ends[i]) @ line / max(line @ line, 1.0))[:, None]
            distance = np.linalg.norm(colors - ends[i] - share * line, axis=1)
            near |= (distance < _NEAR) & (share[:, 0] > 0.02) & (share[:, 0] < 0.98)
    return near


def thin_lines(values: np.ndarray) -> np.ndarray:
    """True where both neighbors on a row, or in a column, hold another value: bool [H,W]."""
    padded = np.pad(values, 1, mode="edge").astype(np.int64)
    center = padded[1:-1, 1:-1]
    beside = (padded[1:-1, :-2] != center) & (padded[1:-1, 2:] != center)
    above = (padded[:-2, 1:-1] != center) & (padded[2:, 1:-1] != center)
    return beside | above


def black_and_white(counts: Sequence[Mapping[int, int]]) -> bool:
    """True if gray masks show black and white, and between them no more than smoothed edges.

    A class of another brightness, even a small one, shows as a peak between black and white.

    Args:
        counts: of each mask, pixels of the values 0..255.
    """
    total = np.zeros(256)
    for held in counts:
        total[list(held)] += list(held.values())
    dark, bright = total[:_NEAR_BLACK].sum(), total[-_NEAR_BLACK:].sum()
    middle = total[_NEAR_BLACK:-_NEAR_BLACK]
    peak = np.convolve(middle, np.ones(_PEAK), "valid").max()
    flat = peak <= max(_MOST_PEAKED * _PEAK * middle.mean(), _NO_PEAK * total.sum())
    clear = min(dark, bright) > middle.sum() and middle.sum() < _MOST_BETWEEN * total.sum()
    return bool(flat and clear)


@dataclass(frozen=True)
class Steps:
    """Steps between the ids of neighboring pixels, in rows and columns.

    Attributes:
        direct: neighbors whose ids differ by two or more.
        through: runs of one or two pixels whose id lies between those on both sides.
        single: neighbors whose ids differ by one.
        thin: of the ids of those runs, the pixels in the runs.
        whole: of the ids of those runs, all pixels.
    """

    direct: int = 0
    through: int = 0
    single: int = 0
    thin: int = 0
    whole: int = 0

    def __add__(self, other: "Steps") -> "Steps":
        return Steps(*(a + b for a, b in zip(vars(self).values(), vars(other).values(),
                                             strict=True)))  # fmt: skip

    @property
    def smoothed(self) -> bool:
        """True if nearly every step of two or more passes through the ids between."""
        return self._interpolated(_FEW_DIRECT)

    @property
    def interpolated(self) -> bool:
        """True if ids were interpolated: steps of two or more pass through the ids between.

        Of masks that people drew, at most one in twenty does so; of masks that were resized by any
        factor with any filter, more than one in three. Compression has such steps, too.
        """
        return self._interpolated(_MOST_DIRECT)

    def _interpolated(self, direct: float) -> bool:
        """True if direct steps are fewer than this multiple of those through ids between.

        A class that is drawn as a border between others is always thin, and nested classes are
        thick; an interpolated id is thin between others, and thick where it is a class.
        """
        return (
            self.through >= 40
            and self.direct < direct * self.through
            and 2 * self.through > 0.3 * self.single
            and self.thin < 0.7 * self.whole
        )


def steps_of(ids: np.ndarray, counts: Mapping[int, int]) -> Steps:
    """The steps of a mask of class ids, integers [H,W]; 255 is no id."""
    used = [value for value in counts if value != IGNORE]
    if not 3 <= len(used) <= _MOST_IDS:
        return Steps()
    values = ids.astype(np.int16)
    total = Steps()
    thin = np.zeros(values.shape, bool)
    for along, marked in ((values, thin), (values.T, thin.T)):
        both = (along[:, 1:] != IGNORE) & (along[:, :-1] != IGNORE)
        jump = np.abs(along[:, 1:] - along[:, :-1]) * both
        through = sum(_mark_runs(along, length, marked) for length in (1, 2))
        total += Steps(int((jump >= 2).sum()), through, int((jump == 1).sum()))
    inside = np.unique(values[thin]).tolist()
    return total + Steps(thin=int(thin.sum()), whole=sum(counts[value] for value in inside))


def _mark_runs(values: np.ndarray, length: int, marked: np.ndarray) -> int:
    """Marks the runs of `length` pixels in rows whose ids lie between those on both sides."""
    width = values.shape[1] - length - 1
    if width < 1:
        return 0
    parts = [values[:, k : k + width] for k in range(length + 2)]
    rising = (parts[0] < parts[1]) & (parts[-2] < parts[-1]) & (parts[1] <= parts[-2])
    falling = (parts[0] > parts[1]) & (parts[-2] > parts[-1]) & (parts[1] >= parts[-2])
    run = rising | falling
    for part in parts:
        run &= part != IGNORE
    for k in range(1, length + 1):
        marked[:, k : k + width] |= run
    return int(run.sum())
