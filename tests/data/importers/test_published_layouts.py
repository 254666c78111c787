"""Layouts of published data sets and of exports for other programs, in miniature."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data.datasets.folder_config import describe_folder
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
    assert "8 masks, all of test images" in str(error.value)
    assert "data.labeled, or move" in str(error.value) and "masks for id" not in str(error.value)


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


def test_a_folder_per_lesion(tmp_path, make_config):
    """PH2: the photo, the lesion and parts of it have folders of their own."""
    for number in range(4):
        base = tmp_path / f"PH2 Dataset images/IMD{number:03d}/IMD{number:03d}"
        photo(base.parent / f"{base.name}_Dermoscopic_Image/{base.name}.bmp", number)
        mask(base.parent / f"{base.name}_lesion/{base.name}_lesion.bmp", (truth() > 0) * 255)
        mask(base.parent / f"{base.name}_roi/{base.name}_R1_Label3.bmp", (truth() > 1) * 255)
    names = ("background", "lesion")
    dataset = check(tmp_path, make_config, names=names, expected=truth() > 0)
    assert any("4 folders of regions" in note for note in dataset.notes)


def test_fields_from_the_air(tmp_path, make_config):
    """Agriculture-Vision: a folder per class, and pixels outside of the field are ignored."""
    inside, overlap = np.full(truth().shape, 255, np.uint8), truth() == 1
    inside[:, 30:] = 0
    overlap[4:] = False
    for split, start in (("train", 0), ("val", 10)):
        base = tmp_path / split
        for number in range(start, start + 3):
            photo(base / f"images/rgb/{number}.jpg", number)
            mask(base / f"images/nir/{number}.jpg", truth())
            mask(base / f"labels/water/{number}.png", (truth() == 1) * 255)
            mask(base / f"labels/weed_cluster/{number}.png", ((truth() == 2) | overlap) * 255)
            mask(base / f"masks/{number}.png", inside)
            mask(base / f"boundaries/{number}.png", np.full(truth().shape, 255))
    expected = truth()
    expected[overlap] = 255
    expected[:, 30:] = 255
    names = ("background", "water", "weed_cluster")
    dataset = check(tmp_path, make_config, 6, names, expected)
    assert dataset.val.ids == ("val/10", "val/11", "val/12")
    assert not len(dataset.unlabeled)


@pytest.mark.parametrize(
    "bands, message", [(6, "this is PanNuke.*masks/i.png"), (1, "images/i.png")]
)
def test_arrays_of_many_images_are_named(bands, message, tmp_path):
    for kind, channels in (("images", 3), ("masks", bands)):
        folder = tmp_path / f"Fold1/{kind}/fold1"
        folder.mkdir(parents=True)
        np.save(folder / f"{kind}.npy", np.zeros((3, 16, 16, channels)))
    np.save(tmp_path / "Fold1/images/fold1/types.npy", np.array(["a", "b", "c"]))
    with pytest.raises(DataError, match=rf"holds \[3, 16, 16, {bands}\].*{message}"):
        describe_folder(str(tmp_path))


@pytest.mark.parametrize("images, heights, masks", [
    ("top/area{}", "dsm/dsm_area{}", "gts_for_participants/area{}"),
    ("top/area{}", "dsm/area{}", "labels/area{}"),
    ("2_Ortho_RGB/top_{}_RGB", "1_DSM/dsm_{}", "5_Labels_all/top_{}_label"),
])  # fmt: skip
def test_heights_next_to_images_are_no_images(images, heights, masks, tmp_path, make_config):
    """Vaihingen and Potsdam of the ISPRS."""
    for number in range(1, 5):
        photo(tmp_path / f"{images.format(number)}.tif", number)
        heights_file = tmp_path / f"{heights.format(number)}.tif"
        heights_file.parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros(truth().shape, np.float32)).save(heights_file)
        mask(tmp_path / f"{masks.format(number)}.tif", truth())
    dataset = check(tmp_path, make_config)
    assert not len(dataset.unlabeled)
    assert any("heights" in note for note in dataset.notes)


def test_ids_that_each_folder_names_by_itself(tmp_path, make_config):
    """labelme_json_to_dataset numbers the labels of each image by itself."""
    for number in range(4):
        folder = tmp_path / f"a{number}_json"
        swapped = number % 2
        photo(folder / "img.png", number)
        mask(folder / "label.png", np.array([0, 2, 1], np.uint8)[truth()] if swapped else truth())
        mask(folder / "label_viz.png", truth())
        order = ("dog", "cat") if swapped else ("cat", "dog")
        text(folder / "label_names.txt", "\n".join(("_background_", *order)) + "\n")
    check(tmp_path, make_config, names=("background", "cat", "dog"))
    mask(tmp_path / "a1_json/label.png", truth() + 2)
    with pytest.raises(DataError, match=r"a1_json/label.png: mask value [34]; expected one for"):
        loaded(tmp_path, make_config)
    (tmp_path / "a1_json/label_names.txt").unlink()
    with pytest.raises(DataError, match="a1_json: no label_names.txt, which 3 of 4 folders have"):
        describe_folder(str(tmp_path))


def test_a_numbered_folder_per_class_with_a_tail_for_each(tmp_path, make_config):
    """IDRiD: nested numbered folders; a class without a file is absent."""
    root = tmp_path / "A. Segmentation"
    classes = ("1. Microaneurysms/{}_MA", "2. Haemorrhages/{}_HE", "5. Optic Disc/{}_OD")
    for split, numbers in (("a. Training Set", range(1, 5)), ("b. Testing Set", range(5, 7))):
        for number in numbers:
            name = f"IDRiD_{number:02}"
            photo(root / f"1. Original Images/{split}/{name}.jpg", number)
            for position, file in enumerate(classes):
                if position == 1 and number % 2:
                    continue
                own = np.zeros((24, 32, 3), np.uint8)
                own[5 * position : 5 * position + 3, 2:9, 0] = 255
                path = f"2. All Segmentation Groundtruths/{split}/{file.format(name)}.tif"
                mask(root / path, own)
    found = describe_folder(str(tmp_path))
    assert found["class_names"] == ("background", "Haemorrhages", "Microaneurysms", "Optic Disc")
    dataset = loaded(tmp_path, make_config)
    assert len(dataset.test) == 2 and len(dataset.labeled) + len(dataset.val) == 4
    for part in (dataset.labeled, dataset.val, dataset.test):
        for index in range(len(part)):
            even = int(part[index]["id"][-2:]) % 2 == 0
            counts = np.bincount(part[index]["mask"].ravel(), minlength=4)
            assert counts[1:].tolist() == [21 * even, 21, 21]


@pytest.mark.parametrize("folders", [
    ("masks_cat", "masks_dog"), ("CatMasks", "DogMasks"), ("cat masks", "dog masks"),
])  # fmt: skip
def test_a_folder_of_masks_per_class(folders, tmp_path, make_config):
    for number in range(4):
        photo(tmp_path / f"images/{number}.jpg", number)
        for class_id, folder in enumerate(folders, start=1):
            own = (truth() == class_id) * np.uint8(255)
            mask(tmp_path / f"{folder}/{number}.png", own)
    names = tuple(re.sub("[_ ]?masks[_ ]?", "", folder, flags=re.IGNORECASE) for folder in folders)
    check(tmp_path, make_config, names=("background", *names))


def test_two_versions_of_masks_are_no_classes(tmp_path):
    for number in range(4):
        photo(tmp_path / f"images/{number}.jpg", number)
        for folder in ("masks_v1", "masks_v2"):
            mask(tmp_path / f"{folder}/{number}.png", truth())
    with pytest.raises(DataError, match="2 folders of masks for the same images"):
        describe_folder(str(tmp_path))


@pytest.mark.parametrize("image, label", [
    ("cat{}.png", "cat{}mask.png"), ("images/cat{}.png", "masks/cat{}mask.png"),
])  # fmt: skip
def test_a_tail_without_separator(image, label, tmp_path, make_config):
    for number, name in enumerate("abcd"):
        photo(tmp_path / image.format(name), number)
        mask(tmp_path / label.format(name), truth())
    check(tmp_path, make_config)


def test_fields_of_view_are_no_masks_of_the_test_split(tmp_path, make_config):
    """DRIVE without the manual masks of its test images: test/mask is no ground truth."""
    for number in range(6):
        split, name = ("training", 21 + number) if number < 4 else ("test", number)
        base = tmp_path / "DRIVE" / split
        photo(base / f"images/{name:02}_{split}.png", number)
        mask(base / f"mask/{name:02}_{split}_mask.png", np.full(truth().shape, 255))
        if split == "training":
            mask(base / f"1st_manual/{name:02}_manual1.png", (truth() > 0) * 1)
    dataset = check(tmp_path, make_config, expected=truth() > 0)
    assert not len(dataset.test)
    assert any("DRIVE/test/mask: not used" in text for text in dataset.warnings)


def test_reference_photos_of_acdc_are_left_out(tmp_path, make_config):
    for number in range(6):
        split = "train" if number < 4 else "val"
        name = f"GOPR0{number}/GOPR0{number}_frame_{number:06}"
        photo(tmp_path / f"rgb_anon/fog/{split}/{name}_rgb_anon.png", number)
        photo(tmp_path / f"rgb_anon/fog/{split}_ref/{name}_rgb_ref_anon.png", number + 10)
        mask(tmp_path / f"gt/fog/{split}/{name}_gt_labelTrainIds.png", truth())
    dataset = check(tmp_path, make_config, 6)
    assert not len(dataset.unlabeled)
    assert any("train_ref" in text for text in dataset.notes)


def test_roads_of_massachusetts_in_sat_and_map(tmp_path, make_config):
    """The name of the folder around all, road_segmentation_ideal, is no name of masks."""
    for number in range(9):
        split = ("train", "valid", "test")[number // 3]
        base = tmp_path / "road_segmentation_ideal" / split
        photo(base / f"sat/img-{number}.tiff", number)
        mask(base / f"map/img-{number}.tif", (truth() > 0) * 255)
    dataset = check(tmp_path, make_config, 9, expected=truth() > 0)
    assert len(dataset.test) == 3
