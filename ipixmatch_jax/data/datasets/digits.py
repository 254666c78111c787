"""Scenes of handwritten digits on textured backgrounds, composed when they are read.

The digits are the 8x8 scans that scikit-learn ships (UCI "Optical Recognition of Handwritten
Digits"), so nothing is downloaded. Class 0 is the background, class 1 + d the digit d.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from ipixmatch_jax.data.datasets.textures import background, bright_color
from ipixmatch_jax.data.records import Record, Source, Splits, UnlabeledRecord, record_rng
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.keys import Key, Table

CLASS_NAMES = ("background", *map(str, range(10)))
NUM_CLASSES = len(CLASS_NAMES)

OPTIONS: Table = {
    "labeled_scenes": Key(60, "scenes that data.labeled='all' adds to the unlabeled ones", least=1),
    "unlabeled_scenes": Key(1000, "unlabeled scenes", least=0),
    "val_scenes": Key(200, "validation scenes", least=1),
    "scene_size": Key((64, 64), "(height, width) of a scene", length=2, least=1, most=4096),
    "min_digits": Key(2, "fewest digits in a scene", least=0, most=1000),
    "max_digits": Key(3, "most digits in a scene", least=0, most=1000),
    "min_height": Key(26, "smallest height of a digit, in pixels", least=1, most=4096),
    "max_height": Key(36, "largest height of a digit, in pixels", least=1, most=4096),
    "rotation": Key(10.0, "largest rotation of a digit, in degrees", least=0, most=360),
    "shear": Key(0.1, "largest relative shear of a digit", least=0, most=10),
    "thickness": Key(0.08, "largest change of the stroke's thickness", least=0, most=10),
    # Exceeded if a scene has no room left.
    "overlap": Key(0.05, "largest share of a digit that a later one may hide", least=0, most=1),
    "background_level": Key(0.35, "brightness of the background", least=0, most=1),
    "texture": Key(0.5, "strength of the background's texture", least=0, most=10),
    "clutter": Key(1, "stray strokes in a scene", least=0, most=1000),
    "min_brightness": Key(0.75, "lowest brightness of a digit", least=0, most=1),
    "saturation": Key(0.4, "saturation of the digits' colors", least=0, most=1),
    "noise": Key(0.02, "standard deviation of the noise", least=0, most=10),
}

# Shares of the digit images, per class: disjoint, and the same for every seed.
_POOLS = {"labeled": (0.0, 0.25), "unlabeled": (0.25, 0.8), "val": (0.8, 1.0)}
_SPLIT_NUMBER = {"labeled": 0, "unlabeled": 1, "val": 2}
_PLACE_TRIES = 12


@dataclass(frozen=True)
class SceneOptions:
    """Parameters of a scene: the entries of `OPTIONS` with the same names."""

    scene_size: tuple[int, int]
    min_digits: int
    max_digits: int
    min_height: int
    max_height: int
    rotation: float
    shear: float
    thickness: float
    overlap: float
    background_level: float
    texture: float
    clutter: int
    min_brightness: float
    saturation: float
    noise: float


def load_glyphs() -> tuple[np.ndarray, np.ndarray]:
    """The scanned digits: uint8 [M,8,8] (0 paper, 255 ink) and their classes int [M].

    Raises:
        DataError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError(
            "data.name='digits' takes its digits from scikit-learn, which is not installed; "
            "run: pip install -e '.[demo]'"
        ) from None
    bunch = load_digits()
    return np.round(bunch.images * (255 / 16)).astype(np.uint8), bunch.target


def split_glyphs(classes: np.ndarray) -> dict[str, np.ndarray]:
    """Indices of the digit images of each split: disjoint, every class in every split."""
    rng = np.random.default_rng(0)
    pools: dict[str, list[np.ndarray]] = {name: [] for name in _POOLS}
    for digit in range(10):
        members = rng.permutation(np.flatnonzero(classes == digit))
        for name, (low, high) in _POOLS.items():
            pools[name].append(members[int(low * len(members)) : int(high * len(members))])
    return {name: np.sort(np.concatenate(parts)) for name, parts in pools.items()}


