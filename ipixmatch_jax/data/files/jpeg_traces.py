"""Signs that class ids went through JPEG before they were saved as PNG.

JPEG rounds blocks of 8x8 pixels. A mask that went through it hardly changes if that is done again,
but changes like any other mask if the blocks are shifted. A mask that was never compressed changes
equally in both cases. So each mask is compared with itself, without assumptions about its classes,
and then all masks together, since small masks alone give little evidence.

Strong compression leaves too little to compare. But it leaves many edges between two blocks, on
every eighth row and column, and thin pieces of other ids next to them. Rectangles and tiles that
start on the grid on purpose have no such pieces. In the end each block has one id, which tiles of
8x8 pixels have too; larger tiles are told from it, since half of the rows or columns between blocks
show no edge.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ipixmatch_jax.data.files.mask_blocks import (
    blocks_of,
    center,
    edges_of_blocks,
    masks_of_ids,
    read_ids,
)
from ipixmatch_jax.data.files.mask_edges import thin_lines
from ipixmatch_jax.data.files.mask_facts import MaskFacts

_BLOCK = 8
_QUALITIES = (75, 80, 85, 90, 92, 95, 98, 100)
# Rows and columns by which the blocks are shifted. The others are tried if the first one differs.
_SHIFT, _MORE_SHIFTS = (4, 4), ((3, 2), (6, 5))
_DIFFERS = 0.6
# Pixels of a side that are compared; from the center of larger masks.
_SIDE = 512
# Masks with fewer uneven blocks, or fewer changed pixels, give no evidence.
_FEWEST_BLOCKS, _FEWEST_PIXELS = 40, 100
# Rows, and columns, of a block that differ from the next. Fewer are straight lines and corners,
# such as of rectangles, which may lie on the grid of JPEG on purpose.
_FEWEST_STEPS = 3
# Ratios of single masks, and their median over a set. Never compressed (CamVid, Oxford pets, CCP,
# nuclei; drawn, enlarged or upsampled shapes): 0.62 and more, medians above 0.75. After JPEG of
# quality 90, 95, 98: medians of 0.06, 0.28, 0.36.
_CLEAR, _MEDIAN = 0.4, 0.55
_LEAST_MASKS = 4
# Changes per edge of all masks together. Never compressed (rectangles and ellipses that start on
# the grid, mosaics, enlarged pixels): 0.75 and more. After JPEG of quality 60 to 95: up to 0.32.
_POOLED, _FEWEST_CORNERS = 0.45, 200
# Edges of all masks: the share between two blocks, out of eight positions. Never compressed (as
# above, 4000 to 25,000 edges a set): 0.118 to 0.130; rectangles that start on the grid: 0.5. After
# JPEG of quality 98, 90, 75 and 40: 0.159 to 0.193, 0.195 to 0.244, 0.236 to 0.83, and 0.29 to
# 0.32. Nearly all: enlarged pixels or tiles.
_LEAST_SHARE, _MOST_SHARE, _FEWEST_EDGES = 0.17, 0.97, 200
# Pixels between two others, per edge. Next to a share above the least: rectangles and tiles up to
# 0.053; several ids after JPEG of quality 30 to 85: 0.13 and more.
_LEAST_THIN = 0.1
# Share between two blocks of two ids after JPEG of quality 70 to 80, which leaves nothing to
# compare and no other ids: 0.67 to 0.81. Rectangles that start on the grid: up to 0.55.
_MOSTLY = 0.65
# With fewer edges than _FEWEST_EDGES, the standard deviations by which the share exceeds _MOSTLY.
_VERY_CERTAIN, _FEW_EDGES = 1.0, 64
# Edges of masks of which every block of 8x8 pixels has one id, and the share of such masks.
_FEW_TILES, _MOST_TILED = 24, 0.75
# Changes per edge in fewer corners than _FEWEST_CORNERS: this share of the changes that the shifted
# blocks let expect, of which there are enough. Never compressed (shapes as in the tests, 4 to 16
# masks): 0.3 and more.
_SCARCE, _FEW_CORNERS = 0.2, 40
# Edges in both directions of one block, as a share of those with shifted blocks. Rectangles that
# start on the grid: 0.23 and more; JPEG of quality 65: up to 0.04.
_NO_CORNERS, _MANY_CORNERS = 0.1, 400
# Standard deviations by which the share exceeds that of every other position.
_CERTAIN = 6.0
_MOST_MASKS = 32
_THREADS = 4


class Compared:
    """A mask and its copies with shifted blocks, each compared with itself after JPEG.

    Args:
        ids: class ids, uint8 [H,W].
    """

    def __init__(self, ids: np.ndarray):
        self.center = center(ids, _SIDE, _BLOCK)
        self._changes: dict[tuple[tuple[int, int], int], np.ndarray] = {}

    def part(self, shift: tuple[int, int]) -> np.ndarray:
        """The mask without its first `shift` rows and columns."""
        return self.center if shift == (0, 0) else _shifted(self.center, shift)

    def changes(self, shift: tuple[int, int], quality: int) -> np.ndarray:
        """Pixels changed by JPEG in each block, int [H/8,W/8]."""
        if (shift, quality) not in self._changes:
            part, file = np.ascontiguousarray(self.part(shift)), io.BytesIO()
            Image.fromarray(part).save(file, "JPEG", quality=quality)
            with Image.open(file) as picture:
                self._changes[shift, quality] = blocks_of(np.asarray(picture) != part, _BLOCK).sum(
                    (1, 3)
                )
        return self._changes[shift, quality]

    def changed(self, shift: tuple[int, int], quality: int) -> np.ndarray | None:
        """Pixels changed in each uneven block, int [N]; None if there are too few."""
        uneven = _uneven(self.part(shift))
        return self.changes(shift, quality)[uneven] if uneven.sum() >= _FEWEST_BLOCKS else None


@dataclass(frozen=True)
class _Traces:
    """Traces of one mask, by the functions below."""

    ratio: float | None
    edges: np.ndarray
    tile: int
    thin: np.ndarray
    changes: np.ndarray


def saved_as_jpeg(facts: Sequence[MaskFacts], max_pixels: int) -> list[MaskFacts]:
    """The masks with signs of JPEG; empty if too few masks show them. Some are read again."""
    picked = masks_of_ids(facts, _MOST_MASKS)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="masks") as executor:

        def traces(fact: MaskFacts) -> _Traces:
            ids = read_ids(fact, max_pixels)
            mask = Compared(ids)
            return _Traces(
                ratio_of(mask), edge_positions(ids), tile_size(ids), thin_pixels(ids),
                corner_changes(mask),
            )  # fmt: skip

        found = list(executor.map(traces, picked))
        pooled = _pooled(
            [one.changes for one in found],
            lambda quality: executor.map(
                lambda fact: corner_changes(
                    Compared(read_ids(fact, max_pixels)), (quality,), _MORE_SHIFTS
                ),
                picked,
            ),
        )
    if not found:
        return []
    edges = np.sum([one.edges for one in found], axis=0)
    thin, length = np.sum([one.thin for one in found], axis=0)
    doubtful = pooled is None or pooled < _DIFFERS
    own, other = np.sum([one.changes[0, :, 1] for one in found], axis=0)
    grid = on_blocks(edges) and (
        (edges.sum() >= _FEWEST_EDGES and thin > _LEAST_THIN * length)
        or _mostly_on_blocks(edges, pooled)
        or (other >= _MANY_CORNERS and own < _NO_CORNERS * other)
    )
    if (
        (pooled is not None and pooled < _POOLED)
        or (doubtful and grid)
        or (edges.sum() >= _FEW_TILES and _mosaics([one.tile for one in found]))
    ):
        return picked
    ratios = [one.ratio for one in found]
    known = [one for one in ratios if one is not None]
    clear = sum(one < _CLEAR for one in known)
    several = len(known) >= _LEAST_MASKS and float(np.median(known)) < _MEDIAN
    if not known or not (several or clear >= min(2, len(known))):
        return []
    return [
        fact for fact, one in zip(picked, ratios, strict=True) if one is not None and one < _MEDIAN
    ]


def _pooled(
    changes: Sequence[np.ndarray], further: Callable[[int], Iterable[np.ndarray]]
) -> float | None:
    """The smallest ratio of changes per edge over several qualities; None without evidence.

    Args:
        changes: of each mask, see `corner_changes`.
        further: the changes of each mask with further shifts, at one quality.
    """
    if not changes:
        return None
    best: tuple[float, int] | None = None
    for quality, (own, other) in zip(_QUALITIES, np.sum(changes, axis=0), strict=True):
        ratio = _per_edge(own, other)
        if ratio is not None and (best is None or ratio < best[0]):
            best = (ratio, quality)
    if best is None or best[0] >= _DIFFERS:
        return best and best[0]
    ((own, *others),) = np.sum(list(further(best[1])), axis=0)
    ratios = [_per_edge(own, other) for other in others]
    return max([best[0], *(ratio for ratio in ratios if ratio is not None)])


def _per_edge(own: np.ndarray, other: np.ndarray) -> float | None:
    """Changed pixels per edge, divided by those with shifted blocks; None without evidence."""
    if min(own[1], other[1]) < _FEW_CORNERS or not other[0]:
        return None
    ratio = float(own[0] / own[1] / (other[0] / other[1]))
    enough = min(own[1], other[1]) >= _FEWEST_CORNERS and other[0] >= _FEWEST_PIXELS
    expected = other[0] / other[1] * own[1]
    return ratio if enough or (ratio < _SCARCE and expected >= _FEW_CORNERS) else None


def corner_changes(
    mask: Compared,
    qualities: Sequence[int] = _QUALITIES,
    shifts: Sequence[tuple[int, int]] = (_SHIFT,),
) -> np.ndarray:
    """Pixels that JPEG changes in blocks with edges in both directions, and these edges.

    Blocks of straight borders do not count: stripes and the sides of rectangles may lie at the
    same place of every block.

    Args:
        mask: the mask.
        qualities: of JPEG.
        shifts: rows and columns by which the blocks are shifted.

    Returns:
        For each quality, without and with each shift, changed pixels and edges: int64 [Q,1+S,2].
    """
    result = np.zeros((len(qualities), 1 + len(shifts), 2), np.int64)
    if min(mask.center.shape, default=0) < 2 * _BLOCK:
        return result
    for column, shift in enumerate(((0, 0), *shifts)):
        edges, corners = edges_of_blocks(blocks_of(mask.part(shift), _BLOCK))
        if not corners.any():
            continue
        result[:, column, 1] = edges[corners].sum()
        for row, quality in enumerate(qualities):
            result[row, column, 0] = mask.changes(shift, quality)[corners].sum()
    return result


def thin_pixels(ids: np.ndarray) -> np.ndarray:
    """Pixels of a mask uint8 [H,W] between two others on a row or column, and all edges: int [2].

    An edge is a pair of neighbors with different ids.
    """
    edges = (ids[:, 1:] != ids[:, :-1]).sum() + (ids[1:] != ids[:-1]).sum()
    return np.array([thin_lines(ids).sum(), edges], np.int64)


def jpeg_ratio(ids: np.ndarray) -> float | None:
    """`ratio_of` for a mask of class ids, uint8 [H,W]."""
    return ratio_of(Compared(ids))


def ratio_of(mask: Compared) -> float | None:
    """Pixels that JPEG changes, divided by those that it changes with shifted blocks.

    Only uneven blocks count, so that masks of rectangles or enlarged pixels are no exception.

    Returns:
        The smallest ratio over several qualities, about 1 for masks that were never compressed;
        None if the mask gives too little evidence.
    """
    if min(mask.center.shape) < 3 * _BLOCK:
        return None
    found = []
    for quality in _QUALITIES:
        own, other = mask.changed((0, 0), quality), mask.changed(_SHIFT, quality)
        if own is not None and other is not None and other.sum() >= _FEWEST_PIXELS:
            found.append((float(own.mean() / other.mean()), quality))
    if not found:
        return None
    ratio, quality = min(found)
    if ratio >= _DIFFERS:
        return ratio
    own = mask.changed((0, 0), quality)
    others = [mask.changed(shift, quality) for shift in (_SHIFT, *_MORE_SHIFTS)]
    means = [float(other.mean()) for other in others if other is not None]
    return float(own.mean()) / max(min(means), 1e-9)


def edge_positions(ids: np.ndarray) -> np.ndarray:
    """Edges of a mask uint8 [H,W] by their position in blocks of 8, int64 [8].

    An edge is a straight piece of a border between two ids; the last position is between blocks.
    """
    counts = np.zeros(_BLOCK, np.int64)
    for along in (ids, ids.T):
        edges = along[:, 1:] != along[:, :-1]
        # Where the row before has the same edge, it is the same straight piece.
        starts = edges.copy()
        starts[1:] &= ~edges[:-1]
        per_column = starts.sum(0)
        for position in range(_BLOCK):
            counts[position] += per_column[position::_BLOCK].sum()
    return counts


def tile_size(ids: np.ndarray) -> int:
    """The greatest common divisor of all rows and columns of edges in a mask [H,W]; 0 for none."""
    found = [np.flatnonzero((along[1:] != along[:-1]).any(1)) + 1 for along in (ids, ids.T)]
    return int(np.gcd.reduce(np.concatenate(found), initial=0))


def _mosaics(tiles: Sequence[int]) -> bool:
    """True if most masks consist of tiles, and these of 8x8 pixels; `tile_size` of each mask."""
    known = [tile for tile in tiles if tile]
    whole = [tile for tile in known if tile % _BLOCK == 0]
    return len(whole) >= _MOST_TILED * len(known) and np.gcd.reduce(whole, initial=0) == _BLOCK


def on_blocks(positions: np.ndarray) -> bool:
    """True if many edges of a set of masks, counts int [8], lie between blocks of 8x8 pixels."""
    total = int(positions.sum())
    if total < _FEW_EDGES:
        return False
    shares = positions / total
    spread = _CERTAIN * np.sqrt(1 / _BLOCK * (1 - 1 / _BLOCK) / total)
    others = float(shares[:-1].max())
    return bool(_LEAST_SHARE <= shares[-1] <= _MOST_SHARE and shares[-1] > others + spread)


def _mostly_on_blocks(positions: np.ndarray, pooled: float | None) -> bool:
    """True if most edges lie between blocks, and the masks cannot be compared with themselves."""
    total = positions.sum()
    margin = _VERY_CERTAIN * np.sqrt(total) / 2 if total < _FEWEST_EDGES else 0
    return pooled is None and bool(positions[-1] >= _MOSTLY * total + margin)


def all_on_blocks(positions: np.ndarray, block: int = _BLOCK) -> bool:
    """True if nearly all edges of a set of masks lie between blocks.

    Args:
        positions: edges by their position in blocks of 8, see `edge_positions`.
        block: pixels of a side of a block: 4 or 8.
    """
    total = positions.sum()
    return total >= _FEWEST_EDGES and positions[block - 1 :: block].sum() > _MOST_SHARE * total


def _shifted(ids: np.ndarray, shift: tuple[int, int]) -> np.ndarray:
    """The mask without its first `shift` rows and columns, one block smaller."""
    (height, width), (rows, columns) = ids.shape, shift
    return ids[rows : rows + height - _BLOCK, columns : columns + width - _BLOCK]


def _uneven(ids: np.ndarray) -> np.ndarray:
    """True for blocks without a simple pattern of rows or columns: bool [H/8,W/8]."""
    blocks = blocks_of(ids, _BLOCK)
    rows = (blocks[:, 1:] != blocks[:, :-1]).any(3).sum(1)
    columns = (blocks[..., 1:] != blocks[..., :-1]).any(1).sum(2)
    return np.minimum(rows, columns) >= _FEWEST_STEPS
