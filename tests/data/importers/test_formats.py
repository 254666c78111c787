"""Every format gives the same masks as the shapes that were drawn."""

import json

import numpy as np
import pytest

from ipixmatch_jax.data import load_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.importers.label_studio import decode_brush
from ipixmatch_jax.errors import DataError
from tests.references import exports


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IPIXMATCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def loaded(root, make_config, given=None, **changes):
    found = describe_folder(str(root), given or {})
    empty = {"labeled": "", "unlabeled": "", "val": ""}
    return load_dataset(make_config(**{**empty, **found, **changes}), 0)


def all_masks(dataset):
    return [part[i]["mask"] for part in (dataset.labeled, dataset.val, dataset.test)
            for i in range(len(part))]  # fmt: skip


@pytest.mark.parametrize("name, names", [
    ("coco", ("background", "cat", "dog")),
    ("labelme", ("background", "cat", "dog")),
    ("yolo", ("background", "cat", "dog")),
    ("cvat_xml", ("background", "cat", "dog")),
    ("supervisely", ("background", "cat", "dog")),
    ("via", ("background", "cat", "dog")),
    ("label_studio", ("background", "cat", "dog")),
    ("cvat_mask", ("background", "cat", "dog")),
    ("roboflow", ("background", "cat", "dog")),
    ("mapillary", ("background", "cat", "dog")),
])  # fmt: skip
def test_masks_and_names(name, names, tmp_path, make_config):
    root = tmp_path / "data"
    getattr(exports, name)(root)
    before = sorted(path for path in root.rglob("*"))
    dataset = loaded(root, make_config)
    assert dataset.class_names == names
    masks = all_masks(dataset)
    assert len(masks) >= 4 and len(dataset.labeled) and len(dataset.val)
    for mask in masks:
        np.testing.assert_array_equal(mask, exports.truth())
    # The source folder is not written to.
    assert sorted(path for path in root.rglob("*")) == before
    # A second start reads the same masks from the cache.
    np.testing.assert_array_equal(all_masks(loaded(root, make_config)), masks)


def test_labelme2voc_arrays_ignore_minus_one(tmp_path, make_config):
    exports.labelme2voc(tmp_path / "data")
    dataset = loaded(tmp_path / "data", make_config)
    expected = exports.truth()
    expected[0] = 255
    for mask in all_masks(dataset):
        np.testing.assert_array_equal(mask, expected)
    assert dataset.class_names == ("_background_", "cat", "dog")


def test_splits_of_folders_are_kept(tmp_path, make_config):
    exports.yolo(tmp_path / "yolo")
    dataset = loaded(tmp_path / "yolo", make_config)
    assert dataset.val.ids == ("val/p0", "val/p1", "val/p2")
    assert dataset.labeled.ids == ("p0", "p1", "p2")
    exports.roboflow(tmp_path / "roboflow")
    dataset = loaded(tmp_path / "roboflow", make_config)
    assert [len(part) for part in (dataset.labeled, dataset.val, dataset.test)] == [3, 3, 3]


def test_a_changed_annotation_never_meets_the_old_mask(tmp_path, make_config, cache):
    root = tmp_path / "data"
    exports.labelme(root)
    loaded(root, make_config)
    files = len(list(cache.iterdir()))
    for number in range(4):
        path = root / f"p{number}.json"
        content = json.loads(path.read_text())
        content["shapes"] = content["shapes"][1:]
        path.write_text(json.dumps(content))
    for mask in all_masks(loaded(root, make_config)):
        np.testing.assert_array_equal(mask, np.where(exports.truth() == 1, 0, exports.truth()))
    assert len(list(cache.iterdir())) == 2 * files


def test_images_without_annotation_are_unlabeled_unless_said_otherwise(tmp_path, make_config):
    root = tmp_path / "data"
    exports.coco(root)
    exports.photo(root / "images/extra.jpg", 9)
    path = root / "annotations/instances_default.json"
    content = json.loads(path.read_text())
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 7]
    path.write_text(json.dumps(content))
    dataset = loaded(root, make_config)
    assert sorted(dataset.unlabeled.ids) == ["extra", "p0"]
    assert any("1 images are listed without any annotation" in note for note in dataset.notes)
    dataset = loaded(root, make_config, {"folder.unannotated": "background"},
                     folder={"unannotated": "background", "format": "coco"})  # fmt: skip
    assert sorted(dataset.unlabeled.ids) == ["extra"]
    masks = dict(zip((*dataset.labeled.ids, *dataset.val.ids), all_masks(dataset), strict=True))
    assert not masks["p0"].any() and masks["p1"].any()


