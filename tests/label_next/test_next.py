"""`--mode next` from the command line: files, what is left out, and what must not matter."""

import csv
import io
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax import load_predictor
from ipixmatch_jax.config import load_config
from ipixmatch_jax.data.datasets.folder import masks_of
from ipixmatch_jax.label_next import measure
from ipixmatch_jax.label_next.masks import PseudoMasks
from ipixmatch_jax.main import main
from ipixmatch_jax.predictor import Prediction
from tests.references.photos import image_of


def ranked(workdir, output, *arguments):
    command = ["--workdir", str(workdir), "--mode", "next", "--output", str(output), *arguments]
    return main(command), rows_of(output)


def rows_of(output):
    with (output / "next.csv").open(newline="") as file:
        return list(csv.DictReader(file))


NUMBERS = ("score", "uncertainty", "disagreement", "rarity", "distance")


def same_ranking(one, other):
    assert [row["id"] for row in one] == [row["id"] for row in other]
    for name in NUMBERS:
        np.testing.assert_allclose(
            [float(row[name]) for row in one], [float(row[name]) for row in other], atol=2e-5
        )


def test_files_of_a_ranking(run, folder_data, tmp_path, capsys):
    out = tmp_path / "out"
    colors_of = ((10, 20, 30), (200, 10, 10))
    flags = ["--count", "2", "--pseudo-masks", "0.55", f"--config.data.palette={colors_of}"]
    code, rows = ranked(run[0], out, *flags)
    assert code == 0
    assert {row["id"] for row in rows} == {f"t{i}" for i in range(6, 12)}
    assert [row["rank"] for row in rows] == list("123456")
    assert [row["suggested"] for row in rows] == ["yes"] * 2 + ["no"] * 4
    assert rows[0]["file"] == str(folder_data / "train" / "images" / f"{rows[0]['id']}.png")
    said = capsys.readouterr().out
    assert "2 of 6 images suggested, by teacher, step 4" in said
    page = (out / "next.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 6 and "://" not in page
    for row in rows:
        assert (f"{row['rank']}. {row['id']}<" in page) == (row["suggested"] == "yes")

    # The masks are the teacher's predictions, 255 below the threshold, and the run reads them.
    masks = sorted((out / "masks").iterdir())
    assert [path.stem for path in masks] == sorted(row["id"] for row in rows[:2])
    predict, values = load_predictor(run[0], network="teacher"), set()
    for path in masks:
        found = predict.predict(folder_data / "train" / "images" / path.name)
        expected = np.where(found.confidence >= 0.55, found.mask, 255)
        np.testing.assert_array_equal(masks_of(run[1].data).read(path, path.name), expected)
        stored = Image.open(path)
        assert stored.mode == "P"
        colors = np.asarray(stored.convert("RGB"))
        for value in np.unique(expected):
            color = (255, 255, 255) if value == 255 else colors_of[value]
            assert (colors[expected == value] == color).all()
        values |= set(np.unique(expected).tolist())
    assert 255 in values and len(values) > 1

    # A correction is never overwritten.
    Image.fromarray(np.full((20, 24), 1, np.uint8)).save(masks[0])
    corrected = masks[0].read_bytes()
    assert ranked(run[0], out, "--count", "2", "--pseudo-masks", "0.9")[0] == 0
    assert masks[0].read_bytes() == corrected
    assert "2 mask(s)" in capsys.readouterr().out


@pytest.mark.parametrize("tile_above", [2048, 16])
def test_scores_are_those_of_each_image_alone(run, folder_data, tmp_path, tile_above):
    """Against predictions one by one, in float64; large images are processed in windows."""
    flags = ("--network", "student", "--tile-above", str(tile_above))
    _, rows = ranked(run[0], tmp_path / "out", *flags)
    probs = {
        name: {
            row["id"]: load.predict(row["file"], probs=True).probs.astype(np.float64)
            for row in rows
        }
        for name in ("student", "teacher")
        for load in [load_predictor(run[0], network=name, tile_above=tile_above)]
    }

    def entropy(p):
        return -(p * np.log(p)).sum(-1)

    masks = [np.array(Image.open(folder_data / f"train/masks/t{i}.png")) for i in range(6)]
    counts = np.bincount(np.concatenate(masks, None), minlength=256)[:2] + 1
    information = -np.log(counts / counts.sum())
    for row in rows:
        one, other = (probs[name][row["id"]] for name in ("student", "teacher"))
        uncertainty = entropy(one).mean() / np.log(2)
        np.testing.assert_allclose(float(row["uncertainty"]), uncertainty, atol=2e-5)
        divergence = entropy((one + other) / 2) - (entropy(one) + entropy(other)) / 2
        divergence = divergence.mean() / np.log(2)
        np.testing.assert_allclose(float(row["disagreement"]), divergence, atol=2e-5)
        rarity = information[one.argmax(-1)].mean() / information.max()
        np.testing.assert_allclose(float(row["rarity"]), rarity, atol=2e-5)


def test_batch_size_and_order_of_files_do_not_matter(run, folder_data, tmp_path, monkeypatch):
    for number in (7, 9):  # another size
        path = folder_data / "train" / "images" / f"t{number}.png"
        Image.fromarray(image_of(17, 30, seed=number)).save(path)
    _, rows = ranked(run[0], tmp_path / "a", "--count", "4")
    for size in (1, 3):
        out = tmp_path / f"b{size}"
        _, others = ranked(run[0], out, "--count", "4", f"--config.eval_batch_size={size}")
        same_ranking(rows, others)
    # Both sizes in one frame.
    same_ranking(rows, ranked(run[0], tmp_path / "frame", "--config.eval.shapes=1")[1])
    monkeypatch.setattr(measure, "_MOST_LOGITS", 1200)  # photos are too large for batches
    same_ranking(rows, ranked(run[0], tmp_path / "large", "--count", "4")[1])
    monkeypatch.undo()
    names = (folder_data / "unlabeled.txt").read_text().split()
    (folder_data / "unlabeled.txt").write_text("\n".join(names[::-1]) + "\n")
    _, others = ranked(run[0], tmp_path / "c", "--count", "4")
    assert others == rows
    assert ranked(run[0], tmp_path / "c", "--count", "4")[1] == rows


def test_copies_are_not_suggested_together(run, folder_data, tmp_path):
    images = folder_data / "train" / "images"
    for number in (7, 8, 9):
        shutil.copy(images / "t6.png", images / f"t{number}.png")
    _, rows = ranked(run[0], tmp_path / "out", "--count", "3")
    copies = [row["id"] in ("t6", "t7", "t8", "t9") for row in rows]
    assert sum(copies[:3]) == 1 and all(copies[3:])


def test_weights_choose_the_part(run, tmp_path):
    for number, name in enumerate(("uncertainty", "disagreement", "rarity")):
        weights = ["0", "0", "0"]
        weights[number] = "2.5"
        _, rows = ranked(run[0], tmp_path / name, "--weights", *weights)
        order = np.argsort([float(row["score"]) for row in rows], kind="stable")
        values = np.array([float(row[name]) for row in rows])[order]
        assert (np.diff(values) >= -1e-5).all()


def test_unreadable_images_are_skipped_and_named(run, folder_data, tmp_path, capsys):
    images = folder_data / "train" / "images"
    (images / "t8.png").write_bytes(b"no image")
    whole = (images / "t9.png").read_bytes()
    (images / "t9.png").write_bytes(whole[: len(whole) // 2])  # its header is intact
    code, rows = ranked(run[0], tmp_path / "out")
    assert code == 2
    assert sorted(row["id"] for row in rows) == ["t10", "t11", "t6", "t7"]
    said = capsys.readouterr().err
    assert "2 of 6 images could not be read or predicted, the others are ranked" in said
    assert "t8.png" in said and "t9.png" in said and "Traceback" not in said


def test_other_photos(run, folder_data, tmp_path, capsys):
    photos = tmp_path / "photos"
    (photos / "in").mkdir(parents=True)
    for number, name in enumerate(("a.png", "in/b.png", "in/b.bmp")):
        Image.fromarray(image_of(18, 21, seed=number)).save(photos / name)
    shutil.copy(folder_data / "train" / "images" / "t0.png", photos / "copy.png")
    (photos / "labeled.png").symlink_to(folder_data / "train" / "images" / "t0.png")
    (photos / "notes.txt").touch()
    (photos / "cut.jpg").write_bytes(b"")
    code, rows = ranked(run[0], tmp_path / "out", "--input", str(photos), "--pseudo-masks", "0")
    assert code == 2
    assert sorted(row["id"] for row in rows) == ["a", "copy", "in/b_bmp", "in/b_png"]
    assert sorted(p.name for p in (tmp_path / "out" / "masks" / "in").iterdir()) == [
        "b_bmp.png",
        "b_png.png",
    ]
    said, failed = capsys.readouterr()
    assert "1 of 5 images" in failed and "cut.jpg" in failed and "take its id out" not in failed
    assert "left out: 1 .txt file(s)" in said
    assert "left out: 1 labeled, validation or test image(s)" in said
    # The copy of a labeled image is nothing new.
    assert float(next(row for row in rows if row["id"] == "copy")["distance"]) == 0
    assert rows[-1]["id"] == "copy"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "0", "0", "0"], "--weights are all 0; expected one above 0"),
        (["--output", "taken"], "--output taken cannot be written"),
        (["--output", "others"], "next.csv is not a table of --mode next"),
        (["--config.data.unlabeled="], "no unlabeled image to rank"),
        (["--input", "nowhere"], "nowhere does not exist"),
        (
            ["--pseudo-masks", "0.5", "--config.data.folder.exif=stored"],
            "data.folder.exif='stored'",
        ),
    ],
)
def test_what_cannot_be_is_said_before_the_work(
    run, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").touch()
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "next.csv").write_text("name,price\n")
    before = sorted(tmp_path.rglob("*"))
    assert main(["--workdir", str(run[0]), "--mode", "next", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    made = {path.name for path in set(tmp_path.rglob("*")) - set(before)}
    assert made <= {"next"}  # the empty folder of the results


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "0"], "--count: is '0'; expected a whole number of at least 1"),
        (["--pseudo-masks", "1.5"], "is '1.5'; expected a number of at least 0 and at most 1"),
        (["--weights", "1", "nan", "1"], "is 'nan'; expected a number of at least 0"),
    ],
)
def test_usage_errors(tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as end:
        main(["--workdir", str(tmp_path), "--mode", "next", *arguments])
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_pseudo_masks_take_the_form_of_the_masks_of_the_data(config_file):
    ids = np.array([[0, 1], [1, 0]], np.uint8)
    sure = np.array([[1, 0.9], [0.2, 0.7]], np.float32)
    expected = [[0, 1], [255, 0]]
    palette = np.array([[0, 0, 0], [200, 10, 10]], np.uint8)
    forms = {
        "stored values": ["mask_values=(3,255)", "ignore_values=(7,)"],
        "colors": ["masks=colors", "palette=((0,0,0),(200,10,10))", "ignore_colors=((1,2,3),)"],
        "palette": ["palette=((0,0,0),(200,10,10))"],
        "ids": ["folder.mask_prefix=gt_", "folder.mask_tail=_m"],
    }
    for form, keys in forms.items():
        data = load_config(str(config_file), [f"--config.data.{key}" for key in keys]).data
        masks = PseudoMasks(data, palette, 0.7)
        file = masks.png(Prediction(ids, sure))
        np.testing.assert_array_equal(masks_of(data).read(file, form), expected)
        # Gray among gray masks: one with a palette would change the config of the run.
        mode = Image.open(io.BytesIO(file)).mode
        assert mode == ("RGB" if form == "colors" else "P" if form == "palette" else "L")
    assert masks.name("a/b.c") == "a/gt_b.c_m.png"
    assert masks.name("/etc/../b") == "etc/gt_b_m.png"


@pytest.fixture
def standard_promotion():
    with jax.numpy_dtype_promotion("standard"):  # optax.adamw counts steps in int32
        yield


def test_labels_put_back_train_and_validation_stays(
    config_file, folder_data, tmp_path, one_device, standard_promotion
):
    """A round: train, rank, add masks, resume; the hold-out of the run does not change."""
    for split in ("images", "masks"):
        shutil.rmtree(folder_data / "val" / split)
    masks, aside = folder_data / "train" / "masks", folder_data / "aside"
    aside.mkdir()
    for number in (6, 7, 8, 9):
        (masks / f"t{number}.png").rename(aside / f"t{number}.png")
    lists = [f"--config.data.{name}=" for name in ("labeled", "unlabeled", "val")]
    train = ["--config", str(config_file), "--workdir", str(tmp_path / "run"), *lists]
    train += ["--config.data.folder.holdout=0.3", "--config.data.folder.group=none"]
    assert main([*train, "--config.total_steps=2"]) == 0

    def splits():
        return json.loads((tmp_path / "run" / "splits.json").read_text())

    before = splits()
    assert before["val"]["ids"]
    code, rows = ranked(tmp_path / "run", tmp_path / "out", "--count", "2", "--pseudo-masks", "0.6")
    chosen = {row["id"] for row in rows[:2]}
    assert code == 0 and {row["id"] for row in rows} == {"t6", "t7", "t8", "t9"}
    for name in chosen:  # as predicted: the pseudo-mask itself is a mask that the run takes
        shutil.copy(tmp_path / "out" / "masks" / f"{name}.png", masks / f"{name}.png")

    again = [*train, "--config.total_steps=4"]
    assert main(again) == 2  # a change of the data needs a word
    assert main([*again, "--config.data.changed=accept"]) == 0
    after = splits()
    assert after["val"]["ids"] == before["val"]["ids"]
    assert set(after["labeled"]["ids"]) == set(before["labeled"]["ids"]) | chosen
    assert set(after["unlabeled"]["ids"]) == set(before["unlabeled"]["ids"]) - chosen
    # The next round suggests neither labeled images nor those of the run's validation.
    _, rows = ranked(tmp_path / "run", tmp_path / "second")
    assert {row["id"] for row in rows} == {"t6", "t7", "t8", "t9"} - chosen
