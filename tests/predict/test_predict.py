"""Predictions of photos from the command line."""

import csv
import errno
import os
import sys
import threading

import numpy as np
import pytest
import tifffile
from PIL import Image

from ipixmatch_jax import load_predictor, photo_reader
from ipixmatch_jax import predict as predicting
from ipixmatch_jax.main import main
from ipixmatch_jax.photo_files.areas import Areas
from ipixmatch_jax.photo_files.found import find_photos
from ipixmatch_jax.predict import doubts
from ipixmatch_jax.predict.names import result_names
from tests.references.photos import image_of


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
        "2 of 4 photos could not be predicted, the others are done" in said
        and "Traceback" not in said
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
        (["--input", "*.none"], "no file has such a name"),
        (["--input", "https://example.org/a.jpg"], "is not on this machine"),
        (["--input", "empty"], "holds no photo (1 .txt file(s), 1 hidden file(s)); expected .png"),
        (["--input", "v.png", "--output", "v.png"], "--output v.png cannot be written"),
    ],
)
def test_inputs_that_cannot_be(run, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(image_of(8, 8)).save("v.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "note.txt").touch()
    (tmp_path / "empty" / "._v.png").touch()
    assert main(["--workdir", str(run[0]), "--mode", "predict", *arguments]) == 2
    assert message in capsys.readouterr().err


def names_of(inputs, output, workdir_classes=("ground", "square")):
    photos, areas = find_photos(inputs), Areas(output, workdir_classes)
    names = result_names(photos.paths, photos.base, output, areas.result_of)
    return {photo.name: name for photo, name in zip(photos.paths, names, strict=True)}


def test_photos_keep_names_of_their_own(tmp_path):
    (tmp_path / "x").mkdir()
    paths = [tmp_path / name for name in ("a.png", "a.jpg", "b.png", "x/c.png", "note.txt")]
    for path in paths:
        path.write_bytes(b"")
    found = names_of([tmp_path, f"{tmp_path}/**/*"], tmp_path / "out")
    assert found == {"a.jpg": "a_jpg", "a.png": "a_png", "b.png": "b", "c.png": "x/c"}


@pytest.mark.parametrize(
    ("photos", "want"),
    [
        (("a.jpg", "a_color.jpg", "a_overlay.jpg"), ("a_jpg", "a_color_jpg", "a_overlay_jpg")),
        (("a.jpg", "a.png", "a_jpg.jpg"), ("a_jpg_2", "a_png", "a_jpg_jpg")),
        (("a.jpg", "A.JPG"), ("a_jpg_3", "A_JPG_2")),
    ],
)
def test_no_two_photos_share_a_file(tmp_path, photos, want):
    (tmp_path / "photos").mkdir()
    for name in photos:
        (tmp_path / "photos" / name).touch()
    assert names_of([tmp_path / "photos"], tmp_path / "out") == dict(zip(photos, want, strict=True))


def predict(run, *arguments):
    return main(["--workdir", str(run[0]), "--mode", "predict", *map(str, arguments)])


def test_results_in_the_folder_of_the_photos_leave_all_files_alone(run, tmp_path, capsys):
    photos = tmp_path / "photos"
    (photos / "trip").mkdir(parents=True)
    image, mask = image_of(20, 24), np.zeros((20, 24), np.uint8)
    for name in ("a.png", "trip/c.png"):
        Image.fromarray(image).save(photos / name)
    Image.fromarray(image).save(photos / "b.jpg")
    Image.fromarray(mask).save(photos / "trip" / "c_color.png")  # somebody's own file
    (photos / "areas.csv").write_text("image,mine\na,1\n")
    before = {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()}
    for _ in range(2):  # the second time the results are not taken for photos, but replaced
        assert predict(run, "--input", photos, "--output", photos) == 0
        assert {path: path.read_bytes() for path in before} == before
        names = {path.relative_to(photos).as_posix() for path in photos.rglob("*.png")}
        results = {name for name in names if (photos / name) not in before}
        assert {name for name in results if not name.endswith(("_color.png", "_overlay.png"))} == {
            "a_png.png", "b.png", "trip/c_png.png", "trip/c_color_png.png"
        }  # fmt: skip
        assert len(results) == 3 * 4
        with open(photos / "areas_2.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert {row["result"] for row in rows} == {
            "a_png", "b", "trip/c_png", "trip/c_color_png"
        }  # fmt: skip
    assert "left out: 1 .csv file(s)" in capsys.readouterr().out


def test_nothing_of_an_earlier_prediction_is_left_beside_the_new_one(run, tmp_path, capsys):
    for name in ("a.png", "b.png"):
        Image.fromarray(image_of(20, 24)).save(tmp_path / name)
    both = ("--input", tmp_path / "a.png", tmp_path / "b.png", "--output", tmp_path / "out")
    assert predict(run, *both, "--also", "confidence", "probs") == 0
    assert "keeps" not in capsys.readouterr().out
    (tmp_path / "out" / "own_probs.npy").write_bytes(b"mine")
    alone = ("--input", tmp_path / "a.png", "--output", tmp_path / "out", "--network", "student")
    assert predict(run, *alone, "--also", "confidence") == 0
    assert "areas.csv keeps 1 row(s) of other photos" in capsys.readouterr().out
    left = {path.name for path in (tmp_path / "out").glob("*_probs.npy")}
    assert left == {"b_probs.npy", "own_probs.npy"}
    assert (tmp_path / "out" / "a_confidence.png").exists()


def test_another_photo_of_the_same_name_is_a_result_of_its_own(run, tmp_path):
    for folder, seed in (("x", 0), ("y", 1)):
        (tmp_path / folder).mkdir()
        Image.fromarray(image_of(20, 24, seed=seed)).save(tmp_path / folder / "a.png")
        assert predict(run, "--input", tmp_path / folder, "--output", tmp_path / "out") == 0
    with open(tmp_path / "out" / "areas.csv", newline="") as file:
        rows = {row["image"]: row["result"] for row in csv.DictReader(file)}
    assert rows == {str(tmp_path / "x/a.png"): "a", str(tmp_path / "y/a.png"): "a_png"}
    for folder, name in (("x", "a"), ("y", "a_png")):
        mask = load_predictor(run[0])(tmp_path / folder / "a.png")
        np.testing.assert_array_equal(Image.open(tmp_path / "out" / f"{name}.png"), mask)


def test_hidden_and_helper_files_are_left_out_and_counted(run, tmp_path, capsys):
    for name in ("a.png", "._a.png", ".trash/b.png", "@eaDir/c.png", "x/d.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image_of(20, 24)).save(path)
    (tmp_path / "photos" / "clip.mp4").touch()
    assert predict(run, "--input", tmp_path / "photos", "--output", tmp_path / "out") == 0
    said = capsys.readouterr().out
    for text in ("1 hidden file(s)", "2 hidden or helper folder(s)", "1 .mp4 file(s)", "2 of 2"):
        assert text in said
    assert (tmp_path / "out" / "x" / "d_overlay.png").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only")
def test_names_that_are_not_utf8_and_formulas(run, tmp_path, monkeypatch):
    photos = tmp_path / "photos"
    photos.mkdir()
    names = [os.fsdecode(b"gr\xfc\xdfe.png"), "=1+1.png", "plain.png"]
    for name in names:
        with open(photos / name, "wb") as file:
            Image.fromarray(image_of(20, 24)).save(file, "PNG")
    (photos / os.fsdecode(b"br\xf6ken.jpg")).write_bytes(b"")
    for _ in range(2):
        assert predict(run, "--input", photos, "--output", tmp_path / "out") == 2
        written = [os.fsencode(name) for name in os.listdir(tmp_path / "out")]
        assert len(written) == 3 * 3 + 1 and b"gr\xfc\xdfe_overlay.png" in written
    with open(tmp_path / "out" / "areas.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["result"] for row in rows) == ["'=1+1", "gr\\xfc\\xdfe", "plain"]


def test_messages_speak_of_prediction(run, tmp_path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(image_of(20, 24)).save(photos / "a.png")
    Image.fromarray(np.full((20, 24), 1000, np.uint16)).save(photos / "deep.png")
    (photos / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    assert predict(run, "--input", photos, "--output", tmp_path / "out") == 2
    said = capsys.readouterr().err
    for advice in ("data.", "take its id out", "list"):
        assert advice not in said
    assert "deep.png: uint16 pixels" in said and "cut.jpg: cannot be read as an image" in said
    assert said.strip().endswith("the network takes images of 3 channels with 8 bits a channel")


def test_a_photo_that_no_decoder_can_take_stops_no_other(run, tmp_path, monkeypatch, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(image_of(20, 24)).save(photos / name)
    real = photo_reader.read_valid_bands

    def fail(file, *arguments):
        if file.name == "b.png":
            raise RuntimeError("a fault of a library")
        return real(file, *arguments)

    monkeypatch.setattr(photo_reader, "read_valid_bands", fail)
    assert predict(run, "--input", photos, "--output", tmp_path / "out") == 2
    assert "b.png: cannot be read (RuntimeError: a fault of a library)" in capsys.readouterr().err
    assert (tmp_path / "out" / "c.png").exists()
    with open(tmp_path / "out" / "areas.csv", newline="") as file:
        assert [row["result"] for row in csv.DictReader(file)] == ["a", "c"]


def test_validation_images_go_to_the_output_folder(run, tmp_path):
    assert predict(run, "--output", tmp_path / "drawn") == 0
    (drawn,) = (tmp_path / "drawn").rglob("*.png")
    image = Image.open(drawn)
    # Four columns of an image of 20 x 24 pixels, enlarged 8 times; captions and a legend.
    assert image.width == 4 * 8 * 24 + 3 * 4 and image.height > 8 * 20 + 20
    assert not (run[0] / "predictions").exists()


def test_drawings_of_validation_images_replace_nothing_but_their_own(run, tmp_path):
    drawn = tmp_path / "masks"
    assert predict(run, "--output", drawn) == 0
    (name,) = (path.name for path in drawn.iterdir())
    Image.new("L", (24, 20)).save(drawn / name)  # a mask, drawn by hand
    mask = (drawn / name).read_bytes()
    for _ in range(2):
        assert predict(run, "--output", drawn) == 0
        assert (drawn / name).read_bytes() == mask
    other = name.replace(".png", "_validation.png")
    assert sorted(path.name for path in drawn.iterdir()) == sorted([name, other])


def test_photos_are_read_and_written_while_another_is_predicted(run, tmp_path, monkeypatch, capsys):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name in "abcdef":
        Image.fromarray(image_of(20, 24)).save(photos / f"{name}.png")
    for name in "ae":
        (photos / f"{name}.png").write_bytes(b"")
    third_is_read = threading.Event()
    read, write = doubts.read_valid_photo, predicting._write

    def noted_read(path, pixels):
        if path.name == "c.png":
            third_is_read.set()
        return read(path, pixels)

    def late_write(base, *arguments):
        assert third_is_read.wait(30), "c.png is read only after b.png is written"
        if base.name == "d":
            raise OSError(errno.ENAMETOOLONG, "name too long")
        write(base, *arguments)

    monkeypatch.setattr(doubts, "read_valid_photo", noted_read)
    monkeypatch.setattr(predicting, "_write", late_write)
    assert predict(run, "--input", photos, "--output", out) == 2
    said = capsys.readouterr().err
    assert "3 of 6 photos could not be predicted" in said
    places = [said.index(f"{photos / name}.png") for name in "ade"]
    assert places == sorted(places)
    with open(out / "areas.csv", newline="") as file:
        assert [row["result"] for row in csv.DictReader(file)] == ["b", "c", "d", "f"]
    assert all((out / f"{name}_color.png").exists() for name in "bcf")


def test_photos_that_may_not_be_what_they_seem(run, tmp_path, capsys):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    image = image_of(20, 24)
    opacity = np.full((20, 24), 255, np.uint8)
    Image.fromarray(image).save(photos / "whole.png")
    assert predict(run, "--input", photos, "--output", out) == 0
    assert "transparent" not in capsys.readouterr().out
    opacity[:10] = 0
    Image.fromarray(np.dstack([image, opacity])).save(photos / "cut_out.png")
    mask = np.zeros((20, 24), np.uint8)
    mask[5:9, 6:20] = 1
    Image.fromarray(mask).save(photos / "mask.png")
    assert predict(run, "--input", photos, "--output", out) == 0
    said = capsys.readouterr().out
    assert "1 of 3 photos have transparent pixels with colors below them" in said
    assert f"{photos / 'cut_out.png'} (50% of it)" in said
    assert f"look like masks (few colors): {photos / 'mask.png'}" in said
    assert "coordinates on Earth" not in said
    Image.fromarray(image).save(photos / "map.tif", tiffinfo={34735: (1, 1, 0, 0)})
    assert predict(run, "--input", photos / "map.tif", "--output", out) == 0
    assert f"1 of 1 photos have coordinates on Earth, such as {photos}" in capsys.readouterr().out


def test_pixels_without_data_are_told(run, tmp_path, capsys):
    image = image_of(20, 24) | 1
    image[:5] = 0
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb",
                     extratags=[(42113, "s", 0, "0", True)])  # fmt: skip
    assert predict(run, "--input", tmp_path / "a.tif", "--output", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "1 of 1 photos have pixels without data" in said and "(25% of it)" in said
