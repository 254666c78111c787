"""YOLO labels that people changed by hand: lists of names, boxes, folders and splits."""

import numpy as np
import pytest

from ipixmatch_jax.data.importers import read_folder
from ipixmatch_jax.data.importers.yolo_names import read_yolo_names
from ipixmatch_jax.errors import DataError
from tests.references.exports import CAT, DOG, SIZE, corners, photo, text, truth


def line(label, box, before=""):
    height, width = SIZE
    # The last pixel of a box is a part of it.
    left, top, right, bottom = box
    points = corners((left, top, right - 1, bottom - 1))
    return f"{label} {before}" + " ".join(f"{x / width:.6f} {y / height:.6f}" for x, y in points)


def box_of(box):
    height, width = SIZE
    left, top, right, bottom = box
    values = ((left + right - 1) / 2 / width, (top + bottom - 1) / 2 / height,
              (right - 1 - left) / width, (bottom - 1 - top) / height)  # fmt: skip
    return " ".join(f"{value:.6f}" for value in values) + " "


def labels(root, yaml, cat=0, dog=1, images="images", boxes=False, count=3):
    for number in range(count):
        photo(root / images / f"p{number}.jpg", number)
        before = [box_of(box) if boxes else "" for box in (CAT, DOG)]
        content = "\n".join([line(cat, CAT, before[0]), line(dog, DOG, before[1])])
        text(root / f"labels/p{number}.txt", content)
    text(root / "data.yaml", yaml)


def read(root):
    found = read_folder(root, {})[2]
    return found, [item.mask.draw() for item in found.items if item.mask]


TWELVE = ", ".join(f"'{n}': c{n}" for n in range(12))


@pytest.mark.parametrize(
    ("yaml", "names"),
    [
        ("names: [yes, no, off]", ("yes", "no", "off")),
        ("names: [007, 1e3, ~]", ("007", "1e3", "~")),
        ("names: {" + TWELVE + "}", tuple(f"c{n}" for n in range(12))),
        ("names: {2: c, 0: a}", ("a", "", "c")),
        ("names: {cat: 0, dog: 1}", ("cat", "dog")),
        ("names: {0: '2', 1: '5'}", ("2", "5")),
        ("Names: [a]", ("a",)),
        ("names:", ()),
    ],
)
def test_names_are_read_as_they_are_written(yaml, names, tmp_path):
    text(tmp_path / "data.yaml", yaml)
    assert read_yolo_names(str(tmp_path / "data.yaml")) == names


@pytest.mark.parametrize(
    "yaml",
    ["names: cat dog", "names: [{cat: 0}, {dog: 1}]", "names: {0: {name: cat}}",
     "names: {cat: 0, dog: 0}", "names: {cat: a}"],
)  # fmt: skip
def test_other_forms_of_names_are_refused(yaml, tmp_path):
    text(tmp_path / "data.yaml", yaml)
    with pytest.raises(DataError, match="expected a list, names"):
        read_yolo_names(str(tmp_path / "data.yaml"))


def test_ids_with_gaps_have_the_names_of_their_numbers(tmp_path):
    labels(tmp_path / "named", "names: {0: cat, 2: dog, 5: bird}", dog=2)
    found, masks = read(tmp_path / "named")
    assert found.classes.names == ("background", "cat", "dog", "bird")
    np.testing.assert_array_equal(masks[0], truth())
    labels(tmp_path / "bare", "names: {0: cat, 2: dog, 5: bird}", dog=1)
    with pytest.raises(DataError, match="no name for class 1"):
        read(tmp_path / "bare")


def test_a_box_before_the_polygon_is_left_out(tmp_path):
    labels(tmp_path, "names: [cat, dog]", boxes=True)
    found, masks = read(tmp_path)
    np.testing.assert_array_equal(masks[2], truth())
    assert any("6 lines hold a box" in note for note in found.notes)


def test_images_that_were_moved_into_folders_keep_their_labels(tmp_path):
    labels(tmp_path, "names: [cat, dog]", images="images/day1")
    found, masks = read(tmp_path)
    assert len(masks) == 3 and any("found by their names" in note for note in found.notes)
    # The labels of train do not describe an image of val.
    labels(tmp_path / "other", "names: [cat, dog]")
    text(tmp_path / "other/labels/train/q.txt", line(0, CAT))
    photo(tmp_path / "other/images/val/q.jpg", 9)
    found, _ = read(tmp_path / "other")
    assert [item.mask for item in found.items if item.image.endswith("q.jpg")] == [None]


def test_splits_of_the_yaml_that_contradict_the_folders_are_said(tmp_path):
    for split, count in (("train", 2), ("val", 1)):
        for number in range(count):
            photo(tmp_path / f"images/{split}/{number}.jpg", number)
            text(tmp_path / f"labels/{split}/{number}.txt", line(0, CAT))
    text(tmp_path / "data.yaml", "train: images/train\nval: images/val\nnames: [cat]")
    assert not any("by the name of their folder" in text for text in read(tmp_path)[0].warnings)
    text(tmp_path / "data.yaml", "train: images/val\nval: images/train\nnames: [cat]")
    said = [text for text in read(tmp_path)[0].warnings if "by the name of their folder" in text]
    assert len(said) == 2


def test_labels_in_utf_16_are_read(tmp_path):
    labels(tmp_path, "names: [cat, dog]")
    for path in (tmp_path / "labels").iterdir():
        path.write_bytes(path.read_text().encode("utf-16"))
    np.testing.assert_array_equal(read(tmp_path)[1][0], truth())
