"""Pictures of what a network sees: class maps, overlays, and panels beside the truth."""

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image
from tqdm import tqdm

from ipixmatch_jax.data import (
    IGNORE,
    IMAGE_SUFFIXES,
    Dataset,
    displayable,
    load_dataset,
    pixels_of,
    read_image,
    resize_image,
    with_statistics,
)
from ipixmatch_jax.engine import build
from ipixmatch_jax.engine.inference import predict_logits
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.evaluate import restore_networks
from ipixmatch_jax.methods import Network


def make_predictor(config: ConfigDict, model, network: Any) -> Callable[[np.ndarray], np.ndarray]:
    """A function from an image uint8 [H, W, 3] to its class map uint8 [H, W], at the same size.

    The network looks at it as `config.eval` says. With `data.image_size` the image is resized to
    that first, and the map back again.
    """
    views, inference = build.build_views(config, model), build.build_inference(config, model)
    size = tuple(config.data.image_size)

    @jax.jit
    def classes(variables, image):
        images = views.weak(image[None])
        logits = predict_logits(Network(model, **variables), images, inference)
        return logits[0].argmax(-1).astype("uint8")

    def predict(image: np.ndarray) -> np.ndarray:
        small = resize_image(image, size) if size != (0, 0) else image
        predicted = np.asarray(classes(network, small))
        if predicted.shape == image.shape[:2]:
            return predicted
        back = Image.fromarray(predicted).resize(image.shape[1::-1], Image.Resampling.NEAREST)
        return np.asarray(back)

    return predict


def colored(mask: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Colors uint8 [H, W, 3] of a class map; ignored pixels are white."""
    colors = np.full((256, 3), 255, np.uint8)
    colors[: len(palette)] = palette
    return colors[mask]


def overlay(image: np.ndarray, mask: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The image with the colors of its class map laid over it, uint8 [H, W, 3]."""
    mixed = 0.45 * displayable(image).astype(np.float32) + 0.55 * colored(mask, palette)
    return mixed.round().astype(np.uint8)


def draw_validation(
    config: ConfigDict, workdir: pathlib.Path, model, network: Any, dataset: Dataset
) -> pathlib.Path:
    """Writes `predictions/ID.png`: photo, truth and prediction side by side.

    Draws `config.pictures` validation images, spread evenly over the list.

    Returns:
        The folder.
    """
    folder = pathlib.Path(workdir) / "predictions"
    folder.mkdir(parents=True, exist_ok=True)
    predict = make_predictor(config, model, jax.device_get(network))
    count = min(config.pictures, len(dataset.val))
    for index in np.linspace(0, len(dataset.val) - 1, count).round().astype(int):
        record = dataset.val[int(index)]
        image, mask = record["image"], record["mask"]
        predicted = predict(image)
        image = displayable(image)
        # An ignored pixel has no truth to be compared with.
        wrong = (predicted != mask) & (mask != IGNORE)
        errors = np.where(wrong[..., None], np.uint8([220, 40, 40]), image // 3 + 120)
        panels = [
            image,
            colored(mask, dataset.palette),
            colored(predicted, dataset.palette),
            errors,
        ]
        gap = np.full((image.shape[0], 4, 3), 255, np.uint8)
        row = [part for panel in panels for part in (panel, gap)][:-1]
        picture = Image.fromarray(np.concatenate(row, axis=1))
        small = max(1, 160 // image.shape[0])
        picture = picture.resize((picture.width * small, picture.height * small), 0)
        path = folder / f"{record['id']}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return folder


def predict_files(
    config: ConfigDict,
    workdir: pathlib.Path,
    *,
    inputs: pathlib.Path | None,
    output: pathlib.Path | None,
    checkpoint: str = "latest",
    network: str = "teacher",
) -> None:
    """Predicts a photo or a folder of photos; without inputs, draws validation images.

    Writes for every photo NAME.png, class ids with the palette, and NAME_overlay.png.

    Raises:
        DataError: at the end, naming the photos that could not be read; all others are written.
    """
    config = with_statistics(config)
    pixels = pixels_of(config.data)
    parallel = build.build_parallel(config)
    model = build.build_model(config)
    step, networks = restore_networks(config, workdir, model, parallel, checkpoint, (network,))
    dataset = load_dataset(config.data, config.seed)
    if inputs is None:
        folder = draw_validation(config, workdir, model, networks[network], dataset)
        print(f"predictions of {network}, step {step}: {folder}")
        return

    output = output or pathlib.Path(workdir) / "predictions"
    output.mkdir(parents=True, exist_ok=True)
    predict = make_predictor(config, model, jax.device_get(networks[network]))
    broken = []
    for path in tqdm(list(_photos(inputs)), unit="image"):
        try:
            image = read_image(path, pixels=pixels)
        except DataError as error:
            broken.append(str(error))
            continue
        mask = predict(image)
        indexed = Image.fromarray(mask, "P")
        indexed.putpalette(dataset.palette.tobytes())
        indexed.save(output / f"{path.stem}.png")
        Image.fromarray(overlay(image, mask, dataset.palette)).save(
            output / f"{path.stem}_overlay.png"
        )
    print(f"predictions of {network}, step {step}: {output}")
    if broken:
        raise DataError("some photos could not be read:\n  " + "\n  ".join(broken))


def _photos(inputs: pathlib.Path) -> Iterator[pathlib.Path]:
    if not inputs.exists():
        raise DataError(f"--input {inputs} does not exist; expected a photo or a folder of photos")
    if inputs.is_file():
        yield inputs
        return
    found = sorted(path for path in inputs.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise DataError(f"--input {inputs} holds no photo; expected {', '.join(IMAGE_SUFFIXES)}")
    yield from found
