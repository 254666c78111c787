"""Time to evaluate a set of photos of many sizes: a program for each size, or a few frames.

    python -m bench.evaluation --json bench/results/evaluation-cpu.json
    python -m bench.evaluation --model unet --native 20 --images 8
    python -m bench.evaluation --separable --decoder-channels 128 --batch 1

The set is invented with the sizes of Pascal VOC's validation images: 1,449 images, the longer side
500 pixels for most, the shorter one 330 to 500, a quarter of them 375; three in ten are upright.
The step is that of `Evaluator` with one network: normalization, network, and all counts.

Every frame of the set is compiled, and some of its images are evaluated. Of the native sizes, some
are compiled and evaluated. Both times are **extrapolated** to the whole set: compilation by the
number of programs, evaluation by the number of rows of all batches (rows without an image cost as
much as others). Evaluation is timed a second time, without compilation. Seconds of wall time, and
of processor time on all cores, which other work on the machine disturbs less.
"""

import argparse
import pathlib
import platform
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench.common import write_record
from ipixmatch_jax.data import eval_batches, size_groups
from ipixmatch_jax.devices.parallel import PARALLEL
from ipixmatch_jax.engine.boundaries import true_sizes
from ipixmatch_jax.engine.eval_step import make_eval_step
from ipixmatch_jax.engine.frames import framed
from ipixmatch_jax.engine.inference import Inference, eval_defaults, make_inference
from ipixmatch_jax.engine.metrics import PixelCounts
from ipixmatch_jax.models import create_model, init_variables
from ipixmatch_jax.views import Views

CLASSES, IMAGES = 21, 1449
CLOCKS = {"wall_s": time.perf_counter, "cpu_s": time.process_time}
Groups = Mapping[tuple[int, int], list[int]]


