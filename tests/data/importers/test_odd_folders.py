"""Folders that are easily read wrong: splits on one side, negated words, several tails, tables."""

import json
import unicodedata

import numpy as np
import pytest

from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.errors import DataError
from tests.data.importers.test_formats import all_masks, cache, loaded  # noqa: F401  (a fixture)
from tests.references import exports
from tests.references.exports import mask, photo, text, truth


def fill(root, image, label, numbers=range(4)):
    """Photos that differ, and masks of which each has its own corner pixel."""
    for number in numbers:
        photo(root / image.format(number), number)
        if label:
            ids = truth()
            ids[0, number % 32] = 1
            mask(root / label.format(number), ids)


def check(dataset, numbers):
    """Every mask lies with its own image."""
    found = {}
    for part in (dataset.labeled, dataset.val, dataset.test):
        for index in range(len(part)):
            record = part[index]
            found[int(record["id"].rpartition("/")[2])] = record["mask"]
    assert sorted(found) == sorted(numbers)
    for number, ids in found.items():
        assert ids[0, number % 32] == 1 and (ids[1:] == truth()[1:]).all()


@pytest.mark.parametrize("images, masks", [
    ("images/{split}/{{}}.png", "masks/{{}}.png"),
    ("images/{{}}.png", "masks/{split}/{{}}.png"),
])  # fmt: skip
def test_splits_on_one_side(images, masks, tmp_path, make_config):
    for split, numbers in (("train", range(4)), ("val", range(4, 7))):
        fill(tmp_path, images.format(split=split), masks.format(split=split), numbers)
    dataset = loaded(tmp_path, make_config)
    assert dataset.val.ids == ("val/4", "val/5", "val/6")
    check(dataset, range(7))


def test_a_mask_never_serves_two_splits(tmp_path):
    for split, start in (("train", 0), ("val", 10)):
        for number in range(3):
            photo(tmp_path / f"images/{split}/{number}.png", start + number)
    for number in range(3):
        mask(tmp_path / f"masks/{number}.png", truth())
    from ipixmatch_jax.data.importers import read_folder

    _, _, found = read_folder(tmp_path, {})
    assert "masks/0.png, and 2 other masks, fit images of two splits" in found.problems[0]


@pytest.mark.parametrize(
    "folder",
    ["no_labels", "to_label", "without_masks", "images_without_masks", "not annotated",
     "train_unlabeled", "unlabel"],
)  # fmt: skip
def test_folders_whose_names_say_that_masks_are_missing(folder, tmp_path, make_config):
    fill(tmp_path, "images/{}.png", "masks/{}.png")
    fill(tmp_path, folder + "/{}.png", "", range(20, 23))
    dataset = loaded(tmp_path, make_config)
    check(dataset, range(4))
    assert len(dataset.unlabeled) == 3 and not dataset.warnings


def test_images_of_a_target_domain_are_no_masks(tmp_path, make_config):
    fill(tmp_path, "source/images/{}.png", "source/labels/{}.png")
    fill(tmp_path, "target/images/{}.png", "", range(20, 23))
    dataset = loaded(tmp_path, make_config)
    check(dataset, range(4))
    assert len(dataset.unlabeled) == 3 and not dataset.warnings


def test_masks_in_a_folder_below_the_images(tmp_path, make_config):
    """The folder of masks is not read as images when the folder of images is known."""
    fill(tmp_path, "train/{}.png", "train/seg/{}_m.png")
    dataset = loaded(tmp_path, make_config)
    check(dataset, range(4))
    assert not len(dataset.unlabeled)


def test_several_tails_are_not_guessed(tmp_path, make_config):
    fill(tmp_path, "{}.png", "{}_mask.png")
    for number in range(4):
        mask(tmp_path / f"{number}_color_mask.png", truth() * 100)
    dataset = loaded(tmp_path, make_config)
    check(dataset, range(4))
    assert not len(dataset.unlabeled) and any("_color_mask" in note for note in dataset.notes)
    for number in range(4):
        mask(tmp_path / f"{number}_expert.png", truth())
    with pytest.raises(
        DataError, match="files with 3 tails .*_expert, _mask.*data.folder.mask_tail"
    ):
        describe_folder(str(tmp_path))


def test_regions_of_a_watershed_come_before_their_seeds(tmp_path, make_config):
    """PixelAnnotationTool: X_mask holds strokes, X_watershed_mask the regions."""
    fill(tmp_path, "{}.png", "{}_watershed_mask.png")
    for number in range(4):
        mask(tmp_path / f"{number}_mask.png", truth() * (np.arange(32) % 5 == 0))
        mask(tmp_path / f"{number}_color_mask.png", truth() * 100)
    dataset = loaded(tmp_path, make_config)
    check(dataset, range(4))
    assert not len(dataset.unlabeled)


@pytest.mark.parametrize("form", ["csv", "semicolons", "json"])
def test_tables_name_the_split_of_each_image(form, tmp_path, make_config):
    fill(tmp_path, "images/{}.png", "masks/{}.png", range(7))
    splits = {number: "validation" if number > 4 else "train" for number in range(7)}
    if form == "json":
        names = {s: [f"{n}.png" for n in splits if splits[n] == s] for s in ("train", "validation")}
        text(tmp_path / "splits.json", names)
    else:
        rows = ["number,Split,image,mask"]
        rows += [f"{n},{split},images/{n}.png,masks/{n}.png" for n, split in splits.items()]
        table = "\n".join(rows)
        text(tmp_path / "meta.csv", table.replace(",", ";") if form == "semicolons" else table)
    dataset = loaded(tmp_path, make_config)
    assert dataset.val.ids == ("val/5", "val/6") and len(dataset.labeled) == 5
    check(dataset, range(7))


