"""Seconds and memory until the first batch, by number of unlabeled files.

    python -m bench.startup --counts 1000 10000 100000 1000000 --json startup.json

A temporary folder gets 16 labeled images, and hard links of one photo as unlabeled images. A
separate process describes it, as `--config folder:FOLDER` does, loads the data set and reads one
batch of 4 labeled and 4 unlabeled images. The last column counts the unlabeled files that were
opened before the first batch is requested; it should be 0.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

_LABELED = 16
# File systems limit the hard links of one file (65,000 on ext4).
_LINKS = 50_000


def make_folder(root: Path, count: int) -> None:
    """Writes the labeled images and `count` hard links below `root`/unlabeled."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks", "unlabeled"):
        (root / kind).mkdir(parents=True)
    for number in range(_LABELED):
        photo = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
        Image.fromarray(photo).save(root / f"images/p{number:02d}.jpg")
        ids = rng.integers(0, 3, (96, 96), dtype=np.uint8)
        Image.fromarray(ids).save(root / f"masks/p{number:02d}.png")
    source = None
    for number in range(count):
        target = root / f"unlabeled/u{number:07d}.jpg"
        if number % _LINKS == 0:
            source = target
            Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(target)
        else:
            os.link(source, target)


def measure(root: str) -> dict[str, float]:
    """Seconds of each part, files opened, and peak memory of this process in MiB."""
    from ipixmatch_jax.data import data_defaults, load_dataset, train_batches
    from ipixmatch_jax.data.datasets.folder_config import describe_folder

    opened = set()

    def watch(event: str, arguments: tuple) -> None:
        if event == "open" and "/unlabeled/u" in str(arguments[0]):
            opened.add(str(arguments[0]))

    sys.addaudithook(watch)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    data = data_defaults()
    found = describe_folder(root)
    data.folder.update(found.pop("folder"))
    data.update(found)
    data.crop_size = (64, 64)
    described = time.perf_counter()
    dataset = load_dataset(data, 0)
    loaded, before_batch = time.perf_counter(), len(opened)
    batches = train_batches(dataset, data, batch_size=4, unlabeled_batch_size=4, seed=0)
    next(batches)
    first = time.perf_counter()
    batches.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "unlabeled": len(dataset.unlabeled),
        "describe_s": described - start,
        "load_s": loaded - described,
        "batch_s": first - loaded,
        "total_s": first - start,
        "memory_mib": (peak - before) / 1024,
        "opened": before_batch,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    rows = []
    print(
        f"{'files':>9} {'describe':>9} {'load':>9} {'batch':>9} {'total':>9} {'memory':>9} opened"
    )
    for count in options.counts:
        with tempfile.TemporaryDirectory() as folder:
            make_folder(Path(folder) / "photos", count)
            command = [sys.executable, __file__, "--measure", f"{folder}/photos"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        row = json.loads(done.stdout)
        rows.append(row)
        seconds = " ".join(f"{row[f'{part}_s']:7.2f} s" for part in
                           ("describe", "load", "batch", "total"))  # fmt: skip
        print(f"{row['unlabeled']:9d} {seconds} {row['memory_mib']:5.0f} MiB {row['opened']:6d}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
