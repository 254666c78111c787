"""Few frames for images of many sizes, so that few programs are compiled.

An evaluation of hundreds of sizes would compile as many programs. `framed` gathers the sizes in a
few frames, and `framed_logits` computes in them what each image gets alone: see
`ipixmatch_jax/models/extent.py`.
"""

from collections.abc import Callable, Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from ipixmatch_jax.engine.inference import Inference, Size, mean_of_passes, scaled_size
from ipixmatch_jax.methods import Network
from ipixmatch_jax.models.extent import Extent, resize_within

# Sides above are not framed: products of two sides would leave the range of int32.
_LARGEST = 16384
# From this number of sizes on, they are rounded up before frames are chosen.
_MANY = 256

_Sides = tuple[jax.Array, jax.Array]


def why_not_framed(inference: Inference, sizes: Iterable[Size]) -> str:
    """Why images of these sizes need a program for each size; "" if they do not."""
    if not inference.shapes:
        return "eval.shapes is 0"
    if not inference.frame_multiple:
        return "this model has no frames"
    if inference.mode == "sliding":
        return "eval.mode='sliding' has no frames"
    sides = {side for size in sizes for side in size}
    if not sides:
        return ""
    inner = {
        inside
        for side in sides
        for one, _ in inference.passes((side, side))
        for inside in inference.input_size(one)
    }
    if max(sides | inner) > _LARGEST:
        return f"an image has a side above {_LARGEST} pixels"
    if min(inner) < inference.smallest_side:
        return f"an image has a side below {inference.smallest_side} pixels"
    return ""


def framed(
    groups: Mapping[Size, list[int]], inference: Inference
) -> tuple[dict[Size, list[int]], bool]:
    """Gathers images of many sizes in at most `inference.shapes` frames.

    Args:
        groups: size (H, W) → images of that size.

    Returns:
        Frame (H, W) → the images that lie in it, in ascending order, and True; or `groups` itself
        and False: if there are no more sizes than frames, or for a reason of `why_not_framed`.
    """
    if len(groups) <= inference.shapes or why_not_framed(inference, groups):
        return dict(groups), False
    counts = {size: len(images) for size, images in groups.items()}
    frames = choose_frames(counts, inference.shapes)
    gathered: dict[Size, list[int]] = {}
    for size, images in groups.items():
        gathered.setdefault(_smallest(frames, size), []).extend(images)
    return {frame: sorted(images) for frame, images in gathered.items()}, True


