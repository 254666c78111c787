"""Step time and memory of what `--config folder:PHOTOS` plans on this machine.

    python -m bench.plan --json bench/results/plan-cpu.json

For each size of photos, a folder with invented ones is written: noise in blocks, with a bright
rectangle as the object. The step of the plan is compiled and timed by itself. Then the plain
command trains for a few steps with one evaluation; its peak memory is that of the whole process,
with the compiler, the readers and the evaluation.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
from typing import Any

import jax
import numpy as np
from PIL import Image

from bench.common import random_batch, timed, write_record
from ipixmatch_jax import build
from ipixmatch_jax.config import load_config
from ipixmatch_jax.devices.backend import check_backend
from ipixmatch_jax.devices.cpu_allocator import keep_freed_memory
from ipixmatch_jax.devices.environment import pool_threads

SIZES = ("320x213", "3024x4536")
_LABELED, _PHOTOS, _BLOCK = 10, 30, 16
_KEYS = ("data.image_size", "data.crop_size", "batch_size", "unlabeled_batch_size", "total_steps")


def write_photos(folder: pathlib.Path, size: tuple[int, int]) -> None:
    """Photos of one size (H, W); the first ones have masks of two classes."""
    rng = np.random.default_rng(0)
    height, width = size
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(_PHOTOS):
        blocks = rng.integers(0, 120, (-(-height // _BLOCK), -(-width // _BLOCK), 3), np.uint8)
        image = blocks.repeat(_BLOCK, 0).repeat(_BLOCK, 1)[:height, :width]
        top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
        where = np.s_[top : top + height // 3, left : left + width // 3]
        image[where] += 120
        Image.fromarray(image).save(folder / "images" / f"{number:02}.jpg", quality=85)
        if number < _LABELED:
            mask = np.zeros(size, np.uint8)
            mask[where] = 1
            Image.fromarray(mask).save(folder / "masks" / f"{number:02}.png")


def step_time(folder: pathlib.Path, overrides: list[str], steps: int) -> dict[str, Any]:
    """The plan for a folder, and the time of its step with random images."""
    check_backend()
    keep_freed_memory()
    config = load_config(f"folder:{folder}", ["--config.model.pretrained=none", *overrides])
    model, method = build.build_model(config), build.build_method(config)
    optimizer, step = build.build_train_step(config, model, method)
    parallel = build.build_parallel(config)
    state = build.build_state(config, model, optimizer, parallel)
    sizes = (config.batch_size, config.unlabeled_batch_size, config.data.num_classes)
    batch = parallel.put_batch(random_batch(config.data.crop_size[0], *sizes))
    train_step = parallel.distribute_train(step)

    def take() -> None:
        nonlocal state
        state, metrics = train_step(state, batch)
        jax.block_until_ready(metrics)

    planned = {key: config["data"][key[5:]] if key[:5] == "data." else config[key] for key in _KEYS}
    return {**planned, **timed(take, steps)}


def run_memory(folder: pathlib.Path, overrides: list[str], steps: int) -> dict[str, float]:
    """Peak memory in GB, and seconds, of the plain command over a few steps and an evaluation."""
    short = [f"--config.{key}={steps}" for key in ("total_steps", "eval_every")]
    run = str(folder.parent / f"run-{folder.name}")
    command = [
        *(sys.executable, "-m", "ipixmatch_jax", "--config", f"folder:{folder}", "--workdir", run),
        *("--config.pictures=0", *short, *overrides),
    ]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with status {status}")
    scale = 1 if platform.system() == "Darwin" else 1024
    return {"peak_gb": used.ru_maxrss * scale / 1e9, "run_cpu_s": used.ru_utime + used.ru_stime}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="HxW", help="of the photos")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="config keys")
    parser.add_argument("--json", type=pathlib.Path, help="also write the numbers to this file")
    parser.add_argument("--step-of", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    overrides = [f"--config.{pair}" for pair in options.set]
    if options.step_of:
        print(json.dumps(step_time(options.step_of, overrides, options.steps)))
        return
    record: dict[str, Any] = {"machine": f"{platform.system()} {platform.machine()}"}
    record |= {"cores": pool_threads(), "rows": []}
    for size in (tuple(map(int, text.split("x"))) for text in options.sizes):
        with tempfile.TemporaryDirectory() as folder:
            photos = pathlib.Path(folder) / "photos"
            write_photos(photos, size)
            # In a process of its own: the compiler's memory would stay with this one.
            again = [sys.executable, "-m", "bench.plan", "--step-of", str(photos)]
            again += ["--steps", str(options.steps), "--set", *options.set]
            done = subprocess.run(again, capture_output=True, text=True, check=True)
            row = {"photos": size, **json.loads(done.stdout.splitlines()[-1])}
            row |= run_memory(photos, overrides, 2 * options.steps)
        record["rows"].append(row)
        print(row, flush=True)
        if options.json:
            write_record(options.json, record)


if __name__ == "__main__":
    main()