@pytest.mark.parametrize("ending", [".png", ""])
def test_an_index_in_a_table_names_no_image(ending, tmp_path, make_config):
    fill(tmp_path, "images/{}.png", "masks/{}.png", range(7))
    rows = [f"{6 - n},{'val' if n > 4 else 'train'},{n}{ending}" for n in range(7)]
    text(tmp_path / "meta.csv", "\n".join(["index,split,name", *rows]))
    dataset = loaded(tmp_path, make_config)
    if ending:
        assert dataset.val.ids == ("val/5", "val/6")
    else:
        assert any("meta.csv: a split per row, but several columns" in w for w in dataset.warnings)
    check(dataset, range(7))


@pytest.mark.parametrize("images, masks", [
    ("images_for_segmentation", "masks_for_segmentation"),
    ("Original Images", "For Segmentation Masks"),
    ("image_to_label", "labels"),
    ("images", "target/images"),
])  # fmt: skip
def test_words_of_a_purpose(images, masks, tmp_path, make_config):
    fill(tmp_path, images + "/{}.png", masks + "/{}.png")
    dataset = loaded(tmp_path, make_config)
    check(dataset, range(4))
    assert not len(dataset.unlabeled)


def test_pairs_of_a_table_come_before_names(tmp_path, make_config):
    for number in range(4):
        photo(tmp_path / f"images/{number}.png", number)
        ids = truth()
        ids[0, 3 - number] = 1
        mask(tmp_path / f"masks/m{number}.png", ids)
    rows = [f"{number}.png;m{3 - number}.png" for number in range(4)]
    text(tmp_path / "pairs.csv", "\n".join(["image;mask", *rows]))
    dataset = loaded(tmp_path, make_config)
    check(dataset, range(4))
    assert any("4 images get another mask" in note for note in dataset.notes)


def test_masks_next_to_annotations_are_named(tmp_path, make_config):
    exports.coco(tmp_path)
    for number in range(4):
        mask(tmp_path / f"masks/p{number}.png", truth())
    dataset = loaded(tmp_path, make_config)
    assert any("4 mask files in masks are not read, since the folder is read as coco" in warning
               for warning in dataset.warnings)  # fmt: skip
    dataset = loaded(tmp_path, make_config, {"folder.format": "folders"})
    np.testing.assert_array_equal(all_masks(dataset)[0], truth())


def test_boxes_next_to_masks_say_how_to_read_the_masks(tmp_path):
    fill(tmp_path, "images/{}.png", "masks/{}.png")
    for number in range(4):
        text(tmp_path / f"labels/{number}.txt", "0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(DataError, match="holds a box.*data.folder.format=folders to read 4 mask"):
        describe_folder(str(tmp_path))


@pytest.mark.parametrize("other", ["CAT", "cat ", "Cat"])
def test_a_label_of_two_spellings_is_no_second_class(other, tmp_path):
    exports.labelme(tmp_path)
    file = tmp_path / "p2.json"
    content = json.loads(file.read_text())
    content["shapes"][0]["label"] = other
    text(file, content)
    with pytest.raises(DataError, match=f"labels '{other}' and 'cat'|labels 'cat' and '{other}'"):
        describe_folder(str(tmp_path))


@pytest.mark.parametrize("rename", [str.upper, lambda name: unicodedata.normalize("NFD", name)])
def test_annotations_name_images_in_another_case_or_form(rename, tmp_path, make_config):
    exports.coco(tmp_path)
    file = tmp_path / "annotations/instances_default.json"
    content = json.loads(file.read_text())
    for entry in content["images"]:
        own = entry["file_name"].replace("p", "é", 1)
        (tmp_path / "images" / entry["file_name"]).rename(tmp_path / "images" / own)
        entry["file_name"] = rename(own)
    text(file, content)
    dataset = loaded(tmp_path, make_config)
    for ids in all_masks(dataset):
        np.testing.assert_array_equal(ids, truth())
    assert any(
        "4 images found by names in another case or Unicode form" in n for n in dataset.notes
    )


@pytest.mark.parametrize("content, message", [
    ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "Git LFS.*git lfs pull"),
    ("<!DOCTYPE html>\n<html>", "a web page"),
])  # fmt: skip
def test_files_in_place_of_pictures_are_named(content, message, tmp_path):
    fill(tmp_path, "images/{}.png", "masks/{}.png")
    text(tmp_path / "masks/2.png", content)
    with pytest.raises(DataError, match=f"masks/2.png: .*{message}"):
        describe_folder(str(tmp_path))


def test_labelme_names_another_image(tmp_path, make_config):
    exports.labelme(tmp_path)
    photo(tmp_path / "copy.png", 9)
    content = json.loads((tmp_path / "p1.json").read_text())
    (tmp_path / "p1.json").rename(tmp_path / "copy.json")
    with pytest.raises(DataError, match="copy.json: imagePath is p1.png, but copy.png lies next"):
        loaded(tmp_path, make_config)

    # Both were renamed, and the old image is gone.
    (tmp_path / "p1.png").unlink()
    dataset = loaded(tmp_path, make_config)
    assert any("p1.png -> copy.png" in note for note in dataset.notes)
    assert len(dataset.labeled) + len(dataset.val) == 4
    for ids in all_masks(dataset):
        np.testing.assert_array_equal(ids, truth())

    content["imageHeight"] = 20
    text(tmp_path / "copy.json", content)
    with pytest.raises(DataError, match="copy.png is 32x24; expected the same size"):
        loaded(tmp_path, make_config)
