"""Pixels near the boundaries of classes, for boundary IoU (Cheng et al., arXiv 2103.16562)."""

import math
from collections.abc import Iterable

import clu.metrics
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from ipixmatch_jax.engine.class_counts import class_counts

BOUNDARY_RATIO = 0.02


def boundary(ids: jax.Array, known: jax.Array, distance: int) -> jax.Array:
    """True where a pixel is at most `distance` away from another class or from outside the image.

    Distances are of rows and columns, as those of erosions with a 3 x 3 square. Every class is
    handled at once: a pixel lies on its class's boundary where its neighborhood is not all one.

    Args:
        ids: int32 [B, H, W] class ids, below 2^15.
        known: bool [B, H, W]; others belong to every class: they make no boundary.
        distance: pixels, at least 1.

    Returns:
        bool [B, H, W].
    """
    ids = ids.astype(jnp.int16)  # half the memory, and on a CPU half the time
    large = jnp.iinfo(ids.dtype).max
    lowest = -_widest(jnp.where(known, -ids, -large), distance)
    highest = _widest(jnp.where(known, ids, -large), distance)
    rows, columns = (np.arange(side) for side in ids.shape[1:])
    inner = [(x >= distance) & (x < len(x) - distance) for x in (rows, columns)]
    inner = jnp.asarray(inner[0][:, None] & inner[1][None])
    return (lowest != ids) | (highest != ids) | ~inner[None]


def _widest(x: jax.Array, distance: int) -> jax.Array:
    """The maximum over [-distance, distance] rows and columns; nothing lies outside."""
    least = jnp.iinfo(x.dtype).min
    for axis in (1, 2):
        x = jnp.pad(x, [(distance, distance) if a == axis else (0, 0) for a in range(3)],
                    constant_values=least)  # fmt: skip
        reach, wanted = 1, 2 * distance + 1
        # Twice the reach with every maximum; the last two ranges overlap.
        while reach < wanted:
            shift = min(reach, wanted - reach)
            length = x.shape[axis] - shift
            near = jax.lax.slice_in_dim(x, 0, length, axis=axis)
            x = jnp.maximum(near, jax.lax.slice_in_dim(x, shift, shift + length, axis=axis))
            reach += shift
    return x


def boundary_within(ids: jax.Array, known: jax.Array, true: jax.Array) -> jax.Array:
    """Like `boundary`, of images in the upper left corner of a frame, each with its own distance.

    Args:
        ids: int32 [B, H, W] class ids, below 2^15.
        known: bool [B, H, W], false beside the images.
        true: int32 [B, 3], height, width and distance of each image: `true_sizes`.
    """
    ids = ids.astype(jnp.int16)
    large, distance = jnp.iinfo(ids.dtype).max, true[:, 2]
    most = boundary_distance(*ids.shape[1:])
    lowest = -_widest_of_each(jnp.where(known, -ids, -large), distance, most)
    highest = _widest_of_each(jnp.where(known, ids, -large), distance, most)
    inner = []
    for side, n in zip(ids.shape[1:], (true[:, 0], true[:, 1]), strict=True):
        at = jnp.arange(side, dtype=jnp.int32)[None]
        inner.append((at >= distance[:, None]) & (at < (n - distance)[:, None]))
    inner = inner[0][:, :, None] & inner[1][:, None]
    return (lowest != ids) | (highest != ids) | ~inner


def _widest_of_each(x: jax.Array, distance: jax.Array, most: int) -> jax.Array:
    """`_widest` with a distance of each image, int32 [B], of at most `most`."""
    least, wanted = jnp.iinfo(x.dtype).min, 2 * distance + 1
    for axis in (1, 2):
        side = x.shape[axis]
        chosen = level = jnp.pad(
            x, [(most, most) if a == axis else (0, 0) for a in range(3)], constant_values=least
        )
        reach, covered = 1, jnp.ones_like(distance)
        # Twice the reach with every maximum; an image takes the largest that its own range holds.
        while 2 * reach <= 2 * most + 1:
            beyond = [(0, 0, 0)] * 3
            beyond[axis] = (-reach, reach, 0)
            level = jnp.maximum(level, jax.lax.pad(level, jnp.asarray(least, x.dtype), beyond))
            reach *= 2
            fits = wanted >= reach
            chosen = jnp.where(fits[:, None, None], level, chosen)
            covered = jnp.where(fits, reach, covered)

        def cut(one, start, axis=axis, side=side):
            return jax.lax.dynamic_slice_in_dim(one, start, side, axis - 1)

        # Both ends of the range; the two parts overlap.
        first, second = most - distance, most + distance + 1 - covered
        x = jnp.maximum(jax.vmap(cut)(chosen, first), jax.vmap(cut)(chosen, second))
    return x


def true_sizes(sizes: Iterable[tuple[int, int]]) -> np.ndarray:
    """int32 [B, 3]: (height, width) of each image, and the distance that its boundaries have."""
    return np.array([(*size, boundary_distance(*size)) for size in sizes], np.int32).reshape(-1, 3)


@flax.struct.dataclass
class BoundaryCounts(clu.metrics.Metric):
    """Pixels near the boundaries of the classes, for boundary IoU (Cheng et al., 2103.16562).

    Attributes:
        both: int32 [C], near the true and the predicted boundary of the same class.
        true: int32 [C], near the true one.
        predicted: int32 [C], near the predicted one.
    """

    both: jax.Array
    true: jax.Array
    predicted: jax.Array

    @classmethod
    def empty(cls, num_classes: int) -> "BoundaryCounts":
        none = jnp.zeros(num_classes, jnp.int32)
        return cls(none, none, none)

    @classmethod
    def from_predictions(
        cls,
        predicted: jax.Array,
        mask: jax.Array,
        num_classes: int,
        true: jax.Array | None = None,
    ) -> "BoundaryCounts":
        """A pixel is near a boundary within 2 % of the image's diagonal, as in the paper.

        Pixels without a true class are not counted and make no boundary, neither true nor
        predicted: a perfect prediction of the others has IoU 1.

        Args:
            predicted: int32 [B, H, W] class ids.
            mask: int32 [B, H, W] true class ids; others, as 255, are not counted.
            true: `true_sizes` of images that lie in a frame, with mask 255 beside them; None: the
                images fill the maps.
        """
        known = mask < num_classes

        def near(ids):
            if true is None:
                return boundary(ids, known, boundary_distance(*mask.shape[1:])) & known
            return boundary_within(ids, known, true) & known

        near_true, near_predicted = near(mask), near(predicted)
        both = near_true & near_predicted & (mask == predicted)

        return cls(
            class_counts(mask, both, num_classes),
            class_counts(mask, near_true, num_classes),
            class_counts(predicted, near_predicted, num_classes),
        )

    def merge(self, other: "BoundaryCounts") -> "BoundaryCounts":
        return jax.tree.map(jnp.add, self, other)

    def compute(self) -> np.ndarray:
        """Boundary IoU of every class, float64 [C]; NaN where a class has no boundary."""
        both, true, predicted = (
            np.asarray(x, np.float64) for x in (self.both, self.true, self.predicted)
        )
        return ratio(both, true + predicted - both)


def boundary_distance(height: int, width: int) -> int:
    """Distance in pixels that counts as near a boundary: 2 % of the diagonal, at least 1."""
    return max(1, round(BOUNDARY_RATIO * math.hypot(height, width)))


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, float64 [C]; NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
