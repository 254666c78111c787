"""Input from JPEG files to crops on the device, compared with a PyTorch DataLoader.

    python -m bench.input --json bench/results/input-cpu.json

Both read the same 500 x 375 JPEGs and return for every image a 321 x 321 weak view, two strong
views and two CutMix boxes. The DataLoader does everything with Pillow on the host, as UniMatch does
(written for this benchmark from its description). In this package the host decodes, scales, crops
and flips, and the device does the rest. Rates are images per second of processor time of this
process, including its threads. They do not depend on the number of cores, and little on other work
on the machine. Without an accelerator, the device's share is processor time too; it has a separate
row.
"""

import argparse
import math
import pathlib
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing

import jax
import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter

from bench.common import write_record
from ipixmatch_jax.data import data_defaults, load_dataset, train_batches
from ipixmatch_jax.data.files.images import read_image
from ipixmatch_jax.data.geometry import Geometry, weak_view
from ipixmatch_jax.data.records import record_rng
from ipixmatch_jax.views import Views

CROP, BATCH, FILES = 321, 8, 48
REFILL_S = 1.5
HEIGHT, WIDTH = 375, 500
OURS, THEIRS = "this package, files to crops on the device", "DataLoader with Pillow"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def make_files(root: pathlib.Path) -> list[pathlib.Path]:
    """Writes JPEGs of about 90 KB with shapes, shading and grain, and the masks of some."""
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for number in range(FILES):
        rng = np.random.default_rng(number)
        image = np.zeros((HEIGHT, WIDTH, 3))
        for _ in range(30):
            cy, cx, radius = rng.integers(HEIGHT), rng.integers(WIDTH), rng.integers(10, 120)
            image[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = rng.integers(0, 255, 3)
        image += 40 * np.sin(x / rng.integers(5, 40))[..., None] + rng.normal(0, 14, image.shape)
        picture = Image.fromarray(image.clip(0, 255).astype(np.uint8))
        picture.save(root / f"images/{number:03d}.jpg", quality=90)
        if number < BATCH:
            mask = ((x // 100 + y // 100) % 2).astype(np.uint8)
            Image.fromarray(mask).save(root / f"masks/{number:03d}.png")
    return sorted((root / "images").iterdir())


class PillowViews(torch.utils.data.Dataset):
    """A weak view and two strong views of an image, all on the host, with UniMatch's parameters."""

    def __init__(self, paths: list[pathlib.Path]):
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int):
        image = Image.open(self.paths[index]).convert("RGB")
        image, ignore = self._geometry(image)
        weak, views, boxes = self._tensor(image), [], []
        for _ in range(2):
            views.append(self._tensor(self._strong(image.copy())))
            boxes.append(self._box())
        return weak, *views, torch.from_numpy(ignore), *boxes

    def _geometry(self, image: Image.Image):
        width, height = image.size
        long_side = random.randint(int(max(image.size) * 0.5), int(max(image.size) * 2.0))
        factor = long_side / max(image.size)
        width, height = int(width * factor + 0.5), int(height * factor + 0.5)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        ignore = Image.new("L", image.size, 0)
        canvas_size = (max(width, CROP), max(height, CROP))
        canvas, ignored = Image.new("RGB", canvas_size), Image.new("L", canvas_size, 255)
        canvas.paste(image, (0, 0))
        ignored.paste(ignore, (0, 0))
        left = random.randint(0, canvas_size[0] - CROP)
        top = random.randint(0, canvas_size[1] - CROP)
        box = (left, top, left + CROP, top + CROP)
        canvas, ignored = canvas.crop(box), ignored.crop(box)
        if random.random() < 0.5:
            canvas = canvas.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            ignored = ignored.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return canvas, np.array(ignored)

    def _strong(self, image: Image.Image) -> Image.Image:
        if random.random() < 0.8:
            changes = [
                lambda i: ImageEnhance.Brightness(i).enhance(random.uniform(0.5, 1.5)),
                lambda i: ImageEnhance.Contrast(i).enhance(random.uniform(0.5, 1.5)),
                lambda i: ImageEnhance.Color(i).enhance(random.uniform(0.5, 1.5)),
                lambda i: turn_hue(i, random.uniform(-0.25, 0.25)),
            ]
            random.shuffle(changes)
            for change in changes:
                image = change(image)
        if random.random() < 0.2:
            image = image.convert("L").convert("RGB")
        if random.random() < 0.5:
            image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))
        return image

    def _tensor(self, image: Image.Image) -> torch.Tensor:
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        tensor = tensor.to(torch.float32).div(255)
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
        return tensor.sub_(mean).div_(std)

    def _box(self) -> torch.Tensor:
        mask = torch.zeros(CROP, CROP)
        if random.random() > 0.5:
            return mask
        while True:
            area = random.uniform(0.02, 0.4) * CROP * CROP
            ratio = random.uniform(0.3, 1 / 0.3)
            height, width = int(math.sqrt(area * ratio)), int(math.sqrt(area / ratio))
            top, left = random.randint(0, CROP), random.randint(0, CROP)
            if top + height <= CROP and left + width <= CROP:
                mask[top : top + height, left : left + width] = 1
                return mask


