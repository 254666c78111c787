"""Class names and colors as people and tools write them."""

import json

import numpy as np
import pytest

from ipixmatch_jax.data import load_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.errors import DataError
from tests.references.exports import mask, photo, truth

COLORS = np.array([[0, 0, 0], [200, 0, 0], [0, 0, 200]], np.uint8)
NAMES = ("background", "cat", "dog")


def folder(root, name, content, *, colored):
    for number in range(4):
        photo(root / f"images/p{number}.png", number)
        mask(root / f"masks/p{number}.png", COLORS[truth()] if colored else truth())
    (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def check(root, make_config):
    found = describe_folder(str(root))
    dataset = load_dataset(make_config(**{"labeled": "", "unlabeled": "", "val": "", **found}), 0)
    assert dataset.class_names == NAMES
    for part in (dataset.labeled, dataset.val):
        for index in range(len(part)):
            np.testing.assert_array_equal(part[index]["mask"], truth())


@pytest.mark.parametrize("name, content", [
    ("class_dict.csv", "name,b,g,r\nbackground,0,0,0\ncat,0,0,200\ndog,200,0,0\n"),
    ("class_dict.csv", ",name,r,g,b\n0,background,0,0,0\n1,cat,200,0,0\n2,dog,0,0,200\n"),
    ("class_dict.csv", "r,g,b,class\n0,0,0,background\n200,0,0,cat\n0,0,200,dog\n"),
    ("class_dict.csv", "name;r;g;b\nbackground;0;0;0\ncat;200;0;0\ndog;0;0;200\n"),
    ("class_dict_seg.csv", "name, r, g, b\nbackground, 0, 0, 0\ncat, 200, 0, 0\ndog, 0, 0, 200\n"),
    ("labelmap.csv", "name,r,g,b\nbackground,0,0,0\ncat,200,0,0\ndog,0,0,200\n"),
    ("class_mapping.csv",
     "class_name,class_color\nbackground,0 0 0\ncat,200 0 0\ndog,0 0 200\n"),
    ("classes.txt", "background,0,0,0\ncat,200,0,0\ndog,0,0,200\n"),
    ("classes.txt", "background: [0, 0, 0]\ncat: [200, 0, 0]\ndog: [0, 0, 200]\n"),
    ("classes.txt", "background #000000\ncat #C80000\ndog #0000c8\n"),
    ("classes.json", json.dumps({n: c for n, c in zip(NAMES, COLORS.tolist(), strict=True)})),
])  # fmt: skip
def test_each_color_has_its_name(name, content, tmp_path, make_config):
    folder(tmp_path, name, content, colored=True)
    check(tmp_path, make_config)


@pytest.mark.parametrize("name, content", [
    ("classes.json", json.dumps({"2": "dog", "0": "background", "1": "cat"})),
    ("classes.json", json.dumps({"dog": 2, "cat": 1})),
    ("id2label.json", json.dumps(dict(enumerate(NAMES)))),
    ("dataset.json", json.dumps({"channel_names": {}, "labels": {"background": 0, "dog": 2,
                                                                 "cat": 1}})),
    ("dataset.json", json.dumps({"modality": {}, "labels": dict(enumerate(NAMES))})),
    ("labels.txt", "1 cat 255 0 0\n2 dog 0 255 0\n"),
    ("classes.txt", "background\ncat\ndog\n".encode("utf-16")),
])  # fmt: skip
def test_each_id_has_its_name(name, content, tmp_path, make_config):
    folder(tmp_path, name, content, colored=False)
    check(tmp_path, make_config)


def test_other_encodings_are_named(tmp_path, make_config):
    folder(tmp_path, "classes.txt", "background\nkätzchen\ndog\n".encode("latin-1"), colored=False)
    with pytest.raises(DataError, match="is not UTF-8 .*; save it as UTF-8"):
        check(tmp_path, make_config)


def test_regions_of_nnunet_name_no_classes(tmp_path, make_config):
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    content = json.dumps({"channel_names": {}, "labels": labels})
    folder(tmp_path, "dataset.json", content, colored=False)
    assert describe_folder(str(tmp_path))["class_names"] == ()


def test_two_class_files_that_number_the_classes_differently(tmp_path, make_config):
    folder(tmp_path, "classes.txt", "background\ncat\ndog\n", colored=False)
    (tmp_path / "labels.txt").write_text("background\ndog\ncat\n")
    with pytest.raises(DataError, match=r"classes.txt, .*labels.txt: list the same classes in ano"):
        describe_folder(str(tmp_path))
    (tmp_path / "labels.txt").write_text("background\ncat\ndog\n")
    check(tmp_path, make_config)
    # Of a part of the data, or with other names: not about these masks.
    (tmp_path / "labels.txt").write_text("indoor\noutdoor\n")
    check(tmp_path, make_config)


_ITEMS = [{"id": 2, "name": "dog"}, {"id": 0, "name": "background"}, {"id": 1, "name": "cat"}]
_SHADES = {"background": [0, 0, 0], "cat": [200, 0, 0], "dog": [0, 0, 200]}
_COLORED = [{**item, "color": _SHADES[item["name"]]} for item in _ITEMS]
_ITK_SNAP = """# ITK-SnAP Label Description File
    0     0    0    0        0  0  0    "background"
    1   200    0    0        1  1  1    "cat"
    2     0    0  200        1  1  1    "dog"
"""


@pytest.mark.parametrize("name, content", [
    ("classes.txt", "background,\ncat,\ndog,\n"),
    ("classes.txt", "background, cat, dog\n"),
    ("labels.txt", "0: background; 1: cat; 2: dog"),
    ("classes.txt", "dog 2\nbackground 0\ncat 1\n"),
    ("classes.txt", "dog: 2\nbackground: 0\ncat: 1\n"),
    ("classes.txt", "dog,2\ncat,1\n"),
    ("classes.txt", "id,name\n0,background\n1,cat\n2,dog\n"),
    ("labels.txt", "name\tid\ndog\t2\ncat\t1\n"),
    ("labels.txt", _ITK_SNAP),
    ("labels.csv", "name,id\ndog,2\nbackground,0\ncat,1\n"),
    ("classes.csv", "Value;Name\n1;cat\n2;dog\n"),
    ("classes.json", json.dumps(_ITEMS)),
    ("classes.json", json.dumps({"classes": _COLORED})),
    ("classes.json", json.dumps([item for item in _COLORED if item["id"]])),
])  # fmt: skip
def test_ids_in_any_column_order_the_names(name, content, tmp_path, make_config):
    folder(tmp_path, name, content, colored=False)
    check(tmp_path, make_config)


@pytest.mark.parametrize("name, content", [
    ("classes.txt", "0 0 0 0 background\n1 200 0 0 cat\n2 0 0 200 dog\n"),
    ("classes.txt", "0 background 0 0 0 0\n1 cat 200 0 0 255\n2 dog 0 0 200 255\n"),
    ("labels.txt", _ITK_SNAP),
    ("colormap.csv", "name,r,g,b\nbackground,0,0,0\ncat,200,0,0\ndog,0,0,200\n"),
    ("classes.json", json.dumps({"background": "#000000", "cat": "#c80000", "dog": "#0000c8"})),
    ("class_list.json", json.dumps({"#000000": "background", "#c80000": "cat", "#0000c8": "dog"})),
    ("classes.json", json.dumps(_COLORED)),
])  # fmt: skip
def test_colors_in_any_column_name_the_classes(name, content, tmp_path, make_config):
    folder(tmp_path, name, content, colored=True)
    check(tmp_path, make_config)


@pytest.mark.parametrize("name, content", [
    ("classes.txt", "phase 0\nphase 1\nphase 2\n"),
    ("classes.txt", "Boeing 737\nAirbus 320\nFokker 50\n"),
])  # fmt: skip
def test_numbers_that_belong_to_names(name, content, tmp_path):
    folder(tmp_path, name, content, colored=False)
    assert describe_folder(str(tmp_path))["class_names"] == tuple(content.split("\n")[:3])


def test_tables_of_images_are_no_classes(tmp_path):
    folder(tmp_path, "labels.csv", "image,label\np0.png,3\np1.png,1\n", colored=False)
    assert describe_folder(str(tmp_path))["class_names"] == ()
