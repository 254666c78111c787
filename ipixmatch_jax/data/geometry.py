"""The weak geometric view: scales, turns, pads, crops and flips image and mask together."""

from dataclasses import dataclass, replace

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from ipixmatch_jax.data.files.images import resample
from ipixmatch_jax.data.records import IGNORE, UnlabeledRecord
from ipixmatch_jax.data.rotation import bilinear, nearest, sampling_of
from ipixmatch_jax.errors import ConfigError


@dataclass(frozen=True)
class Geometry:
    """Parameters of the random crop.

    Attributes:
        crop_size: (h, w) of the crop.
        scale_range: the long side is scaled by a factor from this range.
        flip: probability of a left-right flip.
        vertical_flip: probability of an up-down flip.
        quarter_turns: turn the crop by a random multiple of 90 degrees; it must be square.
        rotation: turn the window by a random angle of at most this many degrees either way.
    """

    crop_size: tuple[int, int]
    scale_range: tuple[float, float] = (0.5, 2.0)
    flip: float = 0.5
    vertical_flip: float = 0.0
    quarter_turns: bool = False
    rotation: float = 0.0

    def __post_init__(self):
        height, width = self.crop_size
        if self.quarter_turns and height != width:
            side = min(height, width)
            raise ConfigError(
                f"data.quarter_turns is True and data.crop_size is {(height, width)}; expected a "
                f"square crop, which a quarter turn leaves in shape: data.crop_size=({side},{side})"
            )


def make_geometry(config_data: ConfigDict) -> Geometry:
    """The geometry of `config.data`.

    Raises:
        ConfigError: quarter turns of a crop that is not square.
    """
    return Geometry(
        tuple(map(int, config_data.crop_size)),
        tuple(map(float, config_data.scale_range)),
        float(config_data.flip),
        float(config_data.vertical_flip),
        bool(config_data.quarter_turns),
        float(config_data.rotation),
    )


@dataclass(frozen=True)
class Window:
    """The part of the scaled image that the crop shows, all in pixels of the scaled image.

    Attributes:
        scaled: (H, W) of the scaled image.
        top: first row.
        left: first column.
        height: rows.
        width: columns.
        flip: True if the crop is mirrored left-right.
        vertical_flip: True if it is then mirrored up-down.
        turns: number of quarter turns after that, counterclockwise.
        angle: degrees, counterclockwise: the window is turned about its center before the flips.
    """

    scaled: tuple[int, int]
    top: int
    left: int
    height: int
    width: int
    flip: bool
    vertical_flip: bool = False
    turns: int = 0
    angle: float = 0.0


def weak_view(
    record: UnlabeledRecord, rng: np.random.Generator, geometry: Geometry
) -> dict[str, np.ndarray]:
    """A random crop of a record, the same for image and mask.

    The long side is scaled to a uniform random integer in `scale_range` times its length, the
    image is padded at the right and bottom up to the crop (image 0, mask 255, valid False), a
    window is cropped at a uniform random place, and all are flipped with probability `flip`.
    Then all, padding included, are flipped up-down with probability `vertical_flip` and, with
    `quarter_turns`, turned by 0, 90, 180 or 270 degrees with equal probability.

    With `rotation`, the window is turned about its center by a uniform random angle before it is
    padded and flipped; it shows more of the image at its corners if there is more. Its pixels
    beyond the image are like padding. The image is interpolated bilinearly, the mask by nearest
    neighbor.

    A pure function of its arguments: the geometry of UniMatch (arXiv 2208.09910).

    Args:
        record: `image` uint8 [H,W,C] and, if labeled, `mask` uint8 [H,W].
        rng: the source of all random numbers.
        geometry: crop size, scale range, flips, turns and rotation.

    Returns:
        `image` uint8 [h,w,C], `valid` bool [h,w] (False on padding), and `mask` uint8 [h,w] if the
        record has one.
    """
    window = draw_window(record["image"].shape[:2], rng, geometry)
    return through(window, record, geometry.crop_size)


