"""Folders of images and masks: names, pairing, unpaired files, and the user's choices."""

import os
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data import inspect_dataset, load_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.importers import read_folder
from ipixmatch_jax.data.importers.pairing import pair
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.main import main
from tests.references import exports


def fill(root, images="images/{}.jpg", masks="masks/{}.png", names="abcde", labeled=None, seed=0):
    for number, name in enumerate(names):
        exports.photo(root / images.format(name), seed + number)
        if labeled is None or number < labeled:
            exports.mask(root / masks.format(name), exports.truth())


def read(root, **choices):
    found = read_folder(root, choices)[2]
    return {item.id: item.mask and os.path.relpath(item.mask, root) for item in found.items}, found


def loaded(root, make_config, given=None):
    found = describe_folder(str(root), given or {})
    return load_dataset(make_config(**{"labeled": "", "unlabeled": "", "val": "", **found}), 0)


@pytest.mark.parametrize("images, masks", [
    ("images/{}.jpg", "masks/{}.png"),
    ("img/{}.JPG", "labels/{}.png"),
    ("JPEGImages/{}.jpg", "SegmentationClass/{}.png"),
    ("Training_Images/{}.jpg", "Ground_Truth/{}.png"),
    ("photos/{}.jpg", "mask/{}.bmp"),
    ("image/{}.png", "groundTruth/{}.png"),
    ("train/{}.jpg", "trainannot/{}.png"),
    ("data/{}.jpg", "data/{}_mask.png"),
    ("{}.jpg", "mask_{}.png"),
    ("set/{}.jpg", "set/{}_label.bmp"),
    ("all/{}.jpg", "all/{}.png"),
    ("images/1{}_training.png", "1st_manual/1{}_manual1.png"),
    ("ISIC_Training_Input/I_{}1.jpg", "ISIC_Training_GroundTruth/I_{}1_segmentation.png"),
])  # fmt: skip
def test_usual_names(images, masks, tmp_path, make_config):
    fill(tmp_path, images, masks)
    dataset = loaded(tmp_path, make_config)
    assert len(dataset.labeled) + len(dataset.val) == 5 and len(dataset.val) > 0
    assert not dataset.warnings
    for part in (dataset.labeled, dataset.val):
        for index in range(len(part)):
            np.testing.assert_array_equal(part[index]["mask"], exports.truth())


@pytest.mark.parametrize("layout", [
    ("train/images", "train/masks", "valid/images", "valid/masks"),
    ("images/train", "masks/train", "images/val", "masks/val"),
    ("images/training", "annotations/training", "images/validation", "annotations/validation"),
    ("train_images", "train_labels", "val_images", "val_labels"),
])  # fmt: skip
def test_splits_are_recognized(layout, tmp_path, make_config):
    train_images, train_masks, val_images, val_masks = layout
    fill(tmp_path, train_images + "/{}.jpg", train_masks + "/{}.png")
    fill(tmp_path, val_images + "/{}.jpg", val_masks + "/{}.png", names="vw", seed=50)
    dataset = loaded(tmp_path, make_config)
    assert dataset.labeled.ids == tuple("abcde") and dataset.val.ids == ("val/v", "val/w")


def test_scenes_keep_their_images_apart(tmp_path):
    for scene in ("oslo", "rome"):
        fill(tmp_path, f"images/{scene}/{{}}.jpg", f"masks/{scene}/{{}}.png", names="ab")
    pairs, _ = read(tmp_path)
    assert pairs == {f"{s}/{n}": f"masks/{s}/{n}.png" for s in ("oslo", "rome") for n in "ab"}


