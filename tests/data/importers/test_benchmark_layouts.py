"""Benchmarks with several label files per image, or with values of a meaning of their own."""

import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.importers import read_folder
from ipixmatch_jax.data.importers.cityscapes_classes import CLASSES
from ipixmatch_jax.errors import DataError
from tests.data.importers.test_formats import all_masks, loaded
from tests.data.importers.test_left_by_people import cache  # noqa: F401  (a fixture)
from tests.references.exports import mask, photo, text, truth

COLORS = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255)], np.uint8)


def deep_png(path, colors):
    """Writes uint16 [H,W,3] as a PNG of 16 bits per sample, which Pillow cannot."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    height, width = colors.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colors)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + body)


def check(root, make_config, sizes, expected=None):
    """The data set, after comparing its masks and the sizes of labeled, val, test, unlabeled."""
    dataset = loaded(root, make_config)
    parts = (dataset.labeled, dataset.val, dataset.test, dataset.unlabeled)
    assert [len(part) for part in parts] == sizes
    for found in all_masks(dataset):
        np.testing.assert_array_equal(found, truth() if expected is None else expected)
    return dataset


def notes(root):
    found = read_folder(root, {})[2]
    return "\n".join([*found.notes, *found.warnings, *found.problems])


def test_bdd100k_reads_train_ids(tmp_path, make_config):
    """The release of 2018 has X_train_id.png, that of 2020 masks next to colormaps."""
    for split, seed in (("train", 0), ("val", 10)):
        for n in range(4):
            photo(tmp_path / f"old/seg/images/{split}/a{n}.jpg", seed + n)
            mask(tmp_path / f"old/seg/labels/{split}/a{n}_train_id.png", truth())
            colors = tmp_path / f"old/seg/color_labels/{split}/a{n}_train_color.png"
            mask(colors, COLORS[truth()])
            base = tmp_path / "new/bdd100k"
            photo(base / f"images/10k/{split}/a{n}.jpg", seed + n)
            mask(base / f"labels/sem_seg/masks/{split}/a{n}.png", truth())
            mask(base / f"labels/sem_seg/colormaps/{split}/a{n}.png", COLORS[truth()])
            mask(base / f"labels/drivable/masks/{split}/a{n}.png", truth() == 0)
            mask(base / f"labels/pan_seg/bitmasks/{split}/a{n}.png", COLORS[truth()])
        text(base / f"labels/sem_seg/rles/sem_seg_{split}.json", {"frames": []})
    photo(tmp_path / "old/seg/images/test/b.jpg", 30)
    for part in ("old", "new"):
        dataset = check(tmp_path / part, make_config, [4, 4, 0, 0])
        assert dataset.class_names == CLASSES
    assert "1 val or test images have no mask: b.jpg" in notes(tmp_path / "old")
    text(tmp_path / "new/bdd100k/labels/sem_seg/masks/train/note.txt", "?")
    mask(tmp_path / "new/bdd100k/labels/sem_seg/masks/train/a1.png", truth() * 10)
    with pytest.raises(DataError, match="20"):
        loaded(tmp_path / "new", make_config)


@pytest.mark.parametrize("kind, name, classes", [
    ("gtFine_labellevel3Ids", "leftImg8bit.png", 26), ("label", "image.jpg", 7),
    ("gtFine_labelcsTrainIds", "leftImg8bit.jpg", 19), ("gtFine_labellevel1Ids", "image.jpg", 7),
])  # fmt: skip
def test_india_driving_dataset(kind, name, classes, tmp_path, make_config):
    for split, seed in (("train", 0), ("val", 10)):
        for n in range(3):
            photo(tmp_path / f"idd/leftImg8bit/{split}/{n}/{n}_{name}", seed + n)
            mask(tmp_path / f"idd/gtFine/{split}/{n}/{n}_{kind}.png", truth())
            mask(tmp_path / f"idd/gtFine/{split}/{n}/{n}_inst_label.png", truth() * 9)
            mask(tmp_path / f"idd/gtFine/{split}/{n}/{n}_gtFine_labelids.png", truth() * 7)
    dataset = check(tmp_path, make_config, [3, 3, 0, 0])
    assert len(dataset.class_names) == classes
    assert "not used: labelids" in notes(tmp_path)


def test_india_driving_dataset_without_the_ids_of_training(tmp_path):
    for n in range(3):
        photo(tmp_path / f"leftImg8bit/train/0/{n}_leftImg8bit.png", n)
        text(tmp_path / f"gtFine/train/0/{n}_gtFine_polygons.json", {"objects": []})
    with pytest.raises(DataError, match="createLabels.py --id-type level3Id"):
        describe_folder(str(tmp_path))
    for n in range(3):
        mask(tmp_path / f"gtFine/train/0/{n}_gtFine_labelids.png", truth())
    with pytest.raises(DataError, match="labelids, and none that training uses.*level3Id"):
        describe_folder(str(tmp_path))


@pytest.mark.parametrize("images", ["training/image_02/{1}", "images/{0}/{1}"])
def test_kitti_step_is_red_of_its_maps(images, tmp_path, make_config):
    stored = np.where(truth() == 2, 255, truth())
    for split, sequence in (("train", "0000"), ("train", "0001"), ("val", "0002")):
        for n in range(3):
            place = tmp_path / images.format(split, sequence)
            photo(place / f"00000{n}.png", n + 10 * int(sequence))
            # The tracking benchmark tests on other scenes with the same numbers.
            photo(tmp_path / f"testing/image_02/{sequence}/00000{n}.png", 100 + n)
            colors = np.stack([stored, truth() * 0, (truth() == 1) * n], -1)
            mask(tmp_path / f"panoptic_maps/{split}/{sequence}/00000{n}.png", colors)
    dataset = loaded(tmp_path, make_config)
    assert dataset.class_names == CLASSES
    assert len(dataset.val) == 3 and len(all_masks(dataset)) == 9
    for found in all_masks(dataset):
        np.testing.assert_array_equal(found, stored)
    assert "3 folders of images have no maps" in notes(tmp_path)
    # The scripts of DeepLab2 copy the images.
    photo(tmp_path / "images/train/0000/000000.png")
    assert len(all_masks(loaded(tmp_path, make_config))) == 9
    colors[0, 0, 0] = 19
    mask(tmp_path / "panoptic_maps/train/0000/000000.png", colors)
    with pytest.raises(DataError, match="red is 19"):
        loaded(tmp_path, make_config)


@pytest.mark.parametrize("tails", [
    {"": 5, "_labelTrainIds": 1},
    {"_gt_labelIds": 5, "_gt_labelTrainIds": 1, "_gt_instanceIds": 7, "_gt_color": 0},
    {"_labelIds": 1, "_instanceIds": 7, "_color": 0},
    {"_label_ids": 5, "_train_ids": 1},
])  # fmt: skip
def test_of_several_label_files_the_train_ids_are_read(tails, tmp_path, make_config):
    """COCO-Stuff of mmsegmentation, and folders like those of Cityscapes."""
    for n in range(4):
        photo(tmp_path / f"images/p{n}.jpg", n)
        for tail, factor in tails.items():
            stored = truth() * factor if factor else COLORS[truth()]
            mask(tmp_path / f"annotations/p{n}{tail}.png", stored)
    check(tmp_path, make_config, [3, 1, 0, 0])
    assert notes(tmp_path).count("of several label files per image") == 1
    chosen = next(tail for tail, factor in tails.items() if factor == 1)
    (tmp_path / f"annotations/p2{chosen}.png").unlink()
    with pytest.raises(DataError, match="expected the same kinds of label files for all images"):
        describe_folder(str(tmp_path))


def test_refuge_is_white_around_disc_and_cup(tmp_path, make_config):
    stored = np.array([255, 128, 0])[truth()]
    for kind, letter in (("Glaucoma", "g"), ("Non-Glaucoma", "n")):
        for n in range(3):
            photo(tmp_path / f"Training400/{kind}/{letter}000{n}.jpg", n + 10 * (letter == "n"))
            masks = tmp_path / "Annotation-Training400/Disc_Cup_Masks"
            mask(masks / f"{kind}/{letter}000{n}.bmp", stored)
    for n in range(3):
        photo(tmp_path / f"REFUGE-Validation400/V000{n}.jpg", 20 + n)
        mask(tmp_path / f"REFUGE-Validation400-GT/Disc_Cup_Masks/V000{n}.bmp", stored)
    dataset = check(tmp_path, make_config, [6, 3, 0, 0])
    assert dataset.class_names == ("background", "optic disc", "optic cup")
    mask(tmp_path / "REFUGE-Validation400-GT/Disc_Cup_Masks/V0000.bmp", 255 - stored)
    # Black around: not REFUGE's values, and which class each is stays open.
    with pytest.raises(DataError, match="set data.mask_values"):
        loaded(tmp_path, make_config)


def test_mapillary_without_its_config(tmp_path, make_config):
    for split, seed in (("training", 0), ("validation", 10)):
        for n in range(4):
            photo(tmp_path / f"{split}/images/a{n}.jpg", seed + n)
            for version, factor in (("v1.2", 3), ("v2.0", 1)):
                mask(tmp_path / f"{split}/{version}/labels/a{n}.png", truth() * factor)
                mask(tmp_path / f"{split}/{version}/instances/a{n}.png", truth() * 9)
    check(tmp_path, make_config, [4, 4, 0, 0])
    assert "no config_v2.0.json" in notes(tmp_path)


def test_synthia_is_the_first_channel_of_16_bits(tmp_path, make_config):
    stored = np.array([3, 0, 22])[truth()]
    for n in range(4):
        photo(tmp_path / f"RAND_CITYSCAPES/RGB/000000{n}.png", n)
        colors = np.stack([stored, truth() * np.uint16(300) + n, truth() * 0], -1).astype(np.uint16)
        deep_png(tmp_path / f"RAND_CITYSCAPES/GT/LABELS/000000{n}.png", colors)
        mask(tmp_path / f"RAND_CITYSCAPES/GT/COLOR/000000{n}.png", COLORS[truth()])
        photo(tmp_path / f"RAND_CITYSCAPES/Depth/Depth/000000{n}.png", 50 + n)
    dataset = check(tmp_path, make_config, [3, 1, 0, 0], np.array([2, 255, 21])[truth()])
    assert dataset.class_names[2] == "road" and dataset.class_names[21] == "lane marking"
    colors[0, 0, 0] = 23
    deep_png(tmp_path / "RAND_CITYSCAPES/GT/LABELS/0000003.png", colors)
    with pytest.raises(DataError, match="class 23; expected 0..22"):
        loaded(tmp_path, make_config)


def test_sequences_of_synthia(tmp_path, make_config):
    base = tmp_path / "SYNTHIA-SEQS-01-DAWN"
    for camera in ("Stereo_Left/Omni_F", "Stereo_Left/Omni_L"):
        for n in range(3):
            photo(base / f"RGB/{camera}/00000{n}.png", n + 10 * camera.endswith("L"))
            colors = np.stack([truth(), truth() * np.uint16(300), truth()], -1)
            deep_png(base / f"GT/LABELS/{camera}/00000{n}.png", colors)
            mask(base / f"GT/COLOR/{camera}/00000{n}.png", COLORS[truth()])
    dataset = loaded(tmp_path, make_config)
    assert dataset.class_names[:3] == ("misc", "sky", "building")
    assert len(dataset.class_names) == 16 and len(all_masks(dataset)) == 6
    for found in all_masks(dataset):
        np.testing.assert_array_equal(found, truth())
    photo(tmp_path / "RAND_CITYSCAPES/RGB/0000000.png", 50)
    deep_png(tmp_path / "RAND_CITYSCAPES/GT/LABELS/0000000.png", colors)
    with pytest.raises(DataError, match="have other classes; expected one kind"):
        loaded(tmp_path, make_config)


@pytest.mark.parametrize("labels", [
    {"background": 0, "cat": 1, "dog": 2, "ignore": 3},
    {"0": "background", "1": "cat", "2": "dog", "3": "ignore"},
])  # fmt: skip
def test_the_ignore_label_of_nnunet_is_no_class(labels, tmp_path, make_config):
    stored = truth()
    stored[0] = 3
    for n in range(4):
        photo(tmp_path / f"imagesTr/c{n}_0000.png", n)
        mask(tmp_path / f"labelsTr/c{n}.png", stored)
    content = {"channel_names": {"0": "R"}, "labels": labels, "numTraining": 4}
    text(tmp_path / "dataset.json", content | {"file_ending": ".png"})
    expected = truth()
    expected[0] = 255
    dataset = check(tmp_path, make_config, [3, 1, 0, 0], expected)
    assert dataset.class_names == ("background", "cat", "dog")


def test_names_of_foodseg103(tmp_path, make_config):
    for split, seed in (("train", 0), ("test", 10)):
        for n in range(4):
            photo(tmp_path / f"Images/img_dir/{split}/0{n}.jpg", seed + n)
            mask(tmp_path / f"Images/ann_dir/{split}/0{n}.png", truth())
    text(tmp_path / "category_id.txt", "0\tbackground\n1\tcandy\n2\tegg tart\n")
    dataset = check(tmp_path, make_config, [3, 1, 4, 0])
    assert dataset.class_names == ("background", "candy", "egg tart")


@pytest.mark.parametrize("stated, names", [
    ({"default_mask_targets": {"1": "cat", "2": "dog"}}, ("background", "cat", "dog")),
    ({"mask_targets": {"ground_truth": {"0": "other", "1": "cat", "2": "dog"}}},
     ("other", "cat", "dog")),
    ({"mask_targets": {"a": {"1": "cat", "2": "dog"}, "b": {"1": "dog", "2": "cat"}}}, ()),
    ({"default_mask_targets": {"#ff0000": {"label": "cat", "int_target": 1}}}, ()),
    ({"creator": "somebody"}, ()), ({"mask_targets": ["cat"]}, ()),
])  # fmt: skip
def test_names_of_fiftyone(stated, names, tmp_path, make_config):
    for n in range(4):
        photo(tmp_path / f"data/p{n}.jpg", n)
        mask(tmp_path / f"fields/ground_truth/p{n}.png", truth())
    text(tmp_path / "metadata.json", {"name": "pets", "media_type": "image", **stated})
    text(tmp_path / "samples.json", {"samples": []})
    (tmp_path / "category_id.txt").write_bytes(b"caf\xe9\nanother list\n")
    dataset = check(tmp_path, make_config, [3, 1, 0, 0])
    assert tuple(describe_folder(str(tmp_path))["class_names"]) == names
    assert len(dataset.class_names) == 3


@pytest.mark.parametrize("content", [b"no JSON", b"[1]", b'{"name": "caf\xe9"}'])
def test_metadata_of_other_programs_are_left_alone(content, tmp_path, make_config):
    for n in range(4):
        photo(tmp_path / f"images/p{n}.jpg", n)
        mask(tmp_path / f"masks/p{n}.png", truth())
    (tmp_path / "metadata.json").write_bytes(content)
    check(tmp_path, make_config, [3, 1, 0, 0])


@pytest.mark.parametrize("name, content, advice", [
    ("export.json", [{"label_hash": "a", "data_units": {}}], "in Encord, choose Export labels"),
    ("tasks.json", [{"task_id": "a", "response": {"annotations": {}}}], "PNG masks of the tasks"),
    ("data.json", [{"externalId": "a", "labels": [{"jsonResponse": {}}]}], "in Kili, export COCO"),
    ("export.json", {"label_classes": [], "images": [{"image_name": "a.jpg"}]}, "in Hasty, export"),
    ("a.jpg.json", {"metadata": {"name": "a.jpg"}, "instances": [{"className": "b"}]}, "with Fuse"),
    ("a.json", {"filename": "a", "annotations": [{"label": "b", "coordinates": []}]}, "semantic"),
    ("a.json", {"label_map": {}, "label_colour_map": {}, "7": {"instance_list": []}}, "COCO JSON"),
    ("a.jsonl", {"image": "a.jpg", "_input_hash": 1, "_task_hash": 2, "spans": []}, "in spans"),
])  # fmt: skip
def test_exports_that_are_refused_name_the_one_to_choose(name, content, advice, tmp_path):
    for n in range(3):
        photo(tmp_path / f"images/p{n}.jpg", n)
    text(tmp_path / name, json.dumps(content))
    with pytest.raises(DataError, match=f"is not read; expected images and masks; .*{advice}"):
        describe_folder(str(tmp_path))


@pytest.mark.parametrize("ending", [".avif", ".jp2"])
def test_masks_in_forms_of_photos_are_refused(ending, tmp_path):
    for n in range(3):
        photo(tmp_path / f"images/p{n}.jpg", n)
        path = tmp_path / f"masks/p{n}{ending}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(truth()).convert("RGB").save(path)
    with pytest.raises(DataError, match=r"masks/p0\..* are not read.*save them as PNG"):
        describe_folder(str(tmp_path))