def through(
    window: Window, record: UnlabeledRecord, crop_size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Crops a record to a window; returns the same as `weak_view`.

    Image and mask may differ in size (an image decoded at reduced scale): the window is applied
    in relative coordinates to each.
    """

    def place(part: np.ndarray, fill: int) -> np.ndarray:
        return _turned(padded(part, fill), window)

    def padded(part: np.ndarray, fill: int) -> np.ndarray:
        if window.flip:
            part = _mirrored(part)
        if part.shape[:2] == tuple(crop_size):
            return np.ascontiguousarray(part)
        canvas = np.full((*crop_size, *part.shape[2:]), fill, part.dtype)
        left = crop_size[1] - window.width if window.flip else 0
        canvas[: window.height, left : left + window.width] = part
        return canvas

    shown = _turned_parts(record, window) if window.angle else _straight_parts(record, window)
    fills = {"image": 0, "valid": False, "mask": IGNORE}
    return {name: place(part, fills[name]) for name, part in shown.items()}


def _straight_parts(record: UnlabeledRecord, window: Window) -> dict[str, np.ndarray]:
    """What the window shows of image, validity and mask."""
    parts = {
        "image": _cut(record["image"], window, Image.Resampling.BILINEAR),
        "valid": _valid(record, window),
    }
    if "mask" in record:
        parts["mask"] = _cut(record["mask"], window, Image.Resampling.NEAREST)
    return parts


def _turned_parts(record: UnlabeledRecord, window: Window) -> dict[str, np.ndarray]:
    """The same for a window that is turned by its angle."""
    at = (window.top, window.left, window.height, window.width)
    sampling = sampling_of(window.scaled, *at, window.angle)
    top, left, height, width = sampling[:4]
    region = replace(window, top=top, left=left, height=height, width=width)
    straight = _straight_parts(record, region)
    parts = {
        "image": bilinear(straight["image"], sampling),
        "valid": nearest(straight["valid"], sampling, False),
    }
    if "mask" in straight:
        parts["mask"] = nearest(straight["mask"], sampling, IGNORE)
    return parts


def _valid(record: UnlabeledRecord, window: Window) -> np.ndarray:
    if "valid" not in record:
        return np.ones((window.height, window.width), bool)
    return _cut(record["valid"].astype(np.uint8), window, Image.Resampling.NEAREST) > 0


def draw_window(size: tuple[int, int], rng: np.random.Generator, geometry: Geometry) -> Window:
    """The random window of an image of `size` (H, W); see `weak_view`."""
    height, width = size
    long_side = max(height, width)
    low, high = (max(1, int(long_side * factor)) for factor in geometry.scale_range)
    new_long = int(rng.integers(low, high, endpoint=True))
    new_height = max(1, int(height * new_long / long_side + 0.5))
    new_width = max(1, int(width * new_long / long_side + 0.5))
    crop_height, crop_width = geometry.crop_size
    window = Window(
        scaled=(new_height, new_width),
        top=int(rng.integers(0, max(new_height - crop_height, 0), endpoint=True)),
        left=int(rng.integers(0, max(new_width - crop_width, 0), endpoint=True)),
        height=min(new_height, crop_height),
        width=min(new_width, crop_width),
        flip=bool(rng.random() < geometry.flip),
    )
    # Drawn last and only if wanted: without them, crops are those of earlier versions.
    if geometry.vertical_flip:
        window = replace(window, vertical_flip=bool(rng.random() < geometry.vertical_flip))
    if geometry.quarter_turns:
        window = replace(window, turns=int(rng.integers(4)))
    if geometry.rotation:
        window = replace(window, angle=float(rng.uniform(-geometry.rotation, geometry.rotation)))
    return window


def _turned(array: np.ndarray, window: Window) -> np.ndarray:
    """The whole crop, up-down flip first, then quarter turns; the array itself without them."""
    if window.vertical_flip:
        array = array[::-1]
    return np.ascontiguousarray(np.rot90(array, window.turns))


def _mirrored(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        return array[:, ::-1]
    # Moving whole pixels is several times faster than a view with a negative stride.
    pixels = np.ascontiguousarray(array).view(f"V{array.shape[-1]}")
    return np.ascontiguousarray(pixels[:, ::-1]).view(array.dtype)


def _cut(array: np.ndarray, window: Window, method: Image.Resampling) -> np.ndarray:
    """The window of the scaled array; only the pixels of the window are ever computed."""
    height, width = array.shape[:2]
    if window.scaled == (height, width):
        rows = slice(window.top, window.top + window.height)
        # A copy: the record must not change with the crop.
        return array[rows, window.left : window.left + window.width].copy()
    y_step, x_step = height / window.scaled[0], width / window.scaled[1]
    box = (
        window.left * x_step,
        window.top * y_step,
        min((window.left + window.width) * x_step, width),
        min((window.top + window.height) * y_step, height),
    )
    return resample(array, (window.height, window.width), method, box)