def test_names_that_are_almost_equal_are_paired_and_reported(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    for image, mask in (("IMG_1", "img_1"), ("p7", "p007"), (composed, decomposed)):
        exports.photo(tmp_path / f"images/{image}.jpg")
        exports.mask(tmp_path / f"masks/{mask}.png", exports.truth())
    pairs, found = read(tmp_path)
    assert all(pairs.values()) and len(pairs) == 3
    assert any("paired by case or Unicode form" in note for note in found.notes)
    assert any("paired by zero padding: p007 -> p7" in note for note in found.notes)


def test_a_name_that_fits_two_images_is_never_paired():
    found = pair([("", "p1"), ("", "p01")], [("", "p001")])
    assert not found.pairs and "p001" in found.warnings[0]
    # Unpaired numbers: it is not known if mask1 belongs to frame0.
    frames, masks = ([("", f"{kind}{n + shift}") for n in range(6)]
                     for kind, shift in (("frame", 0), ("mask", 1)))  # fmt: skip
    assert not pair(frames, masks).pairs
    # One pair of short, different names is no evidence.
    assert not pair([("", "a1")], [("", "b1")]).pairs


def test_masks_without_image_are_named_with_the_nearest(tmp_path, make_config):
    fill(tmp_path)
    fill(tmp_path, "images/{}.jpg", names=["street"], labeled=0)
    exports.mask(tmp_path / "masks/streets.png", exports.truth())
    dataset = loaded(tmp_path, make_config)
    (warning,) = dataset.warnings
    assert "1 masks have no image" in warning and "streets (nearest: street)" in warning
    config = make_config(labeled="", unlabeled="", val="", **describe_folder(str(tmp_path)))
    report = inspect_dataset(config, 0)
    assert [f.message for f in report.findings if f.kind == "left-out"] == [warning]
    assert "streets" in report.text() and "train: 6 images, 5 with a mask" in report.text()


def test_hidden_and_helper_files_are_skipped_and_counted(tmp_path):
    fill(tmp_path)
    for name in (".ipynb_checkpoints/a-checkpoint.jpg", "@eaDir/a.jpg/SYNOPHOTO.jpg", "._a.jpg",
                 ".Trash-1000/b.jpg", "__MACOSX/a.jpg", "Thumbs.db"):  # fmt: skip
        exports.photo((tmp_path / "images" / name).with_suffix(".jpg"))
        (tmp_path / "images" / name).parent.mkdir(exist_ok=True)
    shutil.move(tmp_path / "images/Thumbs.jpg", tmp_path / "images/Thumbs.db")
    (tmp_path / "images/old.jpg").mkdir()
    pairs, found = read(tmp_path)
    assert sorted(pairs) == list("abcde") and not found.problems
    assert any("6 hidden or helper files and folders skipped" in note for note in found.notes)


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    fill(tmp_path / "real")
    data = tmp_path / "data"
    data.mkdir()
    os.symlink(tmp_path / "real/images", data / "images")
    os.symlink(tmp_path / "real/masks", data / "masks")
    os.symlink(data, tmp_path / "real/images/back")
    os.symlink(tmp_path / "nowhere.jpg", tmp_path / "real/images/gone.jpg")
    pairs, found = read(data)
    assert sorted(pairs) == list("abcde") and all(pairs.values())
    assert any("1 symbolic links lead nowhere: images/gone.jpg" in w for w in found.warnings)


def test_duplicates_and_masks_among_unlabeled_images(tmp_path):
    fill(tmp_path)
    exports.photo(tmp_path / "images/a.png", 1)
    _, found = read(tmp_path)
    assert any("2 images for id 'a' (a.jpg, a.png)" in problem for problem in found.problems)
    (tmp_path / "images/a.png").unlink()
    fill(tmp_path, "unlabeled/{}.jpg", "unlabeled/{}_mask.png", names="xy")
    pairs, found = read(tmp_path)
    assert {"unlabeled/x", "unlabeled/y"} <= pairs.keys() and len(pairs) == 7
    assert any("2 files in the folders of unlabeled images look like masks" in w
               for w in found.warnings)  # fmt: skip


def test_the_users_folders_come_first(tmp_path, make_config):
    fill(tmp_path, "S1/{}_s1.jpg", "truth_a/{}_gt.png")
    fill(tmp_path, "S2/{}_s2.jpg", "truth_b/{}_gt.png", seed=20)
    with pytest.raises(DataError, match=r"truth_a, truth_b.*set data.folder.train_masks"):
        describe_folder(str(tmp_path))
    shutil.rmtree(tmp_path / "truth_b")
    with pytest.raises(DataError, match=r"S1, S2; expected one; set data.folder.train_images"):
        describe_folder(str(tmp_path))
    given = {"folder.train_images": "S2", "folder.train_masks": "truth_a"}
    dataset = loaded(tmp_path, make_config, given)
    assert all("/S2/" in path for path in dataset.labeled.image_paths)
    with pytest.raises(DataError, match=r"no such folder.*did you mean 'S1'|no such folder"):
        describe_folder(str(tmp_path), {"folder.train_images": "S3"})
    with pytest.raises(DataError, match="none with a mask"):
        describe_folder(str(tmp_path), {**given, "folder.mask_tail": "_other"})


def test_what_is_not_recognized_is_shown(tmp_path):
    exports.photo(tmp_path / "a/one.jpg")
    exports.text(tmp_path / "a/one.xyz", "x")
    with pytest.raises(DataError, match=r"no images with masks.*1 \.jpg, 1 \.xyz in folders a"):
        describe_folder(str(tmp_path))
    with pytest.raises(DataError, match="not a folder"):
        describe_folder(str(tmp_path / "nothing"))


def test_class_files(tmp_path, make_config):
    fill(tmp_path)
    exports.text(tmp_path / "labels.txt", "__ignore__\n_background_\ncat\ndog\n")
    assert loaded(tmp_path, make_config).class_names == ("_background_", "cat", "dog")
    exports.text(tmp_path / "classes.txt", "sky\nroad\ncar\n")
    assert loaded(tmp_path, make_config).class_names == ("sky", "road", "car")
    colors = np.array(exports.COLORS)[exports.truth()]
    for name in "abcde":
        exports.mask(tmp_path / f"masks/{name}.png", colors)
    with pytest.raises(DataError, match=r"3 class names without colors.*250, 50, 83"):
        describe_folder(str(tmp_path))
    lines = ["sky 0 0 0", "road 250 50 83", "car 51 221 255"]
    exports.text(tmp_path / "classes.txt", "\n".join(lines))
    dataset = loaded(tmp_path, make_config)
    np.testing.assert_array_equal(dataset.labeled[0]["mask"], exports.truth())


def test_converting_writes_the_plain_layout(tmp_path, make_config, capsys):
    exports.labelme(tmp_path / "src")
    assert main(["convert", str(tmp_path / "src"), str(tmp_path / "dst")]) == 0
    assert "images: 4" in capsys.readouterr().out
    names = {p.relative_to(tmp_path / "dst").as_posix() for p in (tmp_path / "dst").rglob("*.*")}
    assert names == {"classes.txt", *(f"images/p{n}.png" for n in range(4)),
                     *(f"masks/p{n}.png" for n in range(4))}  # fmt: skip
    dataset = loaded(tmp_path / "dst", make_config)
    assert dataset.class_names == ("background", "cat", "dog")
    np.testing.assert_array_equal(dataset.labeled[0]["mask"], exports.truth())
    assert main(["convert", str(tmp_path / "src"), str(tmp_path / "dst")]) == 2
    assert "dst: not empty; expected a new folder" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "src"), str(tmp_path / "src" / "plain")]) == 2
    assert "would be read with its own copies" in " ".join(capsys.readouterr().err.split())
    exports.roboflow(tmp_path / "robo")
    main(["convert", str(tmp_path / "robo"), str(tmp_path / "robo2")])
    dataset = loaded(tmp_path / "robo2", make_config)
    assert [len(part) for part in (dataset.labeled, dataset.val, dataset.test)] == [3, 3, 3]


