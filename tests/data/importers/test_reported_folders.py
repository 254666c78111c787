"""Folders after public reports: names with a word inside, a folder per photo, other tools' JSON."""

import numpy as np
import pytest

from ipixmatch_jax.data import load_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.importers.pairing import pair
from ipixmatch_jax.errors import DataError
from tests.references.exports import CAT, DOG, corners, mask, photo, text, truth


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("IPIXMATCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def check(root, make_config, count=4):
    found = describe_folder(str(root))
    dataset = load_dataset(make_config(**{"labeled": "", "unlabeled": "", "val": "", **found}), 0)
    assert len(dataset.labeled) + len(dataset.val) == count
    for part in (dataset.labeled, dataset.val):
        for index in range(len(part)):
            np.testing.assert_array_equal(part[index]["mask"], truth())
    return dataset


@pytest.mark.parametrize("image, label", [
    ("images/1{n}_sat_0{n}.jpg", "masks/1{n}_mask_0{n}.png"),
    ("images/s{n}_0{n}.jpg", "masks/s{n}_label_0{n}.png"),
    ("cam/{n}_rgb.jpg", "cam/{n}_semantic.png"),
    ("cam/rgb_{n}.png", "cam/semantic_{n}.png"),
    ("set/p{n}/p{n}_rgb.png", "set/p{n}/p{n}_label.png"),
    ("train/images/{n}.png", "train/semantics/{n}.png"),
])  # fmt: skip
def test_names_of_images_and_masks(image, label, tmp_path, make_config):
    for number in range(4):
        photo(tmp_path / image.format(n=number), number)
        mask(tmp_path / label.format(n=number), truth())
    if "semantics" in label:
        for number in range(4):
            mask(tmp_path / f"train/plant_instances/{number}.png", truth() * (number + 3))
    check(tmp_path, make_config)


@pytest.mark.parametrize("images, masks", [
    # Two words in place of one: which image a mask belongs to is not certain.
    (["a_left_1", "a_right_1"], ["a_mask_1"]),
    (["a_left_1", "b_right_1"], ["a_mask_1", "b_mask_1"]),
    (["a_7_1", "b_7_2"], ["a_mask_1", "b_mask_2"]),
])  # fmt: skip
def test_a_word_inside_is_not_guessed(images, masks):
    named = [[("", name) for name in names] for names in (images, masks)]
    assert not pair(*named).pairs


def test_isat(tmp_path, make_config):
    for number in range(4):
        photo(tmp_path / f"images/p{number}.jpg", number)
        # The lower layer covers both, and is written last.
        objects = [
            {"category": name, "layer": layer, "segmentation": corners((a, b, c - 1, d - 1))}
            for name, layer, (a, b, c, d) in (("cat", 2.0, CAT), ("dog", 2.0, DOG),
                                              ("__background__", 1.0, (0, 0, 32, 24)))
        ]  # fmt: skip
        info = {"description": "ISAT", "name": f"p{number}.jpg", "width": 32, "height": 24}
        text(tmp_path / f"labels/p{number}.json", {"info": info, "objects": objects})
    names = ("__background__", "dog", "cat")
    text(tmp_path / "isat.yaml", "label:\n" + "".join(f"- name: {name}\n" for name in names[::2]))
    dataset = check(tmp_path, make_config)
    assert dataset.class_names == ("background", "cat", "dog")
    assert any("labels are in use but not in the list" in text for text in dataset.warnings)
    text(tmp_path / "isat.yaml", "label:\n" + "".join(f"- name: {name}\n" for name in names))
    assert describe_folder(str(tmp_path))["class_names"] == ("background", "dog", "cat")
    text(tmp_path / "isat.yaml", "names: [cat]\n")
    with pytest.raises(DataError, match="isat.yaml: no categories of ISAT"):
        describe_folder(str(tmp_path))


@pytest.mark.parametrize("content, reason", [
    ({"file": {}, "view": {"1": {"fid_list": ["1"]}}, "metadata": {"1_a": {"vid": "1"}}}, "VIA 3"),
    ([{"image": "p0.jpg", "annotation_id": 1, "annotator": 1}], "JSON-MIN is not read"),
    ({"tags": [], "assets": {"a": {"regions": []}}}, "VoTT"),
    ([{"labelIdx": 1, "points": []}], "JSON of EISeg is not read"),
    ({"objects": [{"classTitle": "cat", "geometryType": "bitmap"}]}, "without meta.json"),
])  # fmt: skip
def test_json_of_other_tools_is_named(content, reason, tmp_path):
    photo(tmp_path / "p0.jpg")
    text(tmp_path / "p0.json", content)
    with pytest.raises(DataError, match=reason):
        describe_folder(str(tmp_path))


def test_a_tail_of_masks_next_to_a_tail_of_images(tmp_path, make_config):
    for number in range(4):
        photo(tmp_path / f"rgb_anon/fog/s{number % 2}/f{number}_rgb_anon.png", number)
        stem = f"gt/fog/s{number % 2}/f{number}_gt"
        mask(tmp_path / f"{stem}_labelTrainIds.png", truth())
        mask(tmp_path / f"{stem}_labelIds.png", truth() + 7)
    # Of several kinds the train ids are read; a tail that is given comes first.
    for tail, added in ((None, 0), ("_gt_labelTrainIds", 0), ("_gt_labelIds", 7)):
        given = {"folder.mask_tail": tail} if tail else {}
        found = describe_folder(str(tmp_path), given)
        folder = {**found.pop("folder"), **({"mask_tail": tail} if tail else {})}
        empty = {"labeled": "", "unlabeled": "", "val": ""}
        dataset = load_dataset(make_config(**empty, **found, folder=folder), 0)
        assert len(dataset.labeled) + len(dataset.val) == 4
        for index in range(len(dataset.labeled)):
            np.testing.assert_array_equal(dataset.labeled[index]["mask"], truth() + added)


@pytest.mark.parametrize("tail", ["_m", "_L", "-s"])
def test_tails_of_one_letter(tail, tmp_path, make_config):
    for number in range(4):
        photo(tmp_path / f"output/M-33_{number}.jpg", number)
        mask(tmp_path / f"output/M-33_{number}{tail}.png", truth())
    check(tmp_path, make_config)