class DigitScenes:
    """Scenes of one split with masks; scene `index` depends only on seed, split and index.

    Scenes stay in memory after they are composed.

    Args:
        split: `labeled`, `unlabeled` or `val`; it determines which digit images may appear.
        count: number of scenes.
        seed: seed of the scenes.
        glyphs: uint8 [M,8,8].
        classes: int [M], digit of each glyph.
        options: appearance of the scenes.
    """

    def __init__(
        self, split: str, count: int, seed: int, glyphs: np.ndarray, classes: np.ndarray,
        options: SceneOptions,
    ):  # fmt: skip
        pool = split_glyphs(classes)[split]
        self.ids = tuple(f"{split}-{index:05d}" for index in range(count))
        self._glyphs, self._classes = glyphs[pool], classes[pool]
        self._seed, self._stream = seed, _SPLIT_NUMBER[split]
        self._options = options
        self._scenes: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def size(self, index: int) -> tuple[int, int]:
        return self._options.scene_size

    def __getitem__(self, index: int) -> Record:
        if index not in self._scenes:
            rng = record_rng(self._seed, self._stream, index)
            self._scenes[index] = compose(self._glyphs, self._classes, rng, self._options)
        image, mask = self._scenes[index]
        return {"id": self.ids[index], "image": image, "mask": mask}


class DigitImages:
    """Digit scenes without their masks."""

    def __init__(self, scenes: DigitScenes):
        self._scenes = scenes
        self.ids = scenes.ids

    def __len__(self) -> int:
        return len(self._scenes)

    def size(self, index: int) -> tuple[int, int]:
        return self._scenes.size(index)

    def __getitem__(self, index: int) -> UnlabeledRecord:
        record = self._scenes[index]
        return {"id": record["id"], "image": record["image"]}


class _Joined:
    """Two labeled sources one after the other."""

    def __init__(self, first: Source, second: Source):
        self._first, self._second = first, second
        self.ids = (*first.ids, *second.ids)

    def _locate(self, index: int) -> tuple[Source, int]:
        split = len(self._first)
        return (self._first, index) if index < split else (self._second, index - split)

    def __len__(self) -> int:
        return len(self.ids)

    def size(self, index: int) -> tuple[int, int]:
        source, index = self._locate(index)
        return source.size(index)

    def __getitem__(self, index: int) -> Record:
        source, index = self._locate(index)
        return source[index]