class Photos:
    """Random images and masks of the sizes of photos, made when they are read."""

    def __init__(self, count: int, seed: int = 0):
        rng = np.random.default_rng(seed)
        longer = np.where(rng.random(count) < 0.8, 500, rng.integers(460, 500, count))
        shorter = np.where(rng.random(count) < 0.25, 375, rng.integers(330, 500, count))
        shorter = np.minimum(shorter, longer)
        upright = rng.random(count) < 0.3
        height, width = np.where(upright, longer, shorter), np.where(upright, shorter, longer)
        self._sizes = [(int(h), int(w)) for h, w in zip(height, width, strict=True)]
        self.ids = [str(index) for index in range(count)]
        self.channels = 3

    def __len__(self) -> int:
        return len(self._sizes)

    def size(self, index: int) -> tuple[int, int]:
        return self._sizes[index]

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng, size = np.random.default_rng(index), self._sizes[index]
        mask = np.zeros(size, np.uint8)
        mask[: size[0] // 2] = index % CLASSES
        return {"image": rng.integers(0, 256, (*size, 3), np.uint8), "mask": mask}


class Evaluation:
    """Evaluates one network, as `Evaluator` does."""

    def __init__(self, name: str, options: Mapping[str, Any], batch_size: int):
        model = create_model(name, num_classes=CLASSES, **options)
        example = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
        variables = init_variables(model, jax.random.key(0), example)
        self.inference: Inference = make_inference(eval_defaults(), (321, 321), model)
        self.batch_size = batch_size
        self._parallel = PARALLEL["pmap"](jax.devices()[:1])
        views = Views(mean=model.input_mean, std=model.input_std)
        step = make_eval_step(model, views, CLASSES, self.inference, 0.95)
        self._step = self._parallel.distribute(step)
        variables = {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}
        self._networks = self._parallel.replicate({"teacher": variables})

    def __call__(self, photos: Photos, groups: Groups, in_frames: bool) -> dict[str, float]:
        """Seconds by each clock to evaluate the images of the groups."""
        begin = {name: now() for name, now in CLOCKS.items()}
        counts = self._parallel.replicate({"teacher": PixelCounts.empty(CLASSES)})
        for batch in eval_batches(photos, batch_size=self.batch_size, groups=groups):
            arrays = {key: batch[key] for key in ("image", "mask")}
            arrays["index"] = batch["index"].astype(np.int32)
            if in_frames:
                arrays["true"] = true_sizes(map(tuple, batch["size"].tolist()))
            counts, _ = self._step(self._networks, counts, self._parallel.put_batch(arrays))
        jax.block_until_ready(counts)
        return {name: now() - begin[name] for name, now in CLOCKS.items()}

    def extrapolated(
        self, photos: Photos, groups: Groups, sample: Groups, in_frames: bool
    ) -> dict[str, Any]:
        """The time of all groups, from that of a sample with and without compilation."""
        first = self(photos, sample, in_frames)
        second = self(photos, sample, in_frames)
        rows, measured = self._pixels(groups), self._pixels(sample)
        found: dict[str, Any] = {"programs": len(groups), "programs_measured": len(sample)}
        for clock in CLOCKS:
            compile_each = (first[clock] - second[clock]) / len(sample)
            evaluate = second[clock] * rows / measured
            found[clock] = {
                "compile_each": compile_each,
                "compile": compile_each * len(groups),
                "evaluate": evaluate,
                "total": compile_each * len(groups) + evaluate,
            }
        return found

    def _pixels(self, groups: Groups) -> int:
        """Pixels of all batches, those of rows without an image included."""
        return sum(
            height * width * self.batch_size * -(-len(images) // self.batch_size)
            for (height, width), images in groups.items()
        )


def measure(name: str, options: Mapping[str, Any], batch: int, native: int, images: int) -> dict:
    """The record of one model."""
    photos, evaluation = Photos(IMAGES), Evaluation(name, options, batch)
    sizes = size_groups(photos)
    frames, in_frames = framed(sizes, evaluation.inference)
    some = {frame: found[:images] for frame, found in frames.items()}
    chosen = np.linspace(0, len(sizes) - 1, native).round().astype(int)
    few = {size: sizes[size] for size in (list(sizes)[index] for index in chosen)}
    area = sum(h * w for h, w in map(photos.size, range(len(photos))))
    record = {
        "model": name, **options, "images": IMAGES, "sizes": len(sizes), "batch": batch,
        "frames": [list(frame) for frame in frames],
        "empty": 1 - area / sum(h * w * len(found) for (h, w), found in frames.items()),
        "framed": evaluation.extrapolated(photos, frames, some, in_frames),
        "native": evaluation.extrapolated(photos, sizes, few, False),
    }  # fmt: skip
    for clock in CLOCKS:
        record[f"ratio_{clock}"] = (
            record["native"][clock]["total"] / record["framed"][clock]["total"]
        )
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="deeplabv3plus")
    parser.add_argument("--backbone", help="by default the model's own")
    parser.add_argument("--separable", action="store_true", help="model.separable")
    parser.add_argument("--decoder-channels", type=int, help="by default the model's own")
    parser.add_argument("--batch", type=int, default=8, help="eval_batch_size")
    parser.add_argument("--native", type=int, default=6, help="number of sizes compiled natively")
    parser.add_argument("--images", type=int, default=8, help="images evaluated in each frame")
    parser.add_argument("--json", type=pathlib.Path, help="file for the results")
    args = parser.parse_args()
    given = {key: getattr(args, key) for key in ("backbone", "separable", "decoder_channels")}
    options = {key: value for key, value in given.items() if value}
    found = measure(args.model, options, args.batch, args.native, args.images)
    for way in ("native", "framed"):
        times = found[way]
        print(f"{way}: {times['programs']} programs, {times['programs_measured']} of them measured")
        for clock in CLOCKS:
            text = ", ".join(f"{name} {value:.1f}" for name, value in times[clock].items())
            print(f"  {clock}: {text}")
    print(f"{found['sizes']} sizes, frames {found['frames']}, {found['empty']:.1%} of them empty")
    print(", ".join(f"{clock}: {found[f'ratio_{clock}']:.1f} times" for clock in CLOCKS))
    if args.json:
        where = {"machine": platform.machine(), "jax": jax.__version__}
        write_record(args.json, {**where, **found})


if __name__ == "__main__":
    main()
