"""Predictions of photos, from the command line and from Python."""

import csv
import subprocess
import sys

import flax.linen as nn
import jax
import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax import build, load_predictor
from ipixmatch_jax.errors import CheckpointError, ConfigError, DataError
from ipixmatch_jax.main import main
from ipixmatch_jax.predict import named_photos
from ipixmatch_jax.viz.drawing import colored, error_map, with_legend
from tests.references.untrained import save_untrained


@pytest.fixture
def one_device(monkeypatch):
    devices = jax.devices()[:1]
    monkeypatch.setattr("ipixmatch_jax.devices.parallel.jax.devices", lambda *_: devices)


@pytest.fixture
def run(config_file, tmp_path, one_device):
    config, student, teacher = save_untrained(config_file, tmp_path / "run")
    return tmp_path / "run", config, {"student": student, "teacher": teacher}


def image_of(*size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def expected_probs(config, variables, image):
    """By the model itself, without any code of predictions."""
    model = build.build_model(config)
    x = image.astype(np.float32) / 255
    mean, std = (np.float32(value) for value in (model.input_mean, model.input_std))
    logits = model.apply(variables, ((x - mean) / std)[None], train=False)
    return np.asarray(nn.softmax(logits[0]))


def test_the_package_imports_without_jax():
    code = "import sys, ipixmatch_jax; print('jax' in sys.modules, hasattr(ipixmatch_jax, 'none'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False False", done.stderr


def test_a_predictor_says_what_the_model_says(run, folder_data, config_file):
    workdir, config, networks = run
    # Neither the data nor the config file is needed.
    folder_data.rename(folder_data.with_name("away"))
    config_file.unlink()
    image = image_of(20, 24)
    for network, arguments in (("teacher", {}), ("student", {"network": "student"})):
        predict = load_predictor(workdir, **arguments)
        want = expected_probs(config, networks[network], image)
        found = predict.look(image, probs=True)
        np.testing.assert_allclose(found.probs, want, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.confidence, want.max(-1), rtol=0, atol=1e-5)
        mask = predict(image)
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, found.probs.argmax(-1))
        assert predict.look(image).probs is None
    assert (predict.class_names, predict.step) == (("ground", "square"), 4)


def test_large_images_are_looked_at_in_windows(run):
    workdir, config, networks = run
    image = image_of(16, 26)
    whole = load_predictor(workdir, tile_above=26).look(image, probs=True).probs
    np.testing.assert_allclose(
        whole, expected_probs(config, networks["teacher"], image), rtol=0, atol=1e-5
    )
    tiled = load_predictor(workdir, tile_above=25).look(image, probs=True).probs
    # Windows of the crop's 16 columns, ⌊2/3⌋ apart and the last one moved back: at 0 and 10.
    total, seen = np.zeros((16, 26, 2)), np.zeros((26, 1))
    for start in (0, 10):
        part = image[:, start : start + 16]
        total[:, start : start + 16] += expected_probs(config, networks["teacher"], part)
        seen[start : start + 16] += 1
    np.testing.assert_allclose(tiled, total / seen, rtol=0, atol=1e-5)


def test_a_run_of_another_image_size_answers_at_the_size_of_the_photo(
    config_file, tmp_path, one_device
):
    save_untrained(config_file, tmp_path / "run", "data.image_size=(16, 16)")
    found = load_predictor(tmp_path / "run").look(image_of(21, 35), probs=True)
    assert found.mask.shape == found.confidence.shape == (21, 35)
    assert found.probs.shape == (21, 35, 2)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_what_is_no_image(run, image):
    with pytest.raises(DataError, match=r"expected uint8 \[H, W, 3\]"):
        load_predictor(run[0])(image)


def test_what_is_no_run(run, tmp_path):
    with pytest.raises(ConfigError, match=r"config.json does not exist; expected the folder of"):
        load_predictor(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint '9'"):
        load_predictor(run[0], checkpoint=9)


def test_files_from_the_command_line(run, tmp_path, capsys):
    workdir = run[0]
    photos = tmp_path / "photos"
    photos.mkdir()
    image = image_of(20, 24)
    Image.fromarray(image).save(photos / "a.png")
    Image.fromarray(image_of(20, 24, seed=1)).save(photos / "b.c.png")
    (photos / "broken.jpg").write_bytes(b"not a photo")
    (photos / "empty.png").write_bytes(b"")
    out = tmp_path / "out"
    command = ["--workdir", str(workdir), "--mode", "predict", "--output", str(out)]
    assert main([*command, "--input", str(photos), "--also", "confidence", "probs"]) == 2
    said = capsys.readouterr().err
    assert (
        "2 of 4 photos could not be read, the others are done" in said and "Traceback" not in said
    )
    assert "broken.jpg" in said and "empty.png" in said

    predict = load_predictor(workdir)
    mask = predict(image)
    written = Image.open(out / "a.png")
    assert written.mode == "P"
    np.testing.assert_array_equal(np.asarray(written), mask)
    colors = np.asarray(Image.open(out / "a_color.png"))
    np.testing.assert_array_equal(colors, predict.palette[mask])
    overlay = np.asarray(Image.open(out / "a_overlay.png"))
    assert overlay.shape[0] > 20 and overlay.shape[1] >= 24
    probs = np.load(out / "a_probs.npy")
    assert probs.shape == (20, 24, 2) and probs.dtype == np.float16
    confidence = np.asarray(Image.open(out / "a_confidence.png"))
    np.testing.assert_allclose(confidence / 255, probs.max(-1), atol=3e-3)
    with open(out / "areas.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [str(photos / "a.png"), str(photos / "b.c.png")]
    assert [int(rows[0][name]) for name in ("ground", "square")] == [
        (mask == 0).sum(), (mask == 1).sum()
    ]  # fmt: skip
    assert (out / "b.c.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "nowhere"], "nowhere does not exist"),
        (["--input", "*.none"], "holds no photo"),
        (["--input", "v.png", "--output", "."], "would be written to v.png, a photo"),
    ],
)
def test_inputs_that_cannot_be(run, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(image_of(8, 8)).save("v.png")
    assert main(["--workdir", str(run[0]), "--mode", "predict", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_photos_keep_names_of_their_own(tmp_path):
    (tmp_path / "x").mkdir()
    paths = [tmp_path / name for name in ("a.png", "a.jpg", "b.png", "x/b.png", "note.txt")]
    for path in paths:
        path.write_bytes(b"")
    found = named_photos([tmp_path, f"{tmp_path}/**/*"])
    assert {name: path.name for name, path in found.items()} == {
        "a_jpg": "a.jpg", "a_png": "a.png", "b": "b.png", "x/b": "b.png"
    }  # fmt: skip


def test_a_legend_names_the_classes_that_are_there():
    palette = np.uint8([[10, 20, 30], [200, 0, 0], [0, 200, 0]])
    mask = np.zeros((60, 300), np.uint8)
    mask[:20] = 2
    picture = colored(mask, palette)
    shown = with_legend(picture, mask, ("ground", "never", "tree"), palette)
    np.testing.assert_array_equal(shown[:60, :300], picture)
    strip = shown[60:].reshape(-1, 3)
    counted = [(strip == color).all(-1).sum() for color in palette]
    assert counted[0] > 50 and counted[2] > 50 and counted[1] == 0


def test_ignored_pixels_are_no_errors():
    image = np.full((1, 3, 3), 90, np.uint8)
    shown = error_map(image, np.uint8([[1, 1, 1]]), np.uint8([[1, 0, 255]]))
    assert (shown[0, :, 0] == [150, 220, 150]).all()
