"""Predictions of photos from the command line."""

import csv

import jax
import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax import load_predictor
from ipixmatch_jax.main import main
from ipixmatch_jax.predict import named_photos
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
