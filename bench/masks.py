"""Time to read a mask of 12 megapixels: class ids, colors, and colors from the cache.

    python -m bench.masks --json bench/results/masks-cpu.json

For comparison, `unique` converts colors by sorting all pixels.
"""

import argparse
import pathlib
import platform
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from bench.common import write_record
from ipixmatch_jax.data.files.masks import Masks, packed, read_colors

SIZE = (3000, 4000)
PALETTE = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255), (0, 200, 90)], np.uint8)
COLORS = tuple((tuple(map(int, color)), index) for index, color in enumerate(PALETTE))


def scene(seed: int) -> np.ndarray:
    """Class ids uint8 [H,W] of random ellipses."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    mask = np.zeros(SIZE, np.uint8)
    for _ in range(24):
        y, x = rng.integers(0, SIZE[0]), rng.integers(0, SIZE[1])
        height, width = rng.integers(80, 600, 2)
        inside = ((rows - y) / height) ** 2 + ((columns - x) / width) ** 2 < 1
        mask[inside] = rng.integers(1, len(PALETTE))
    return mask


def by_sorting(path: str) -> np.ndarray:
    """Class ids by `numpy.unique` with its inverse."""
    numbers = packed(read_colors(path, path))
    found, inverse = np.unique(numbers, return_inverse=True)
    table = {(r << 16) | (g << 8) | b: class_id for (r, g, b), class_id in COLORS}
    return np.array([table[int(v)] for v in found], np.uint8)[inverse].reshape(numbers.shape)


def cpu_seconds(read: Callable[[], np.ndarray], expected: np.ndarray, repeats: int) -> float:
    """Median CPU seconds of a reader, after a first call that checks its result."""
    assert np.array_equal(read(), expected)
    times = []
    for _ in range(repeats):
        start = time.process_time()
        read()
        times.append(time.process_time() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="measured calls of each reader")
    parser.add_argument("--json", type=pathlib.Path, help="also write the numbers to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ids, colored = f"{folder}/ids.png", f"{folder}/colors.png"
        mask = scene(0)
        Image.fromarray(mask).save(ids)
        Image.fromarray(PALETTE[mask]).save(colored)
        plain = Masks(len(PALETTE), colors=COLORS)
        cached = Masks(len(PALETTE), colors=COLORS, cache=f"{folder}/cache")
        readers = {
            "ids": lambda: Masks(len(PALETTE)).read(ids, ids),
            "colors, unique": lambda: by_sorting(colored),
            "colors": lambda: plain.read(colored, colored),
            "colors, cached": lambda: cached.read(colored, colored),
        }
        seconds = {n: cpu_seconds(read, mask, arguments.repeats) for n, read in readers.items()}
    print(f"mask of {SIZE[1]}x{SIZE[0]} pixels       CPU s   times ids")
    for name, value in seconds.items():
        print(f"{name:30s} {value:8.3f} {value / seconds['ids']:10.1f}")
    if arguments.json:
        record = {"pixels": SIZE[0] * SIZE[1], "cpu_s": seconds, "machine": platform.machine()}
        write_record(arguments.json, record)


if __name__ == "__main__":
    main()
