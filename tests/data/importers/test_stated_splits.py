"""Splits that annotation tools state: keys of data.yaml, subsets, tags; and folders that do not."""

import json
from pathlib import Path

import pytest

from ipixmatch_jax.data.importers import read_folder
from ipixmatch_jax.errors import DataError
from tests.references import exports
from tests.references.exports import corners, cvat_mask, photo, supervisely, text


def splits(root):
    return {Path(i.image).stem: i.split for i in read_folder(root, {})[2].items if i.mask}


def yolo(root, folder="{}", numbers=range(6)):
    text(root / "data.yaml", "train: a.txt\nval: b.txt\nnames: [cat, dog]\n")
    for number in numbers:
        photo(root / "images" / folder.format(number) / f"p{number}.jpg", number)
        points = " ".join(f"{x / 32:.4f} {y / 24:.4f}" for x, y in corners((2, 3, 9, 8)))
        text(root / "labels" / folder.format(number) / f"p{number}.txt", f"0 {points}\n")


def test_lists_of_yolo_may_have_any_name(tmp_path):
    yolo(tmp_path, "")
    text(tmp_path / "a.txt", "".join(f"/content/data/images/p{n}.jpg\n" for n in range(4)))
    text(tmp_path / "b.txt", "./images/p4.jpg\n./images/p5.jpg\n")
    assert splits(tmp_path) == {f"p{n}": "train" if n < 4 else "val" for n in range(6)}
    # The lists are not here.
    text(tmp_path / "data.yaml", "train: c.txt\nval: d.txt\nnames: [cat, dog]\n")
    assert any("which hold no image here" in w for w in read_folder(tmp_path, {})[2].warnings)


def test_folders_of_yolo_may_have_any_name(tmp_path):
    yolo(tmp_path, "batch1", range(4))
    yolo(tmp_path, "batch2", range(4, 6))
    yaml = "path: /content/data\ntrain: images/batch1\nval: {}\nnames: [cat, dog]\n"
    text(tmp_path / "data.yaml", yaml.format("../images/batch2"))
    assert splits(tmp_path) == {f"p{n}": "train" if n < 4 else "val" for n in range(6)}
    # The same images for both are no validation.
    text(tmp_path / "data.yaml", yaml.format("images/batch1"))
    found = read_folder(tmp_path, {})[2]
    assert {item.split for item in found.items} == {"train"}
    assert any("name the same images" in note for note in found.notes)


@pytest.mark.parametrize("line", ["p{}", "p{}.jpg", '"p{}"'])
def test_subsets_of_cvat_are_splits(line, tmp_path):
    cvat_mask(tmp_path)
    folder = tmp_path / "ImageSets/Segmentation"
    (folder / "default.txt").unlink()
    text(folder / "Train.txt", "".join(line.format(n) + "\n" for n in (0, 1)))
    text(folder / "Validation.txt", "".join(line.format(n) + "\n" for n in (2, 3)))
    assert splits(tmp_path) == {"p0": "train", "p1": "train", "p2": "val", "p3": "val"}


def test_tags_of_supervisely_are_splits(tmp_path):
    supervisely(tmp_path)
    for number in range(4):
        path = tmp_path / f"ds/ann/p{number}.jpg.json"
        content = json.loads(path.read_text())
        content["tags"] = [{"name": "val" if number == 3 else "train", "value": None}]
        text(path, content)
    assert splits(tmp_path) == {"p0": "train", "p1": "train", "p2": "train", "p3": "val"}
    # A tag that an image lacks tells no split.
    text(path, {**content, "tags": []})
    assert set(splits(tmp_path).values()) == {"train"}


@pytest.mark.parametrize("name", ["Validierung", "vld", "validacion"])
def test_further_words_for_validation(name, tmp_path):
    for split, numbers in (("Training", range(3)), (name, range(3, 5))):
        for number in numbers:
            photo(tmp_path / split / f"images/p{number}.jpg", number)
            exports.mask(tmp_path / split / f"masks/p{number}.png", exports.truth())
    assert splits(tmp_path) == {f"p{n}": "train" if n < 3 else "val" for n in range(5)}


def test_a_folder_of_an_unknown_word_next_to_train_is_named(tmp_path):
    for folder, numbers in (("train", range(3)), ("calibration", range(3, 5))):
        for number in numbers:
            photo(tmp_path / folder / f"images/p{number}.jpg", number)
            exports.mask(tmp_path / folder / f"masks/p{number}.png", exports.truth())
    warnings = read_folder(tmp_path, {})[2].warnings
    assert any("2 labeled images of calibration/images are taken for training" in w
               for w in warnings)  # fmt: skip


def test_lists_may_name_annotation_files(tmp_path):
    exports.labelme(tmp_path)
    names = sorted(splits(tmp_path))
    text(tmp_path / "val.txt", "".join(f"{name}.json\n" for name in names[:2]))
    found = splits(tmp_path)
    assert [found[name] for name in names] == ["val", "val"] + ["train"] * (len(names) - 2)


def test_yaml_and_classes_txt_in_another_order(tmp_path):
    yolo(tmp_path, "")
    text(tmp_path / "data.yaml", "names: [cat, dog]\n")
    text(tmp_path / "classes.txt", "dog\ncat\n")
    with pytest.raises(DataError, match="data.yaml, .*classes.txt: list the same classes in ano"):
        read_folder(tmp_path, {})
    text(tmp_path / "classes.txt", "cat\ndog\n")
    assert len(splits(tmp_path)) == 6