def turn_hue(image: Image.Image, turn: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    turned = np.array(hue) + np.uint8(int(turn * 255) % 256)
    return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")


def our_input(root: pathlib.Path):
    """Batches of this package, and the images per batch: labeled, unlabeled and partners."""
    config = data_defaults()
    config.root, config.num_classes, config.crop_size = str(root), 2, (CROP, CROP)
    config.folder.train_images, config.folder.train_masks = "images", "masks"
    config.threads = 2
    dataset = load_dataset(config, 0)
    batches = train_batches(dataset, config, batch_size=1, unlabeled_batch_size=BATCH, seed=0)
    return batches, 1 + 2 * BATCH


def processor_seconds(work: Callable[[], int]) -> float:
    """Processor time per image of a function that returns its number of images."""
    start = time.process_time()
    images = work()
    return (time.process_time() - start) / images


def make_device_views() -> Callable:
    """The device's share of the work: three views and two boxes for each crop of a batch."""
    views = Views(mean=MEAN, std=STD)

    @jax.jit
    def device_views(images, keys):
        strong = [views.strong(images, keys, view) for view in (0, 1)]
        boxes = [views.box(keys, CROP, CROP, view) for view in (0, 1)]
        return views.weak(images), strong, boxes

    return device_views


def measure(root: pathlib.Path, rounds: int, steps: int) -> dict[str, list[float]]:
    """Processor milliseconds per image: row → one value per round; rounds are interleaved."""
    paths = make_files(root)
    torch.set_num_threads(1)
    device_views = make_device_views()
    geometry = Geometry((CROP, CROP))
    host = PillowViews(paths)
    decoded = [read_image(path) for path in paths]
    cropped = [host._geometry(Image.open(path).convert("RGB"))[0] for path in paths]
    batches, per_step = our_input(root)
    batch = next(batches)["unlabeled"]
    time.sleep(REFILL_S)
    jax.block_until_ready(device_views(batch["image"], batch["key"]))

    def ours() -> int:
        for _ in range(steps):
            jax.block_until_ready(jax.device_put(next(batches)))
        # Buffers are full before and after, so that as many batches were made as were taken, and
        # no thread is still working.
        time.sleep(REFILL_S)
        return steps * per_step

    def theirs() -> int:
        loader = torch.utils.data.DataLoader(host, BATCH, shuffle=True, drop_last=True)
        return sum(len(weak) for weak, *_ in loader)

    def on_device() -> int:
        for _ in range(3):
            jax.block_until_ready(device_views(batch["image"], batch["key"]))
        return 3 * BATCH

    def each(function: Callable, items) -> Callable[[], int]:
        return lambda: len([function(item) for item in items])

    def crop(item):
        number, image = item
        return weak_view({"id": "", "image": image}, record_rng(0, 0, number), geometry)

    work = {
        OURS: ours,
        f"{OURS}: decode": each(read_image, paths),
        f"{OURS}: scale, pad, crop, flip": each(crop, list(enumerate(decoded))),
        f"{OURS}: views and boxes, on the device": on_device,
        THEIRS: theirs,
        f"{THEIRS}: decode": each(lambda path: Image.open(path).convert("RGB"), paths),
        f"{THEIRS}: scale, pad, crop, flip": each(
            host._geometry, [Image.fromarray(image) for image in decoded]
        ),
        f"{THEIRS}: two strong views": each(
            lambda image: [host._strong(image.copy()) for _ in range(2)], cropped
        ),
        f"{THEIRS}: three tensors": each(
            lambda image: [host._tensor(image) for _ in range(3)], cropped
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    with closing(batches):
        for _ in range(rounds):
            for name, piece in work.items():
                times[name].append(1000 * processor_seconds(piece))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds")
    parser.add_argument("--steps", type=int, default=12, help="this package's batches per round")
    parser.add_argument("--json", type=pathlib.Path, help="also write the table to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        times = measure(pathlib.Path(folder), options.rounds, options.steps)
    medians = {name: statistics.median(values) for name, values in times.items()}
    print("| input | processor ms per image | images per processor second |\n|---|---|---|")
    for name, value in medians.items():
        print(f"| {name} | {value:.2f} | {1000 / value:.0f} |")
    ratios = [theirs / ours for ours, theirs in zip(times[OURS], times[THEIRS], strict=True)]
    ratio = statistics.median(ratios)
    print(f"\n{ratio:.1f} times the DataLoader's rate ({min(ratios):.1f} to {max(ratios):.1f})")
    if options.json:
        record = {
            "machine": f"{platform.system()} {platform.machine()}",
            "device": jax.devices()[0].platform,
            "processor_milliseconds": {name: round(value, 3) for name, value in medians.items()},
            "ratio": round(ratio, 2),
            "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
        }
        write_record(options.json, record)


if __name__ == "__main__":
    main()