def compose(
    glyphs: np.ndarray, classes: np.ndarray, rng: np.random.Generator, options: SceneOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Composes one scene.

    Args:
        glyphs: uint8 [M,8,8] to choose from.
        classes: int [M], digit of each glyph.
        rng: generator of all random numbers.
        options: appearance of the scene.

    Returns:
        Image uint8 [H,W,3] and mask uint8 [H,W], 0 background, 1 + d for digit d.
    """
    height, width = options.scene_size
    canvas = background(
        (height, width), rng, options.background_level, options.texture, options.clutter
    )
    mask = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(options.min_digits, options.max_digits, endpoint=True))):
        chosen = int(rng.integers(len(glyphs)))
        cover = _draw_glyph(glyphs[chosen], rng, options)
        top, left = _place(cover > 0.5, mask, rng, options.overlap)
        window = np.s_[top : top + cover.shape[0], left : left + cover.shape[1]]
        color = bright_color(rng, options.min_brightness, options.saturation)
        shade = 1.0 - 0.15 * rng.random() * np.linspace(0.0, 1.0, len(cover), dtype=np.float32)
        ink = shade[:, None, None] * color
        canvas[window] += cover[:, :, None] * (ink - canvas[window])
        mask[window][cover > 0.5] = 1 + classes[chosen]
    canvas += options.noise * rng.standard_normal(canvas.shape, dtype=np.float32)
    return (np.clip(canvas, 0.0, 1.0) * 255 + 0.5).astype(np.uint8), mask


def _draw_glyph(glyph: np.ndarray, rng: np.random.Generator, options: SceneOptions) -> np.ndarray:
    """Enlarges, rotates, shears and crops a glyph: coverage in [0, 1], float32 [h,w]."""
    limit = min(options.scene_size)
    tall = int(rng.integers(options.min_height, options.max_height, endpoint=True))
    angle = np.deg2rad(rng.uniform(-options.rotation, options.rotation))
    shear = rng.uniform(-options.shear, options.shear)
    level = 0.42 + rng.uniform(-options.thickness, options.thickness)

    # Output to input coordinates: center, rotate back, shear back, shrink to the 8x8 scan.
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    inverse = np.array([[1.0, shear], [0.0, 1.0]]) @ turn * (8.0 / tall)
    side = int(tall * 1.5) + 4
    padded = np.zeros((12, 12), np.uint8)
    padded[2:10, 2:10] = glyph
    offset = 6.0 - inverse @ np.array([side / 2, side / 2])
    coefficients = (*inverse[0], offset[0], *inverse[1], offset[1])
    drawn = Image.fromarray(padded).transform(
        (side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC
    )
    ink = np.asarray(drawn, np.float32) / 255
    # The edge is soft over about one pixel of the scene.
    cover = np.clip((ink - level) * (0.15 * tall) + 0.5, 0.0, 1.0)
    rows, columns = np.flatnonzero(cover.max(1) > 0), np.flatnonzero(cover.max(0) > 0)
    if not len(rows):
        return np.zeros((1, 1), np.float32)
    cover = cover[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return cover[:limit, :limit]


def _place(
    shape: np.ndarray, mask: np.ndarray, rng: np.random.Generator, overlap: float
) -> tuple[int, int]:
    """A place that hides little of earlier digits: the first good one, or the best one tried."""
    free_rows, free_columns = mask.shape[0] - shape.shape[0], mask.shape[1] - shape.shape[1]
    whole = np.maximum(np.bincount(mask.ravel(), minlength=NUM_CLASSES)[1:], 1)
    best, best_share = (0, 0), np.inf
    for _ in range(_PLACE_TRIES):
        top = int(rng.integers(free_rows, endpoint=True))
        left = int(rng.integers(free_columns, endpoint=True))
        below = mask[top : top + shape.shape[0], left : left + shape.shape[1]][shape]
        counts = np.bincount(below, minlength=NUM_CLASSES)[1:]
        share = float((counts / whole).max())
        if share < best_share:
            best, best_share = (top, left), share
        if best_share <= overlap:
            break
    return best


def build(data: ConfigDict, seed: int, problems: list[str]) -> Splits:
    """Makes the labeled, unlabeled and validation scenes.

    `data.labeled` is the number of labeled scenes, or 'all': the labeled and the unlabeled scenes,
    all with their masks, as an upper bound for training with unlabeled scenes. Labeled and
    unlabeled scenes depend on `seed`; the validation scenes are the same for every seed.

    Args:
        data: `config.data`.
        seed: seed of the scenes to train on.
        problems: unused; nothing is read.

    Raises:
        ConfigError: the settings of the scenes contradict each other.
        DataError: scikit-learn is not installed.
    """
    if data.num_classes != NUM_CLASSES:
        raise ConfigError(
            f"data.num_classes={data.num_classes}; digits have {NUM_CLASSES} classes (background "
            f"and 0..9); set data.num_classes={NUM_CLASSES}"
        )
    options = _scene_options(data.digits)
    glyphs, classes = load_glyphs()

    def scenes(split: str, count: int, seed: int) -> DigitScenes:
        return DigitScenes(split, count, seed, glyphs, classes, options)

    unlabeled = scenes("unlabeled", int(data.digits.unlabeled_scenes), seed)
    labeled: Source = scenes("labeled", _labeled_count(data), seed)
    if data.labeled == "all":
        labeled = _Joined(labeled, unlabeled)
    val = scenes("val", int(data.digits.val_scenes), 0)
    return Splits(labeled, DigitImages(unlabeled), val, CLASS_NAMES)


def _labeled_count(data: ConfigDict) -> int:
    if data.labeled == "all":
        return int(data.digits.labeled_scenes)
    try:
        return int(data.labeled)
    except ValueError:
        raise ConfigError(
            f"data.labeled={data.labeled!r}; for digits expected a number of scenes such as '60', "
            "or 'all'"
        ) from None


def _scene_options(section: ConfigDict) -> SceneOptions:
    options = SceneOptions(**{field.name: section[field.name] for field in fields(SceneOptions)})
    height, width = (int(side) for side in options.scene_size)
    if not 0 <= options.min_digits <= options.max_digits:
        raise ConfigError(
            f"data.digits.min_digits={options.min_digits}, max_digits={options.max_digits}; "
            "expected 0 <= min_digits <= max_digits"
        )
    if not 8 <= options.min_height <= options.max_height <= min(height, width):
        raise ConfigError(
            f"data.digits.min_height={options.min_height}, max_height={options.max_height} with "
            f"scenes of {height}x{width}; expected 8 <= min_height <= max_height <= scene side"
        )
    return replace(options, scene_size=(height, width))
