"""Facts of one mask file, from which the masks of a data set are judged."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from ipixmatch_jax.data.files.decoding import MAX_PIXELS
from ipixmatch_jax.data.files.mask_edges import Steps, smoothed_colors, smoothed_values, steps_of
from ipixmatch_jax.data.files.mask_styles import nearly_gray, whole_numbers
from ipixmatch_jax.data.files.stored_masks import StoredMask, read_stored

_THREADS = 4


@dataclass(frozen=True)
class MaskFacts:
    """Facts of one mask.

    Attributes:
        path: the file.
        counts: pixels of each stored value, 255 for missing data; empty for real colors.
        colors: pixels of each color that the mask shows; empty if its values are no colors.
        palette: the color of each value in use, if the file has a palette that tells something.
        table: the file's whole palette, likewise.
        channels: the file has three equal channels or real colors, not one channel.
        smoothed: many rare values lie on the edges between common ones.
        steps: steps between the ids of neighboring pixels.
        alpha: pixels of each alpha value, if it varies.
        lossy: the name of the lossy compression, or ''.
        deep: the file has more than 8 bits per value.
        equal: share of the pixels whose right neighbor has the same value.
        rim: the values of the outermost pixels.
        white_is_zero: viewers show 0 as white and the other value as black: a TIFF, or a palette.
    """

    path: str
    counts: dict[int, int] = field(default_factory=dict)
    colors: dict[tuple[int, int, int], int] = field(default_factory=dict)
    palette: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    table: tuple[tuple[int, int, int], ...] = ()
    channels: bool = False
    smoothed: bool = False
    steps: Steps = Steps()
    alpha: dict[int, int] = field(default_factory=dict)
    lossy: str = ""
    deep: bool = False
    equal: float = 1.0
    rim: frozenset[int] = frozenset()
    white_is_zero: bool = False

    @property
    def values(self) -> set[int]:
        """The stored values."""
        return set(self.counts)

    @property
    def real_colors(self) -> bool:
        """True if a pixel of three channels is not gray."""
        return self.channels and not self.counts


def read_facts(paths: Sequence[str], max_pixels: int = MAX_PIXELS) -> list[MaskFacts]:
    """The facts of each mask, in order.

    Raises:
        DataError: a mask that cannot be read.
    """
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="masks") as executor:
        return list(executor.map(lambda path: mask_facts(path, max_pixels), paths))


def mask_facts(path: str, max_pixels: int = MAX_PIXELS) -> MaskFacts:
    """The facts of one mask file.

    Raises:
        DataError: unreadable, or numbers that are no class ids in any style.
    """
    return facts_of(read_stored(path, path, max_pixels), path)


def facts_of(stored: StoredMask, path: str) -> MaskFacts:
    """The facts of a mask that has been read; see `mask_facts`."""
    alpha = {} if stored.alpha is None else _counts(stored.alpha)
    common = {"path": path, "alpha": alpha if len(alpha) > 1 else {}, "lossy": stored.lossy}
    gray = nearly_gray(stored.colors) if stored.gray is None and stored.lossy else stored.gray
    if gray is None:
        numbers = _numbers(stored.colors)
        colors = _color_counts(numbers)
        smoothed = smoothed_colors(numbers, colors)
        return MaskFacts(colors=colors, channels=True, smoothed=smoothed, **common)
    integers = whole_numbers(gray, stored.nodata, path)
    counts = _counts(integers)
    palette = {value: stored.palette[value] for value in counts if value < len(stored.palette)}
    if not _telling(palette):
        palette = {}
    # Viewers show the 1 of an image of one bit as white.
    white = 255 if gray.dtype == bool else 1
    shown = palette or ({v: (v * white,) * 3 for v in counts} if max(counts) <= 255 else {})
    return MaskFacts(
        counts=counts,
        colors=_merged(counts, shown),
        palette=palette,
        table=stored.palette if palette else (),
        channels=stored.values is None,
        smoothed=not palette and smoothed_values(integers, counts),
        steps=Steps() if palette else steps_of(integers, counts),
        deep=gray.dtype.itemsize > 1,
        equal=_equal_neighbors(integers),
        rim=_rim(integers) if len(counts) == 2 else frozenset(),
        white_is_zero=stored.white_is_zero or _negative(palette),
        **common,
    )


def _negative(palette: dict[int, tuple[int, int, int]]) -> bool:
    """True for a palette of white and black, as of bitmaps of one bit."""
    colors = [color for _, color in sorted(palette.items())]
    return min(palette, default=1) == 0 and colors == [(255, 255, 255), (0, 0, 0)]


def _equal_neighbors(values: np.ndarray) -> float:
    return float((values[:, 1:] == values[:, :-1]).mean()) if values.shape[1] > 1 else 1.0


def _rim(values: np.ndarray) -> frozenset[int]:
    sides = (values[0], values[-1], values[:, 0], values[:, -1])
    return frozenset(int(value) for side in sides for value in np.unique(side))


def _telling(palette: dict[int, tuple[int, int, int]]) -> bool:
    """False for palettes of equal colors and for ramps of gray, which nobody has chosen."""
    ramp = all(color == (value, value, value) for value, color in palette.items())
    return not ramp and (len(palette) < 2 or len(set(palette.values())) > 1)


def _merged(counts: dict, shown: dict) -> dict:
    colors: dict[tuple[int, int, int], int] = {}
    for value, color in shown.items():
        colors[color] = colors.get(color, 0) + counts[value]
    return colors


def _counts(values: np.ndarray) -> dict[int, int]:
    if values.dtype == np.uint8:
        counts = np.bincount(values.ravel(), minlength=256)
        return {int(v): int(counts[v]) for v in np.flatnonzero(counts)}
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _numbers(colors: np.ndarray) -> np.ndarray:
    """One number for each color, red in its lowest byte: uint32 [H,W]."""
    four = np.zeros((*colors.shape[:2], 4), np.uint8)
    four[..., :3] = colors
    return four.view("<u4")[..., 0]


def _color_counts(numbers: np.ndarray) -> dict[tuple[int, int, int], int]:
    counts = np.bincount(numbers.ravel(), minlength=2**24) if numbers.size > 2**18 else None
    if counts is None:
        found, shares = np.unique(numbers, return_counts=True)
    else:
        found = np.flatnonzero(counts)
        shares = counts[found]
    return {
        (int(n) & 255, int(n) >> 8 & 255, int(n) >> 16): int(count)
        for n, count in zip(found.tolist(), shares.tolist(), strict=True)
    }
