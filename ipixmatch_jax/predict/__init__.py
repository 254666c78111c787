"""`--mode predict`: predicts photos, or draws predictions of validation images."""

import errno
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from ipixmatch_jax import build
from ipixmatch_jax.data import load_dataset, pixels_of
from ipixmatch_jax.errors import DataError, UserError
from ipixmatch_jax.outputs import check_writable_folder, next_command
from ipixmatch_jax.paths import AnyPath, as_path
from ipixmatch_jax.photo_files.areas import Areas, printable
from ipixmatch_jax.photo_files.broken import broken_in_words
from ipixmatch_jax.photo_files.found import FoundPhotos, find_photos
from ipixmatch_jax.photo_reader import needs
from ipixmatch_jax.predict.doubts import Doubts
from ipixmatch_jax.predict.names import result_names
from ipixmatch_jax.predictor import TILE_ABOVE, Prediction, Predictor, restore_predictor
from ipixmatch_jax.screen import say
from ipixmatch_jax.tracking.progress import counted
from ipixmatch_jax.viz.drawing import colored, grayscale, indexed, overlay, with_legend
from ipixmatch_jax.viz.validation_images import draw_validation
from ipixmatch_jax.workdir.folder import predictions_folder

# Outputs on request, and the ending of their files.
EXTRAS = {"confidence": "_confidence.png", "probs": "_probs.npy"}
# These faults of one file leave the others possible; any other fault of writing ends the command.
_FAULTS_OF_A_NAME = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


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
    NAME_overlay.png with a legend, and a row of `areas.csv`: pixels of every class. No existing
    file is overwritten, except older results of the same photo.

    Args:
        inputs: photos, folders of photos or patterns such as 'photos/**/*.jpg'.
        output: folder; by default `predictions` in the workdir.
        extras: `confidence` writes NAME_confidence.png (0 to 255 for 0 to 1), `probs` writes
            NAME_probs.npy (float16 [H, W, C]).
        tile_above: see `Predictor`.

    Raises:
        ConfigError: nothing can be written to the output folder.
        DataError: no photo; or, at the end, the photos that could not be predicted. All others are
            done.
    """
    output = as_path(output or predictions_folder(workdir))
    photos = find_photos(inputs) if inputs else None
    check_writable_folder(output, "--output")
    predictor = restore_predictor(config, workdir, checkpoint, network, tile_above)
    said = f"predictions of {predictor.network}, step {predictor.step}:"
    if photos is None:
        dataset, model = load_dataset(config.data, config.seed), build.build_model(predictor.config)
        drawn = draw_validation(
            predictor.config, workdir, model, predictor.variables, dataset, output
        )
        say(f"{said} {drawn}")
        say(next_command(workdir, "--mode", "predict", "--input", "PHOTOS"))
        return
    if photos.skipped:
        say(f"left out: {photos.skipped_text()}")
    broken = predict_photos(photos, output, predictor, extras)
    say(f"{said} {len(photos.paths) - len(broken)} of {len(photos.paths)} photos, {output}")
    if broken:
        raise DataError(_told(broken, len(photos.paths), needs(pixels_of(predictor.config.data))))
    say(next_command(workdir, "--mode", "export", "--output", "network.pth"))


def _told(broken: Sequence[str], total: int, expected: str) -> str:
    return broken_in_words(
        broken, total, failed="photos could not be predicted", others="done", expected=expected
    )


def predict_photos(
    photos: FoundPhotos, output: AnyPath, predictor: Predictor, extras: Sequence[str]
) -> list[str]:
    """Writes the results; returns a message for every photo that could not be predicted."""
    areas = Areas(output, predictor.class_names)
    names = result_names(photos.paths, photos.base, output, areas.result_of)
    pixels = pixels_of(predictor.config.data)
    broken: dict[pathlib.Path, str] = {}
    doubts = Doubts()

    def finish(path: pathlib.Path, task: Future) -> Any:
        try:
            return task.result()
        except DataError as error:
            broken[path] = printable(error)

    kept = areas.begin(photos.paths)
    try:
        paths = counted(photos.paths, len(photos.paths), "predict", "photos")
        # While a photo is predicted, the next one is read and the one before is written.
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            reads = _one_ahead(photos.paths, lambda path: reader.submit(doubts.read, path, pixels))
            written = None
            for path, name, read in zip(paths, names, reads, strict=True):
                image = finish(path, read)
                if image is None:
                    continue
                try:
                    prediction = _predicted(path, image, predictor, extras)
                except DataError as error:
                    broken[path] = printable(error)
                    continue
                if written is not None:
                    finish(*written)
                found = (path, name, image, prediction)
                written = (
                    path,
                    writer.submit(save_results, *found, output, predictor, extras, areas),
                )
            if written is not None:
                finish(*written)
    finally:
        areas.close()
    for line in doubts.lines():
        say(line)
    if kept:
        say(
            f"{areas.path} keeps {kept} row(s) of other photos, of earlier predictions, which may "
            "be of another network; an --output of its own has these photos alone"
        )
    return [broken[path] for path in photos.paths if path in broken]


def _one_ahead(items: Sequence[Any], start: Callable[[pathlib.Path], Future]) -> Iterator[Future]:
    """The task of every item; that of the next one is started before an item's is given out."""
    tasks: list[Future] = []
    for item in items:
        tasks.append(start(item))
        if len(tasks) > 1:
            yield tasks.pop(0)
    yield from tasks