def choose_frames(counts: Mapping[Size, int], most: int) -> list[Size]:
    """At most `most` frames for images of these sizes, with little area beside the images.

    Every size starts as a frame of its own; then the two frames whose union adds the fewest pixels
    over all images become one, until there are `most`.

    Args:
        counts: size (H, W) → number of images.
    """
    step, rounded = 1, dict(counts)
    while len(rounded) > _MANY:
        step, rounded = 2 * step, {}
        for size, count in counts.items():
            up = tuple(-(-side // step) * step for side in size)
            rounded[up] = rounded.get(up, 0) + count
    sides = np.array(list(rounded), np.float64)
    images = np.array(list(rounded.values()), np.float64)
    while len(sides) > most:
        union = np.maximum(sides[:, None], sides[None])
        pixels = images * sides.prod(-1)
        added = union.prod(-1) * (images[:, None] + images[None]) - pixels[:, None] - pixels[None]
        np.fill_diagonal(added, np.inf)
        first, second = sorted(np.unravel_index(added.argmin(), added.shape))
        sides[first], images[first] = union[first, second], images[first] + images[second]
        sides, images = np.delete(sides, second, 0), np.delete(images, second)
    frames = [tuple(int(side) for side in frame) for frame in sides]
    # As large as the images that each one gets, which may be fewer than were merged into it.
    held: dict[Size, list[Size]] = {}
    for size in counts:
        held.setdefault(_smallest(frames, size), []).append(size)
    return [tuple(max(column) for column in zip(*own, strict=True)) for own in held.values()]


def _smallest(frames: Iterable[Size], size: Size) -> Size:
    """The frame of the smallest area that holds images of this size."""
    holding = [frame for frame in frames if frame[0] >= size[0] and frame[1] >= size[1]]
    return min(holding, key=_area)


class FramesOnDemand:
    """Chooses frames for images whose sizes come one after the other.

    The first size gets a program of its own, because there may be no other. The next sizes get a
    frame that is there, if less than a third of it stays empty, or a new one with a little room.
    The last of `inference.shapes` programs is for a square of the longest side so far, if the image
    fills a third of it. From then on, images take any frame that holds them, and larger ones get
    another such square.
    """

    def __init__(self, inference: Inference):
        self._inference = inference
        self._alone: Size | None = None
        self._frames: list[Size] = []

    def __call__(self, size: Size) -> Size | None:
        """The frame for an image (H, W); None: a program for this size."""
        if why_not_framed(self._inference, [size]):
            return None
        self._alone = self._alone or size
        if size == self._alone:
            return None
        holding = [frame for frame in self._frames if frame[0] >= size[0] and frame[1] >= size[1]]
        full = len(self._frames) + 1 >= self._inference.shapes
        near = [frame for frame in holding if full or 3 * _area(size) > 2 * _area(frame)]
        if near:
            return min(near, key=_area)
        if len(self._frames) + 2 >= self._inference.shapes:
            longest = max(max(frame) for frame in (size, self._alone, *self._frames))
            size = (longest, longest) if 3 * _area(size) > longest**2 else size
        self._frames.append(tuple(map(_with_room, size)))
        return self._frames[-1]


def _area(size: Size) -> int:
    return size[0] * size[1]


def _with_room(side: int) -> int:
    """The next multiple of an eighth of the power of two below `side`: up to an eighth more."""
    step = max(2 ** (side.bit_length() - 4), 1)
    return -(-side // step) * step


def framed_logits(
    network: Network, images: jax.Array, inference: Inference, sizes: jax.Array
) -> jax.Array:
    """Like `predict_logits`, of images that lie in the upper left corner of a frame.

    The results on each image are those of the image alone; beside it, they mean nothing.

    Args:
        network: of a model with a `frame_multiple`.
        images: [B,H,W,D], normalized floats; what lies beside the images has no effect.
        sizes: int32 [B,2], the true height and width of each image.
    """
    frame, true = images.shape[1:3], (sizes[:, 0], sizes[:, 1])
    logits = []
    for scale in inference.scales:
        scaled_frame = scaled_size(frame, scale)
        scaled = _looked_up(frame, true, lambda n, scale=scale: scaled_size((n, n), scale))
        for flip in inference.flips:
            x = _resized(images, scaled_frame, true, scaled, scale == 1)
            x = _mirrored(x, scaled[1]) if flip else x
            x = _forward(network, x, scaled, inference)
            x = _mirrored(x, scaled[1]) if flip else x
            logits.append(_resized(x, frame, scaled, true, scale == 1))
    return mean_of_passes(logits)


def _forward(network: Network, images: jax.Array, true: _Sides, inference: Inference) -> jax.Array:
    frame, multiple = images.shape[1:3], inference.frame_multiple
    inner = _looked_up(frame, true, lambda n: inference.input_size((n, n)))
    inner_frame = tuple(-(-side // multiple) * multiple for side in inference.input_size(frame))
    same = all(inference.input_size((n, n)) == (n, n) for n in range(1, max(frame) + 1))
    x = _resized(images, inner_frame, true, inner, same)
    logits = network.within(Extent(inner_frame, *inner)).predict(x).logits.astype(jnp.float32)
    return _resized(logits, frame, inner, true, same)


def _looked_up(frame: Size, true: _Sides, find: Callable[[int], Size]) -> _Sides:
    """`find` of the true sides: the host computes it for every side that the frame holds.

    Args:
        find: side → what becomes of it as height, and as width.
    """
    return tuple(
        jnp.asarray([0, *(find(side)[axis] for side in range(1, longest + 1))], jnp.int32)[n]
        for axis, (longest, n) in enumerate(zip(frame, true, strict=True))
    )


def _resized(x: jax.Array, frame: Size, true_in: _Sides, true_out: _Sides, same: bool) -> jax.Array:
    """Each image of x resized to another true size, in another frame; `same`: the sizes are."""
    if not same:
        return resize_within(x, frame, true_in, true_out)
    beyond = [(0, 0, 0), *((0, a - b, 0) for a, b in zip(frame, x.shape[1:3], strict=True))]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), [*beyond, (0, 0, 0)])


def _mirrored(x: jax.Array, columns: jax.Array) -> jax.Array:
    """Each image of x [B,h,w,C], of so many columns, from right to left."""
    at = columns[:, None] - 1 - jnp.arange(x.shape[2], dtype=jnp.int32)[None]
    return jnp.take_along_axis(x, jnp.maximum(at, 0)[:, None, :, None], axis=2)
