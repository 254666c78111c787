"""Tiles of larger images: told by their names, and by finding their pixels in the larger image."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from ipixmatch_jax.data.files.images import displayable
from ipixmatch_jax.data.files.split_lists import short_id

# The rest of a tile's name after that of its image: _0_512, -tile3, _x0_y512, _crop_1.
_TAIL = re.compile(
    r"(?:[_\-. ]*(?:tile|patch|crop|part|chip|row|col|[xyrcwh])?[_\-. ]*\d+)+$", re.IGNORECASE
)
_SEPARATOR = re.compile(r"[_\-. ]+")
# Side of the square that is searched in the larger image, and its correlation there; JPEG lowers
# it, and squares of other photos stay far below. Squares of less contrast tell nothing.
_PATCH, _FOUND, _LEAST_CONTRAST = 32, 0.9, 4.0
# Side of the parts of an image that are searched at once.
_PART = 1024
# Pairs whose pixels are compared, and share of them that must be tiles.
_COMPARED, _MOST = 12, 0.5

# A tile's place in its image: img_1_0_512, img_1_r2_c3, img_1_tile_0_1.
_PLACE = re.compile(
    r"(.+?)[_\-. ]+(?:tile|patch|crop|part|chip|row|[xyr])?[_\-. ]*(\d+)"
    r"[_\-. ]*(?:col|[xyc])?[_\-. ]*(?<!\d)(\d+)",
    re.IGNORECASE,
)
# Pairs of neighbors, correlation of their borders, and share of the pairs that reach it. Borders of
# other images have correlations around 0.
_LEAST_NEIGHBORS, _CONTINUED, _MOST_CONTINUED = 4, 0.7, 0.7

Reader = Callable[[int], np.ndarray]


def tile_pairs(names: Sequence[str], read: Reader) -> list[tuple[int, int]]:
    """Pairs (image, tile): the name of the tile begins with that of the image, which holds it.

    Args:
        names: ids of images; folders and endings do not count.
        read: the image of an index, uint8 [H,W,C]; called for a few of the pairs.
    """
    pairs = _by_name(names)
    tried = pairs[:: max(1, len(pairs) // _COMPARED)]
    found = {pair for pair in tried if holds(read(pair[0]), read(pair[1]))}
    if not found or len(found) < _MOST * len(tried):
        return []
    return [pair for pair in pairs if pair in found or pair not in tried]


def _by_name(names: Sequence[str]) -> list[tuple[int, int]]:
    stems = [short_id(name) for name in names]
    owners: dict[str, list[int]] = {}
    for index, stem in enumerate(stems):
        owners.setdefault(stem, []).append(index)
    return [
        (owner, index)
        for index, stem in enumerate(stems)
        for cut in _SEPARATOR.finditer(stem)
        if stem[: cut.start()] in owners and _TAIL.match(stem, cut.start())
        for owner in owners[stem[: cut.start()]]
    ]


def sibling_groups(names: Sequence[str], read: Reader) -> list[list[int]]:
    """Tiles of one image that is not there: img_1_0_0, img_1_0_1, …, whose borders go on.

    Args:
        names: ids of images; folders and endings do not count.
        read: the image of an index, uint8 [H,W,C]; called for a few tiles.
    """
    grids: dict[str, dict[tuple[int, int], int]] = {}
    for index, name in enumerate(names):
        found = _PLACE.fullmatch(short_id(name))
        if found:
            place = int(found.group(2)), int(found.group(3))
            grids.setdefault(found.group(1), {}).setdefault(place, index)
    grids = {base: grid for base, grid in grids.items() if len(grid) > 1}
    for axis in (0, 1):
        pairs = [pair for grid in grids.values() for pair in _neighbors(grid, axis)]
        if len(pairs) >= _LEAST_NEIGHBORS and _go_on(pairs[:: -(-len(pairs) // _COMPARED)], read):
            return [sorted(grid.values()) for grid in grids.values()]
    return []


def _neighbors(grid: dict[tuple[int, int], int], axis: int) -> list[tuple[int, int]]:
    """Pairs of tiles whose places follow each other in one number, and are equal in the other."""
    order = sorted(grid, key=lambda place: (place[1 - axis], place[axis]))
    pairs = zip(order, order[1:], strict=False)
    return [(grid[a], grid[b]) for a, b in pairs if a[1 - axis] == b[1 - axis]]


def _go_on(pairs: Sequence[tuple[int, int]], read: Reader) -> bool:
    """True if most second images of the pairs go on where the first ones end, and no others do."""
    grays = [tuple(displayable(read(i)).mean(-1, dtype=np.float32) for i in pair) for pair in pairs]
    others = [(first, grays[(n + len(grays) // 2) % len(grays)][1])
              for n, (first, _) in enumerate(grays)]  # fmt: skip
    for side in (lambda a, b: (a[:, -1], b[:, 0]), lambda a, b: (a[-1], b[0])):
        own, far = ([_correlation(*side(*pair)) for pair in some] for some in (grays, others))
        own, far = ([one for one in some if one is not None] for some in (own, far))
        if len(own) >= _LEAST_NEIGHBORS and np.mean(np.array(own) > _CONTINUED) > _MOST_CONTINUED:
            return not far or float(np.mean(far)) < _CONTINUED / 2
    return False


def _correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """The correlation of two borders [N]; None if they have no contrast, or other lengths."""
    if one.shape != other.shape or min(one.std(), other.std()) < _LEAST_CONTRAST:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def holds(image: np.ndarray, tile: np.ndarray) -> bool:
    """True if an image uint8 [H,W,C] shows a tile uint8 [h,w,C] somewhere, at the same scale."""
    if image.shape[0] < tile.shape[0] or image.shape[1] < tile.shape[1]:
        return False
    if image.shape[:2] == tile.shape[:2] or min(tile.shape[:2]) < _PATCH // 2:
        return False
    patch = _clearest(displayable(tile).mean(-1, dtype=np.float32))
    if patch.std() < _LEAST_CONTRAST:
        return False
    # In parts, which overlap by a patch: photos of 100 megapixels would need gigabytes.
    step = _PART - _PATCH
    return any(
        _best_correlation(displayable(part).mean(-1, dtype=np.float32), patch) > _FOUND
        for top in range(0, max(1, image.shape[0] - _PATCH), step)
        for left in range(0, max(1, image.shape[1] - _PATCH), step)
        for part in [image[top : top + _PART, left : left + _PART]]
        if min(part.shape[:2]) >= max(patch.shape)
    )


def _clearest(gray: np.ndarray) -> np.ndarray:
    """The square of most contrast of [H,W]."""
    side = min(_PATCH, *gray.shape)
    squares = [
        gray[top : top + side, left : left + side]
        for top in range(0, gray.shape[0] - side + 1, side)
        for left in range(0, gray.shape[1] - side + 1, side)
    ]
    return max(squares, key=lambda square: float(square.std()))


def _best_correlation(gray: np.ndarray, patch: np.ndarray) -> float:
    """The highest correlation of a patch [h,w] with the parts of [H,W] of its size."""
    height, width = patch.shape
    size = gray.shape
    centered = patch - patch.mean()
    # The sum over a window of products is a convolution with the turned patch.
    spectrum = np.fft.rfft2(gray - gray.mean())
    product = np.fft.irfft2(spectrum * np.fft.rfft2(centered[::-1, ::-1], size), size)
    product = product[height - 1 :, width - 1 :]
    sums, squares = (window_sums(gray.astype(np.float64) ** power, patch.shape) for power in (1, 2))
    spread = np.sqrt(np.maximum(squares - sums**2 / patch.size, 0))
    clear = spread > 0.5 * np.linalg.norm(centered)
    return float((product[clear] / (spread[clear] * np.linalg.norm(centered))).max(initial=0.0))


def window_sums(values: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """Sums of all windows [h,w] of [H,W]."""
    total = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    height, width = window
    return (
        total[height:, width:] - total[:-height, width:]
        - total[height:, :-width] + total[:-height, :-width]
    )  # fmt: skip