def _predicted(
    path: pathlib.Path, image: np.ndarray, predictor: Predictor, extras: Sequence[str]
) -> Prediction:
    try:
        return predictor.predict_record(image, probs="probs" in extras)
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        raise DataError(
            f"{path}: {image.shape[1]} x {image.shape[0]} pixels cannot be predicted "
            f"({str(error).splitlines()[0][:120]}); if memory runs out, lower --tile-above"
        ) from None


def save_results(
    path: pathlib.Path,
    name: str,
    image: np.ndarray,
    prediction: Prediction,
    output: AnyPath,
    predictor: Predictor,
    extras: Sequence[str],
    areas: Areas,
) -> None:
    """Writes a photo's row and its files; DataError if this photo is at fault."""
    counts = np.bincount(prediction.mask.reshape(-1), minlength=len(predictor.class_names))
    mean = f"{prediction.confidence.mean():.4f}"
    try:
        # The row first: files without one would be taken for somebody else's next time.
        areas.add(path, name, [image.shape[1], image.shape[0], mean, *counts])
        _write(output / name, image, prediction, predictor, extras)
    except OSError as error:
        if error.errno in _FAULTS_OF_A_NAME:
            raise DataError(f"{path}: its results cannot be written ({error.strerror})") from None
        raise UserError(
            f"{output} cannot be written any more ({error.strerror or error}); the photos before "
            f"{path} are done; make room and run the command again"
        ) from error


def _write(
    base: pathlib.Path,
    image: np.ndarray,
    prediction: Prediction,
    predictor: Predictor,
    extras: Sequence[str],
) -> None:
    base.parent.mkdir(parents=True, exist_ok=True)
    mask, palette = prediction.mask, predictor.palette
    over = overlay(image, mask, palette)
    drawings = {
        "": indexed(mask, palette),
        "_color": Image.fromarray(colored(mask, palette)),
        "_overlay": Image.fromarray(with_legend(over, mask, predictor.class_names, palette)),
    }
    if "confidence" in extras:
        drawings["_confidence"] = grayscale(prediction.confidence)
    for ending, drawing in drawings.items():
        with _next_to(base, f"{ending}.png").open("wb") as file:
            drawing.save(file, "PNG")
    if "probs" in extras:
        with _next_to(base, EXTRAS["probs"]).open("wb") as file:
            np.save(file, prediction.probs.astype(np.float16))
    for extra, ending in EXTRAS.items():
        if extra not in extras:  # of an earlier prediction, maybe by another network
            _next_to(base, ending).unlink(missing_ok=True)


def _next_to(base: pathlib.Path, ending: str) -> pathlib.Path:
    # Not with_suffix: names of photos may hold dots.
    return base.with_name(base.name + ending)
