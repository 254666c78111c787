"""Lists of classes under names of their own: used where they fit, else named."""

import json

import numpy as np
import pytest

from ipixmatch_jax.data import load_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from tests.references.exports import mask, photo, text, truth

COLORS = np.array([[0, 0, 0], [200, 0, 0], [0, 0, 200]], np.uint8)
NAMES = ("background", "cat", "dog")


def folder(root, masks):
    for number in range(4):
        photo(root / f"images/p{number}.jpg", number)
        mask(root / f"masks/p{number}.png", masks)


def read(root, make_config):
    found = describe_folder(str(root))
    return load_dataset(make_config(**{"labeled": "", "unlabeled": "", "val": "", **found}), 0)


@pytest.mark.parametrize("name, content", [
    ("RUGD_annotation-colormap.txt",
     "0 background 0 0 0\n1 cat 200 0 0\n2 dog 0 0 200\n3 cow 9 9 9"),
    ("masks/colors.csv", "name,r,g,b\nbackground,0,0,0\ncat,200,0,0\ndog,0,0,200\n"),
    ("gt/semantic/class_dict.csv", "name, r, g, b\nbackground, 0, 0, 0\ncat, 200, 0, 0\n"
     "dog, 0, 0, 200\n"),
    ("labels.json", json.dumps([{"name": n, "color": c, "classid": i} for i, (n, c) in
                                enumerate(zip(NAMES, COLORS.tolist(), strict=True))])),
])  # fmt: skip
def test_colors_of_a_list_under_any_name(name, content, tmp_path, make_config):
    folder(tmp_path, COLORS[truth()])
    text(tmp_path / name, content)
    dataset = read(tmp_path, make_config)
    assert dataset.class_names[:3] == NAMES
    np.testing.assert_array_equal(dataset.labeled[0]["mask"], truth())
    assert any(note.endswith(name) and "class names of" in note for note in dataset.notes)


@pytest.mark.parametrize("name, content", [
    ("meta/gtruth_codes.tsv", "label\tGT_code\nbackground\t0\ncat\t1\ndog\t2\ncow\t3\n"),
    ("category.txt", "id\tname\n0\tbackground\n1\tcat\n2\tdog\n"),
    ("config.json", json.dumps({"id2label": {"0": "background", "1": "cat", "2": "dog"}})),
    ("data.yaml", "train: images\nnc: 3\nnames: [background, cat, dog]\n"),
])  # fmt: skip
def test_numbers_of_a_list_under_any_name(name, content, tmp_path, make_config):
    folder(tmp_path, truth())
    text(tmp_path / name, content)
    dataset = read(tmp_path, make_config)
    assert dataset.class_names[:3] == NAMES and not dataset.warnings
    np.testing.assert_array_equal(dataset.labeled[0]["mask"], truth())


@pytest.mark.parametrize("name, content, masks", [
    # YOLO numbers the objects from 0 on; masks have a background there.
    ("data.yaml", "nc: 2\nnames: [cat, dog]\n", truth()),
    # Classes of whole images.
    ("diagnoses.csv", "id,label\n0,benign cat\n1,cat\n", (truth() > 0) * 1),
    ("diagnoses.csv", "id,label\n0,benign cat\n1,cat\n", (truth() > 0) * 255),
    ("types.csv", "id,label\n1,cat\n2,dog\n3,cow\n4,pig\n", (truth() > 0) * 1),
    ("types.csv", "id,label\n0,cat\n1,dog\n2,cow\n3,pig\n", truth()),
    # The masks show a color that the list lacks.
    ("colormap_of_mine.txt", "background 0 0 0\ncat 200 0 0\ncow 9 9 9\n", COLORS[truth()]),
    # Which color has which number is not stated.
    ("category.txt", "0\tbackground\n1\tcat\n2\tdog\n", COLORS[truth()]),
])  # fmt: skip
def test_lists_that_do_not_fit_are_named(name, content, masks, tmp_path, make_config):
    folder(tmp_path, masks)
    text(tmp_path / name, content)
    dataset = read(tmp_path, make_config)
    assert "cat" not in dataset.class_names
    (warning,) = [w for w in dataset.warnings if name in w]
    assert "looks like a list of classes, and is not used" in warning


def test_two_lists_that_fit_are_not_guessed(tmp_path, make_config):
    folder(tmp_path, truth())
    text(tmp_path / "a_names.txt", "0: background\n1: cat\n2: dog\n")
    text(tmp_path / "b_names.txt", "0: background\n1: dog\n2: cat\n")
    dataset = read(tmp_path, make_config)
    assert dataset.class_names == ("class 0", "class 1", "class 2")
    assert any("a_names.txt" in w and "b_names.txt" in w for w in dataset.warnings)


@pytest.mark.parametrize("name, content", [
    ("images.txt", "1 animals/p0.jpg\n2 animals/p1.jpg\n"),
    ("exemplars.txt", "0 , p0\n1 , p1\n"),
    ("scenes.csv", "id,label\n1,forest\n2,forest\n3,city\n4,city\n"),
    ("README.txt", "Photos of cats and dogs.\nPlease cite us.\n"),
    ("data.yaml", "train: images\nval: images\n"),
    ("metadata.json", json.dumps([{"name": "p0", "id": 1}, {"name": "p1", "id": 2}])),
])  # fmt: skip
def test_other_files_are_no_lists_of_classes(name, content, tmp_path, make_config):
    folder(tmp_path, truth())
    text(tmp_path / name, content)
    dataset = read(tmp_path, make_config)
    assert dataset.class_names == ("class 0", "class 1", "class 2")
    assert not any("list of classes" in warning for warning in dataset.warnings)