def test_a_conversion_that_fails_leaves_nothing_behind(tmp_path, capsys):
    fill(tmp_path / "src")
    mask = np.asarray(Image.open(tmp_path / "src/masks/e.png")).copy()
    mask[:, 0] = 77
    exports.mask(tmp_path / "src/masks/e.png", mask)
    keys = ["--config.data.num_classes=3", "--config.data.masks=ids"]
    command = ["convert", str(tmp_path / "src"), str(tmp_path / "dst")]
    assert main([*command, *keys]) == 2
    assert "mask value 77" in capsys.readouterr().err and not any((tmp_path / "dst").iterdir())
    assert main([*command, "--config.data.ignore_values=(77,)"]) == 0
    assert {path.name for path in (tmp_path / "dst").iterdir()} == {"images", "masks"}


@pytest.mark.parametrize("line, encoding", [
    ("images/{}.jpg\tmasks/{}.png", "utf-8"),
    ("images/{}.jpg,masks/{}.png", "utf-8"),
    ("images/{}.jpg; masks/{}.png", "utf-8-sig"),
    ("images/{}", "utf-8"),
    ("{}.jpg", "utf-8"),
    ("images/{}.jpg images/{}.jpg", "utf-16"),
])  # fmt: skip
def test_lists_of_other_tools(line, encoding, tmp_path, make_config):
    fill(tmp_path)
    for name, ids in (("lab", "abc"), ("val", "de")):
        lines = "".join(line.format(i, i) + "\n" for i in ids)
        (tmp_path / f"{name}.txt").write_bytes(lines.encode(encoding))
    found = describe_folder(str(tmp_path))
    config = make_config(**{**found, "labeled": "lab.txt", "val": "val.txt", "unlabeled": ""})
    dataset = load_dataset(config, 0)
    assert len(dataset.labeled) == 3 and len(dataset.val) == 2
    np.testing.assert_array_equal(dataset.val[1]["mask"], exports.truth())
    (tmp_path / "lab.txt").write_text("a\nb|c\n")
    with pytest.raises(DataError, match=r"lab\.txt line 2: .*no image for id 'b\|c'"):
        load_dataset(config, 0)


