"""Colors and textured backgrounds for composed scenes: float32 in [0, 1]."""

import colorsys

import numpy as np
from PIL import Image, ImageDraw


def bright_color(rng: np.random.Generator, brightness: float, saturation: float) -> np.ndarray:
    """A random color with its largest channel in [brightness, 1], float32 [3]."""
    hue, chroma, value = rng.random(), saturation * rng.random(), rng.uniform(brightness, 1.0)
    return np.array(colorsys.hsv_to_rgb(hue, chroma, value), np.float32)


def smooth_noise(size: tuple[int, int], cells: int, rng: np.random.Generator) -> np.ndarray:
    """Noise without detail finer than 1/cells of the image: float32 [H,W], about in [0, 1]."""
    grid = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
    return np.asarray(grid.resize((size[1], size[0]), Image.Resampling.BICUBIC))


def _stripes(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    y, x = np.ogrid[: size[0], : size[1]]
    angle, period = rng.uniform(0, np.pi), rng.uniform(5.0, 16.0)
    wave = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period)
    return 0.5 + 0.5 * np.sin(wave + rng.uniform(0, 2 * np.pi)).astype(np.float32)


def _gradient(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    y, x = np.ogrid[: size[0], : size[1]]
    angle = rng.uniform(0, 2 * np.pi)
    ramp = (x / size[1] - 0.5) * np.cos(angle) + (y / size[0] - 0.5) * np.sin(angle)
    return (0.5 + ramp).astype(np.float32)


def background(
    size: tuple[int, int], rng: np.random.Generator, level: float, texture: float, clutter: int
) -> np.ndarray:
    """A textured picture of two colors, float32 [H,W,3] in [0, 1].

    Args:
        size: (H, W).
        rng: generator of all random numbers.
        level: brightness of the brightest background color.
        texture: distance of the second color from the first one, in [0, 1].
        clutter: largest number of stray strokes.
    """
    kind = int(rng.integers(4))
    if kind == 0:
        pattern = _stripes(size, rng)
    elif kind == 1:
        pattern = _gradient(size, rng)
    else:
        pattern = smooth_noise(size, 4 if kind == 2 else 14, rng)
    pattern = (0.75 * pattern + 0.25 * smooth_noise(size, 6, rng))[:, :, None]
    first, second = (level * rng.random(3, dtype=np.float32) for _ in range(2))
    picture = first + np.float32(texture) * pattern * (second - first)
    if clutter:
        picture = _strokes(picture, rng, level, clutter)
    return np.clip(picture, 0.0, 1.0)


def _strokes(
    picture: np.ndarray, rng: np.random.Generator, level: float, clutter: int
) -> np.ndarray:
    """Draws thin curves, slightly brighter than the background and darker than the digits."""
    height, width = picture.shape[:2]
    sheet = Image.new("L", (width, height))
    draw = ImageDraw.Draw(sheet)
    for _ in range(int(rng.integers(clutter, endpoint=True))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        radius = rng.uniform(0.1, 0.4) * min(height, width)
        start, sweep = rng.uniform(0, 360), rng.uniform(60, 200)
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.arc(box, start, start + sweep, fill=255, width=int(rng.integers(1, 4)))
    cover = np.asarray(sheet, np.float32)[:, :, None] / 255
    color = (1.5 * level * rng.random(3)).astype(np.float32)
    return picture + cover * (color - picture)