def test_boxes_without_regions_are_ignored_pixels(tmp_path, make_config):
    root = tmp_path / "data"
    exports.coco(root)
    path = root / "annotations/instances_default.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        if annotation["category_id"] == 50:
            annotation["segmentation"], annotation["bbox"] = [], [2, 3, 8, 6]
    path.write_text(json.dumps(content))
    dataset = loaded(root, make_config)
    expected = np.where(exports.truth() == 1, 255, exports.truth())
    for mask in all_masks(dataset):
        np.testing.assert_array_equal(mask, expected)
    assert any("a box but no region" in warning for warning in dataset.warnings)


def test_objects_in_files_of_their_own_are_joined(tmp_path, make_config):
    for number in range(3):
        exports.photo(tmp_path / f"stage1_train/i{number}/images/i{number}.png", number)
        for index, class_id in enumerate((1, 2)):
            exports.mask(tmp_path / f"stage1_train/i{number}/masks/o{number}{index}.png",
                         (exports.truth() == class_id) * 255)  # fmt: skip
    dataset = loaded(tmp_path, make_config)
    assert dataset.class_names == ("background", "object")
    for mask in all_masks(dataset):
        np.testing.assert_array_equal(mask, exports.truth() > 0)


def test_matlab_masks(tmp_path, make_config):
    import scipy.io

    for number in range(4):
        exports.photo(tmp_path / f"image/{number:03d}.jpg", number)
        (tmp_path / "groundTruth").mkdir(exist_ok=True)
        content = {"Segmentation": (exports.truth() > 0).astype(np.uint8) + 1}
        scipy.io.savemat(tmp_path / f"groundTruth/{number:03d}.mat", {"groundTruth": content})
    for mask in all_masks(loaded(tmp_path, make_config)):
        np.testing.assert_array_equal(mask, exports.truth() > 0)


def test_instance_ids_of_cityscapes_and_kitti(tmp_path, make_config):
    city = "leftImg8bit/train/aachen/aachen_000000_00001{}_leftImg8bit.png"
    for number in range(3):
        exports.photo(tmp_path / "city" / city.format(number), number)
        exports.photo(tmp_path / f"kitti/training/image_2/00000{number}_10.png", number)
        for path, scale in (
            (f"city/gtFine/train/aachen/aachen_000000_00001{number}_gtFine_instanceIds.png", 1000),
            (f"kitti/training/instance/00000{number}_10.png", 256),
        ):
            # Road 7 without an instance, cars 26 with numbers.
            values = np.where(exports.truth() == 2, 26 * scale + 3, 7 * (1 if scale > 256 else 256))
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            exports.Image.fromarray(values.astype(np.uint16)).save(tmp_path / path)
    for name in ("city", "kitti"):
        for mask in all_masks(loaded(tmp_path / name, make_config)):
            np.testing.assert_array_equal(mask, np.where(exports.truth() == 2, 13, 0))


@pytest.mark.parametrize("damage, message", [
    (lambda c: c["annotations"][0].update(category_id=99), "category_id 99 is not in"),
    (lambda c: c["annotations"][0].update(segmentation={"size": [24, 32], "counts": [5]}),
     "do not add up"),
    (lambda c: c["images"].pop(0), "1 image ids that `images` does not list"),
    (lambda c: [a.update(segmentation=[]) for a in c["annotations"]], "object boxes, not masks"),
])  # fmt: skip
def test_damaged_coco_is_named(damage, message, tmp_path, make_config):
    exports.coco(tmp_path)
    path = tmp_path / "annotations/instances_default.json"
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        loaded(tmp_path, make_config)


@pytest.mark.parametrize("write, message", [
    (lambda r: exports.text(r / "train/p.xml", "<annotation><object><bndbox></bndbox></object>"),
     "holds boxes"),
    (lambda r: exports.text(r / "train/_classes.csv", "filename, cat, dog\np.jpg, 1, 0\n"),
     "one label per image"),
    (lambda r: exports.text(r / "train/x.tfrecord", "x"), "TFRecord files are not read"),
    (lambda r: exports.text(r / "labels/train/p0.txt", "0 0.5 0.5 0.2 0.2\n"), "holds a box"),
])  # fmt: skip
def test_exports_without_masks_are_refused_by_name(write, message, tmp_path):
    exports.photo(tmp_path / "images/train/p0.jpg")
    write(tmp_path)
    with pytest.raises(DataError, match=message):
        describe_folder(str(tmp_path))


def test_brush_masks_decode_repeated_and_single_values():
    values = np.array([0, 0, 0, 7, 9, 9, 255, 0], np.uint8)
    np.testing.assert_array_equal(decode_brush(exports.encode_brush(values), 8), values)
    with pytest.raises(ValueError, match="end too early"):
        decode_brush(exports.encode_brush(values)[:-2], 8)