@pytest.mark.parametrize("val_names", ["vw", "ab"])
def test_masks_of_training_images_are_not_left_over_by_a_val_folder(
    val_names, tmp_path, make_config
):
    fill(tmp_path)
    fill(tmp_path, "val/images/{}.jpg", "val/masks/{}.png", names=val_names, seed=30)
    dataset = loaded(tmp_path, make_config)
    assert not dataset.warnings
    assert (len(dataset.labeled), len(dataset.val)) == (5, 2)
    exports.mask(tmp_path / "val/masks/z.png", exports.truth())
    (warning,) = loaded(tmp_path, make_config).warnings
    assert warning.startswith("1 masks have no image") and "z" in warning


def test_a_folder_per_image(tmp_path, make_config):
    fill(tmp_path, "case{}/image.png", "case{}/mask.png")
    dataset = loaded(tmp_path, make_config)
    assert len(dataset.labeled) + len(dataset.val) == 5 and "casea" in {
        *dataset.labeled.ids, *dataset.val.ids}  # fmt: skip


def test_masks_in_the_unlabeled_pool_and_images_without_use_are_reported(tmp_path, make_config):
    fill(tmp_path)
    fill(tmp_path, "val/images/{}.jpg", names="vw", labeled=0, seed=30)
    for name in "xyz":
        exports.mask(tmp_path / f"unlabeled/{name}.png", exports.truth())
    dataset = loaded(tmp_path, make_config)
    assert any("3 of a few unlabeled images look like masks" in w for w in dataset.warnings)
    assert any("2 val images have no mask and are left out: v, w" in w for w in dataset.warnings)


def test_numbers_of_one_and_two_digits_do_not_hide_a_mask(tmp_path):
    """LandCover.ai: between X_1 and X_1_m the names X_10 to X_19 are sorted."""
    for number in range(24):
        exports.photo(tmp_path / f"output/M-33_{number}.jpg", number)
        exports.mask(tmp_path / f"output/M-33_{number}_m.png", exports.truth())
    masks, found = read(tmp_path)
    assert masks == {f"output/M-33_{n}": f"output/M-33_{n}_m.png" for n in range(24)}
    assert not found.warnings
