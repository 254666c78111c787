"""Photos and validation images per second of every kind of model, compared with PyTorch.

    taskset -c 0 python -m bench.predict --json bench/results/predict-cpu.json

Predicting is what `--mode predict` does with a folder of invented JPEG photos: read, predict, write
three drawings and a row of the table. PyTorch's side reads by Pillow, predicts one photo at a time
in inference mode, and writes the same files. Evaluating is a batch of four arrays: normalization,
network, and the counts of our evaluation (confusion matrix, confidence, boundaries); PyTorch's side
counts the confusion matrix alone. Both sides have the same weights, in float32, and take turns; the
fastest of a few rounds counts, and nothing is compiled in it. The PyTorch models are those of
`bench.models`; needs the extra `parity`.
"""

import argparse
import os
import pathlib
import platform
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from PIL import Image

from bench.common import write_record
from bench.models import (
    CASES,
    CLASSES,
    Case,
    abstract,
    in_turns,
    torch_logits,
    torch_model,
    torch_state,
)
from ipixmatch_jax.build import build_inference, build_model, build_views
from ipixmatch_jax.config import default_config
from ipixmatch_jax.devices.parallel import PARALLEL
from ipixmatch_jax.engine.eval_step import make_eval_step
from ipixmatch_jax.engine.metrics import PixelCounts
from ipixmatch_jax.models.input_channels import IMAGENET_MEAN, IMAGENET_STD
from ipixmatch_jax.models.torch_bridge import from_torch
from ipixmatch_jax.photo_files.areas import Areas
from ipixmatch_jax.photo_files.found import find_photos
from ipixmatch_jax.predict import predict_photos, save_results
from ipixmatch_jax.predictor import Prediction, Predictor

BATCH = 4
MEAN, STD = np.float32(IMAGENET_MEAN), np.float32(IMAGENET_STD)
# (H, W), multiples of every patch and stride, so that neither side pads.
SIZE = (224, 336)


def write_photos(folder: pathlib.Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for index in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (14, 21, 3), np.uint8))
        coarse.resize(SIZE[::-1], Image.Resampling.BICUBIC).save(folder / f"{index}.jpg")


def our_predictor(case: Case, state: dict[str, np.ndarray]) -> Predictor:
    config = default_config()
    config.data.num_classes = CLASSES
    config.data.class_names = tuple(f"class {index}" for index in range(CLASSES))
    config.data.palette = tuple((index, 0, 255 - index) for index in range(CLASSES))
    config.data.mean, config.data.std = MEAN.tolist(), STD.tolist()
    config.model.name = case.model
    for name, value in case.options.items():
        config.model[name] = value
    model = build_model(config)
    variables = from_torch(state, abstract(model, case))
    variables = {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}
    return Predictor(config, model, variables)


def predicted_by_torch(network: Any, case: Case, images: np.ndarray) -> Any:
    """Logits [B,C,H,W] of images uint8 [B,H,W,3]."""
    import torch

    x = torch.from_numpy((images / np.float32(255) - MEAN) / STD).permute(0, 3, 1, 2).contiguous()
    return torch_logits(network, case, x)


def measure(case: Case, photos: pathlib.Path, rounds: int) -> dict[str, Any]:
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = torch_model(case).eval()
    predictor = our_predictor(case, torch_state(network, case))
    found = find_photos([photos])
    with tempfile.TemporaryDirectory() as folder:
        places = {side: pathlib.Path(folder, side) for side in ("torch", "jax")}
        for place in places.values():
            place.mkdir()

        def predict_ours() -> None:
            if broken := predict_photos(found, places["jax"], predictor, ()):
                raise RuntimeError(broken)

        @torch.inference_mode()
        def predict_theirs() -> None:
            areas = Areas(places["torch"], predictor.class_names)
            areas.begin(found.paths)
            for path in found.paths:
                image = np.asarray(Image.open(path).convert("RGB"))
                logits = predicted_by_torch(network, case, image[None])[0]
                confidence, mask = logits.softmax(0).max(0)
                seen = Prediction(mask.to(torch.uint8).numpy(), confidence.numpy())
                save_results(path, path.stem, image, seen, places["torch"], predictor, (), areas)
            areas.close()

        photo_times = in_turns({"torch": predict_theirs, "jax": predict_ours}, rounds)
        equal = same_masks(places, [path.stem for path in found.paths])
    evaluations = evaluation_sides(case, network, predictor)
    return {
        "model": case.label,
        "equal_pixels": equal,
        "photos_per_s": {side: len(found.paths) / t for side, t in photo_times.items()},
        "evaluated_per_s": {s: BATCH / t for s, t in in_turns(evaluations, rounds).items()},
    }


def same_masks(places: dict[str, pathlib.Path], names: list[str]) -> float:
    """The share of pixels whose predicted class is the same on both sides."""
    pairs = [[np.asarray(Image.open(place / f"{name}.png")) for place in places.values()]
             for name in names]  # fmt: skip
    return float(np.mean([np.mean(one == other) for one, other in pairs]))


def evaluation_sides(
    case: Case, network: Any, predictor: Predictor
) -> dict[str, Callable[[], Any]]:
    """A function for each side that evaluates one batch and waits for its counts."""
    import torch

    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (BATCH, *SIZE, 3), np.uint8)
    masks = rng.integers(0, CLASSES, (BATCH, *SIZE), np.uint8)
    config = predictor.config
    model = build_model(config)
    inference = build_inference(config, model)
    parallel = PARALLEL["pmap"](jax.devices()[:1])
    views = build_views(config, model)
    step = parallel.distribute(make_eval_step(model, views, CLASSES, inference, 0.95))
    networks = parallel.replicate({"teacher": predictor.variables})
    batch = {"image": images, "mask": masks, "index": np.arange(BATCH, dtype=np.int32)}

    def evaluate_ours() -> None:
        counts = parallel.replicate({"teacher": PixelCounts.empty(CLASSES)})
        jax.block_until_ready(step(networks, counts, parallel.put_batch(batch))[0])

    @torch.inference_mode()
    def evaluate_theirs() -> Any:
        predicted = predicted_by_torch(network, case, images).argmax(1)
        pairs = torch.from_numpy(masks).long() * CLASSES + predicted
        return torch.bincount(pairs.reshape(-1), minlength=CLASSES**2).numpy()

    return {"torch": evaluate_theirs, "jax": evaluate_ours}


def row(found: dict[str, Any]) -> str:
    cells = [found["model"]]
    for key in ("photos_per_s", "evaluated_per_s"):
        here, there = found[key]["jax"], found[key]["torch"]
        cells.append(f"{here:.2f} / {there:.2f} = {here / there:.2f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", type=int, default=range(len(CASES)), help="cases")
    parser.add_argument("--photos", type=int, default=8, help="photos of a round")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds")
    parser.add_argument("--json", type=pathlib.Path, help="also write the numbers to this file")
    options = parser.parse_args()
    print("this / PyTorch = ratio\n\n| model | photos per second | evaluated images per second |")
    print("|---|---|---|")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_photos(pathlib.Path(folder), options.photos)
        for index in options.only:
            rows.append(measure(CASES[index], pathlib.Path(folder), options.rounds))
            print(row(rows[-1]), flush=True)
    if options.json:
        import torch

        machine = {"device": f"{platform.machine()} CPU", "threads": len(os.sched_getaffinity(0))}
        versions = {"jax": jax.__version__, "torch": torch.__version__}
        write_record(options.json, {**machine, **versions, "size": SIZE, "rows": rows})


if __name__ == "__main__":
    main()
