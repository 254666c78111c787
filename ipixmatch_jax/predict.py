"""`--mode predict`: predicts photos, or draws predictions of validation images."""

import csv
import glob
import io
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from ml_collections import ConfigDict
from PIL import Image
from tqdm import tqdm

from ipixmatch_jax import build
from ipixmatch_jax.data import (
    IMAGE_SUFFIXES,
    load_dataset,
    pixels_of,
    read_image,
)
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.paths import AnyPath, as_path
from ipixmatch_jax.predictor import TILE_ABOVE, Prediction, Predictor, restore_predictor
from ipixmatch_jax.viz.drawing import (
    colored,
    grayscale,
    indexed,
    overlay,
    with_legend,
)
from ipixmatch_jax.viz.validation_images import draw_validation
from ipixmatch_jax.workdir.folder import predictions_folder

EXTRAS = ("confidence", "probs")


def predict_files(
    config: ConfigDict,
    workdir: AnyPath,
    *,
    inputs: Sequence[os.PathLike | str] | None,
    output: AnyPath | None,
    checkpoint: str = "latest",
    network: str = "teacher",
    extras: Sequence[str] = (),
    tile_above: int = TILE_ABOVE,
) -> None:
    """Predicts photos; without inputs, draws validation images.

    Writes for every photo NAME.png (class ids, with the palette), NAME_color.png,
    NAME_overlay.png with a legend, and a row of `areas.csv`: pixels of every class.

    Args:
        inputs: photos, folders of photos or patterns such as 'photos/**/*.jpg'.
        output: folder; by default `predictions` in the workdir.
        extras: `confidence` writes NAME_confidence.png (0 to 255 for 0 to 1), `probs` writes
            NAME_probs.npy (float16 [H, W, C]).
        tile_above: see `Predictor`.

    Raises:
        ConfigError: an output that would overwrite a photo.
        DataError: no photo; or, at the end, the photos that could not be read. All others are done.
    """
    output = as_path(output or predictions_folder(workdir))
    photos = named_photos(inputs) if inputs else {}
    _check_output(output, photos)
    predict = restore_predictor(config, workdir, checkpoint, network, tile_above)
    said = f"predictions of {predict.network}, step {predict.step}:"
    if not inputs:
        dataset, model = load_dataset(config.data, config.seed), build.build_model(config)
        print(said, draw_validation(predict.config, workdir, model, predict.variables, dataset))
        return

    output.mkdir(parents=True, exist_ok=True)
    broken = _predict_photos(photos, output, predict, extras)
    print(f"{said} {output}")
    if broken:
        raise DataError(
            f"{len(broken)} of {len(photos)} photos could not be read, the others are done:\n  "
            + "\n  ".join(broken)
        )


def _predict_photos(
    photos: dict[str, pathlib.Path],
    output: AnyPath,
    predict: Predictor,
    extras: Sequence[str],
) -> list[str]:
    """Writes all that is said of the photos; what is wrong with those that cannot be read."""
    pixels, broken = pixels_of(predict.config.data), []
    with (
        (output / "areas.csv").open("wb") as file,
        io.TextIOWrapper(file, encoding="utf-8", newline="") as text,
    ):
        areas = csv.writer(text)
        areas.writerow(["image", "width", "height", "mean_confidence", *predict.class_names])
        for name, path in tqdm(photos.items(), unit="image"):
            try:
                image = read_image(path, pixels=pixels)
            except DataError as error:
                broken.append(str(error))
                continue
            found = predict.predict(image, probs="probs" in extras)
            _write(output / name, image, found, predict, extras)
            counts = np.bincount(found.mask.reshape(-1), minlength=len(predict.class_names))
            mean = f"{found.confidence.mean():.4f}"
            areas.writerow([path, image.shape[1], image.shape[0], mean, *counts])
    return broken


def _write(
    base: pathlib.Path,
    image: np.ndarray,
    found: Prediction,
    predict: Predictor,
    extras: Sequence[str],
) -> None:
    base.parent.mkdir(parents=True, exist_ok=True)
    palette = predict.palette
    over = overlay(image, found.mask, palette)
    pictures = {
        "": indexed(found.mask, palette),
        "_color": Image.fromarray(colored(found.mask, palette)),
        "_overlay": Image.fromarray(with_legend(over, found.mask, predict.class_names, palette)),
    }
    if "confidence" in extras:
        pictures["_confidence"] = grayscale(found.confidence)
    for tail, picture in pictures.items():
        with _beside(base, f"{tail}.png").open("wb") as file:
            picture.save(file, "PNG")
    if "probs" in extras:
        with _beside(base, "_probs.npy").open("wb") as file:
            np.save(file, found.probs.astype(np.float16))


def _beside(base: pathlib.Path, tail: str) -> pathlib.Path:
    # Not with_suffix: names of photos may hold dots.
    return base.with_name(base.name + tail)


def _check_output(output: AnyPath, photos: dict[str, pathlib.Path]) -> None:
    taken = {path.resolve() for path in photos.values()}
    for name in photos:
        written = _beside(output / name, ".png")
        if written.resolve() in taken:
            raise ConfigError(
                f"the prediction of {photos[name]} would be written to {written}, a photo; "
                "expected another folder; set --output"
            )


def named_photos(inputs: Sequence[os.PathLike | str]) -> dict[str, pathlib.Path]:
    """Photos by the name of what is written of them: their path from the folder that holds all.

    The suffix is left out, unless two photos differ in nothing else.

    Args:
        inputs: photos, folders or patterns.

    Raises:
        DataError: one of them holds no photo.
    """
    paths = list(dict.fromkeys(path for item in inputs for path in _photos(str(item))))
    base = os.path.commonpath([path.parent.absolute() for path in paths])
    names = [path.absolute().relative_to(base) for path in paths]
    stems = [name.with_suffix("").as_posix() for name in names]
    unique = [
        stem if stems.count(stem) == 1 else name.as_posix().replace(".", "_")
        for stem, name in zip(stems, names, strict=True)
    ]
    return dict(zip(unique, paths, strict=True))


def _photos(item: str) -> Iterator[pathlib.Path]:
    path = pathlib.Path(item)
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    elif path.exists():
        found = [path]
    elif glob.has_magic(item):
        matches = (pathlib.Path(match) for match in sorted(glob.glob(item, recursive=True)))
        found = [p for p in matches if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
    else:
        raise DataError(
            f"--input {item} does not exist; expected a photo, a folder of photos or a pattern"
        )
    if not found:
        raise DataError(f"--input {item} holds no photo; expected {', '.join(IMAGE_SUFFIXES)}")
    yield from found
