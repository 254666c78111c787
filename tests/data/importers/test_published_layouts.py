"""Layouts of published data sets and of exports for other programs, in miniature."""

import json

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.errors import DataError
from tests.data.importers.test_formats import all_masks, cache, loaded  # noqa: F401  (a fixture)
from tests.references.exports import coco, mask, photo, text, truth

COLORS = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255)], np.uint8)
LABEL_COLORS = "0 0 0 background\n255 0 0 cat\n0 0 255 dog\n"


def check(root, make_config, count=4, names=None, expected=None):
    dataset = loaded(root, make_config)
    masks = all_masks(dataset)
    assert len(masks) == count
    for found in masks:
        np.testing.assert_array_equal(found, truth() if expected is None else expected)
    if names:
        assert dataset.class_names == names
    return dataset


def test_padded_numbers_with_a_part_per_class(tmp_path, make_config):
    """CelebAMask-HQ: the folder 0 of the masks is no image's name."""
    for number in range(4):
        photo(tmp_path / f"CelebA-HQ-img/{number}.jpg", number)
        for class_id, name in ((1, "cat"), (2, "dog")):
            pixels = (truth() == class_id) * 255
            mask(tmp_path / f"CelebAMask-HQ-mask-anno/0/{number:05d}_{name}.png", pixels)
    check(tmp_path, make_config, names=("background", "cat", "dog"))


def test_camvid_of_cvat(tmp_path, make_config):
    for number in range(4):
        photo(tmp_path / f"default/p{number}.png", number)
        mask(tmp_path / f"defaultannot/p{number}.png", COLORS[truth()])
    text(tmp_path / "label_colors.txt", LABEL_COLORS)
    check(tmp_path, make_config, names=("background", "cat", "dog"))


@pytest.mark.parametrize("split", ["default", "train"])
def test_cityscapes_of_cvat_has_classes_of_its_own(split, tmp_path, make_config):
    for number in range(4):
        photo(tmp_path / f"imgsFine/leftImg8bit/{split}/p{number}_leftImg8bit.png", number)
        mask(tmp_path / f"gtFine/{split}/p{number}_gtFine_labelIds.png", truth())
        mask(tmp_path / f"gtFine/{split}/p{number}_gtFine_color.png", COLORS[truth()])
    text(tmp_path / "label_colors.txt", LABEL_COLORS)
    check(tmp_path, make_config, names=("background", "cat", "dog"))


def test_words_in_the_name_of_a_data_set_are_no_roles(tmp_path, make_config):
    base = tmp_path / "semantic_drone_dataset"
    for number in range(4):
        photo(base / f"original_images/{number:03d}.jpg", number)
        mask(base / f"label_images_semantic/{number:03d}.png", truth())
    check(tmp_path, make_config)


def test_further_masks_of_one_image_are_united(tmp_path, make_config):
    """The breast ultrasound images (BUSI): benign (2)_mask_1.png next to benign (2)_mask.png."""
    for number in range(4):
        photo(tmp_path / f"benign/benign ({number}).png", number)
        mask(tmp_path / f"benign/benign ({number})_mask.png", (truth() == 1) * 255)
    dataset = check(tmp_path, make_config, expected=truth() == 1)
    assert not len(dataset.unlabeled)
    mask(tmp_path / "benign/benign (2)_mask_1.png", (truth() == 2) * 255)
    dataset = loaded(tmp_path, make_config)
    masks = {r["id"]: r["mask"] for part in (dataset.labeled, dataset.val)
             for r in (part[i] for i in range(len(part)))}  # fmt: skip
    np.testing.assert_array_equal(masks["benign/benign (2)"], truth() > 0)
    np.testing.assert_array_equal(masks["benign/benign (1)"], truth() == 1)
    assert any("1 images have several masks" in note for note in dataset.notes)
    mask(tmp_path / "benign/benign (2)_mask_1.png", truth())
    with pytest.raises(DataError, match="expected background and one class or object"):
        loaded(tmp_path, make_config)


def test_equal_names_in_several_groups_are_not_mixed(tmp_path, make_config):
    """MVTec: test/broken/000.png with ground_truth/broken/000_mask.png, and no training masks."""
    for number in range(4):
        photo(tmp_path / f"train/good/{number:03d}.png", number)
        for kind in ("broken", "bent"):
            photo(tmp_path / f"test/{kind}/{number:03d}.png", 10 * number + len(kind))
            mask(tmp_path / f"ground_truth/{kind}/{number:03d}_mask.png", (truth() > 0) * 255)
    with pytest.raises(DataError) as error:
        loaded(tmp_path, make_config)
    assert "no mask of any image" in str(error.value) and "masks for id" not in str(error.value)


def test_the_project_that_roboflow_lists_is_no_class(tmp_path, make_config):
    coco(tmp_path)
    path = tmp_path / "annotations/instances_default.json"
    content = json.loads(path.read_text())
    for category in content["categories"]:
        category["supercategory"] = "pets"
    content["categories"].insert(0, {"id": 0, "name": "pets", "supercategory": "none"})
    path.write_text(json.dumps(content))
    assert loaded(tmp_path, make_config).class_names == ("background", "cat", "dog")


def test_portable_pixmaps(tmp_path, make_config):
    for number in range(4):
        photo(tmp_path / f"images/im{number}.ppm", number)
        path = tmp_path / f"labels/im{number}.pgm"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(truth()).save(path)
    check(tmp_path, make_config)


@pytest.mark.parametrize("ending", [".jfif", ".jpe"])
def test_other_endings_of_jpeg(ending, tmp_path, make_config):
    for number in range(4):
        photo(tmp_path / f"images/p{number}.jpg", number)
        (tmp_path / f"images/p{number}.jpg").rename(tmp_path / f"images/p{number}{ending}")
        mask(tmp_path / f"masks/p{number}.png", truth())
    check(tmp_path, make_config)


def test_a_single_class_is_named(tmp_path, make_config):
    entry = {"id": 1, "name": "sky"}
    for number in range(3):
        photo(tmp_path / f"images/p{number}.jpg", number)
        colors = np.zeros((24, 32, 3))
        colors[..., 0] = 5
        mask(tmp_path / f"annotations/panoptic/p{number}.png", colors)
    images = [{"id": n, "file_name": f"p{n}.jpg", "height": 24, "width": 32} for n in range(3)]
    annotations = [
        {"image_id": n, "file_name": f"p{n}.png", "segments_info": [{"id": 5, "category_id": 1}]}
        for n in range(3)
    ]
    content = {"images": images, "annotations": annotations, "categories": [entry]}
    text(tmp_path / "annotations/panoptic.json", content)
    with pytest.raises(DataError, match=r"a single class \(sky\); expected two or more"):
        loaded(tmp_path, make_config)
