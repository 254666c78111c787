"""Masks in several files per image, panoptic PNG files, Datumaro, and masks told by their names."""

import csv
import json

import numpy as np
import pytest
import scipy.io

from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.errors import DataError
from tests.data.importers.test_formats import all_masks, cache, loaded  # noqa: F401  (a fixture)
from tests.references.exports import CAT, DOG, SIZE, coco, corners, mask, photo, text, truth

PARTS = {"cat": (truth() == 1) * 255, "dog": (truth() == 2) * 255}


def photos(root, count=4, name="images/p{}.jpg"):
    for number in range(count):
        photo(root / name.format(number), number)
        yield number


def check(root, make_config, names=None, expected=None, given=None):
    dataset = loaded(root, make_config, given)
    masks = all_masks(dataset)
    assert len(masks) == 4 and len(dataset.val)
    for found in masks:
        np.testing.assert_array_equal(found, truth() if expected is None else expected)
    if names:
        assert dataset.class_names == names
    return dataset


@pytest.mark.parametrize("name", [
    "masks/{part}/p{number}.png", "masks/p{number}/{part}.png",
    "masks/p{number}_{part}.png", "masks/p{number}_{part}_0.png",
])  # fmt: skip
def test_one_file_per_class(name, tmp_path, make_config):
    for number in photos(tmp_path):
        for part, pixels in PARTS.items():
            mask(tmp_path / name.format(part=part, number=number), pixels)
    photo(tmp_path / "images/other.jpg", 9)
    dataset = check(tmp_path, make_config, ("background", "cat", "dog"))
    assert dataset.unlabeled.ids == ("other",)
    assert any("cat (4), dog (4)" in note for note in dataset.notes)


@pytest.mark.parametrize("name", ["masks/p{number}/{part}.png", "masks/p{number}_{part}.png"])
def test_one_file_per_object(name, tmp_path, make_config):
    for number in photos(tmp_path):
        # Objects differ in their count; numbers that all images have may be classes.
        parts = [truth() > 0] if number == 0 else [truth() == 1, truth() == 2]
        for part, pixels in enumerate(parts):
            mask(tmp_path / name.format(part=part, number=number), pixels * 255)
    check(tmp_path, make_config, ("background", "object"), truth() > 0)


def test_pixels_of_two_classes_are_ignored(tmp_path, make_config):
    half = (np.arange(PARTS["cat"].shape[1]) < 6) * PARTS["cat"]
    for number in photos(tmp_path):
        mask(tmp_path / f"masks/cat/p{number}.png", PARTS["cat"])
        mask(tmp_path / f"masks/dog/p{number}.png", PARTS["dog"] | half)
    check(tmp_path, make_config, None, np.where(half > 0, 255, truth()))


def test_masks_of_class_ids_are_no_parts(tmp_path, make_config):
    for number in photos(tmp_path):
        for person in ("anna", "bert"):
            mask(tmp_path / f"masks/{person}/p{number}.png", truth())
    with pytest.raises(DataError, match="expected background and one class or object"):
        loaded(tmp_path, make_config)


def test_masks_of_two_annotators_are_not_classes(tmp_path, make_config):
    for number in photos(tmp_path):
        for person in (1, 2):
            mask(tmp_path / f"masks/annotator{person}/p{number}.png", PARTS["cat"])
    with pytest.raises(DataError, match="2 masks for id"):
        loaded(tmp_path, make_config)


def brush_files(root):
    """Files as Label Studio names them."""
    for number in photos(root):
        for part, pixels in PARTS.items():
            name = f"task-{number + 5}-annotation-{number + 9}-by-1-tag-{part}-0.png"
            mask(root / "masks" / name, pixels)


def test_brush_labels_of_label_studio_need_their_tasks(tmp_path, make_config):
    root = tmp_path / "data"
    brush_files(root)
    with pytest.raises(DataError, match="names the task of its image.*export JSON"):
        loaded(root, make_config)
    tasks = [{"id": n + 5, "image": f"/data/upload/1/0a1b2c3d-p{n}.jpg"} for n in range(4)]
    text(root / "min.json", tasks)
    dataset = check(root, make_config, ("background", "cat", "dog"))
    assert not len(dataset.unlabeled)


def panoptic(root, crowd=False):
    images, annotations = [], []
    for number in photos(root, name="images/p{}.jpg"):
        numbers = np.array([70000, 300, 513])[truth()] + number
        segments = [
            {"id": 70000 + number, "category_id": 90},
            {"id": 300 + number, "category_id": 4, "iscrowd": int(crowd)},
            {"id": 513 + number, "category_id": 20},
        ]
        colors = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], -1)
        mask(root / f"annotations/panoptic_train/p{number}.png", colors)
        images.append({"id": number, "file_name": f"p{number}.jpg", "height": 24, "width": 32})
        annotations.append(
            {"image_id": number, "file_name": f"p{number}.png", "segments_info": segments}
        )
    names = {4: "cat", 20: "dog", 90: "grass"}
    text(root / "annotations/panoptic_train.json", {
        "images": images, "annotations": annotations,
        "categories": [{"id": key, "name": name} for key, name in names.items()],
    })  # fmt: skip


def test_panoptic_segments_are_classes_by_category(tmp_path, make_config):
    panoptic(tmp_path)
    expected = np.array([2, 0, 1], np.uint8)[truth()]
    dataset = check(tmp_path, make_config, ("cat", "dog", "grass"), expected)
    assert not len(dataset.unlabeled)
    panoptic(tmp_path, crowd=True)
    check(tmp_path, make_config, None, np.where(truth() == 1, 255, expected))
    path = tmp_path / "annotations/panoptic_train.json"
    content = json.loads(path.read_text())
    content["annotations"][2]["segments_info"].pop()
    text(path, content)
    with pytest.raises(DataError, match=r"p2.png: segment 515 is not in the JSON"):
        loaded(tmp_path, make_config)


def test_datumaro_draws_in_the_order_of_z(tmp_path, make_config):
    items = []
    for number in photos(tmp_path, name="images/default/p{}.jpg"):
        box = [v for point in corners((0, 0, 30, 22)) for v in point]
        boxes = [(1, 2, [v for p in corners(DOG) for v in p]), (0, 1, box)]
        annotations = [
            {"id": z, "type": "polygon", "label_id": label, "z_order": z, "points": points}
            for label, z, points in boxes
        ]
        items.append({
            "id": f"p{number}", "annotations": annotations,
            "image": {"path": f"p{number}.jpg", "size": list(SIZE)},
        })  # fmt: skip
    labels = [{"name": "cat"}, {"name": "dog"}]
    content = {"info": {}, "categories": {"label": {"labels": labels}}, "items": items}
    text(tmp_path / "annotations/default.json", content)
    dataset = loaded(tmp_path, make_config)
    assert dataset.class_names == ("background", "cat", "dog")
    for found in all_masks(dataset):
        assert found[15, 20] == 2 and found[1, 1] == 1 and found[23, 31] == 0
    for item in items:
        for annotation in item["annotations"]:
            annotation["type"] = "bbox"
    text(tmp_path / "annotations/default.json", content)
    with pytest.raises(DataError, match="no area .8 bbox."):
        loaded(tmp_path, make_config)


def test_via_as_csv(tmp_path, make_config):
    head = ("filename", "file_size", "file_attributes", "region_count", "region_id",
            "region_shape_attributes", "region_attributes")  # fmt: skip
    rows = []
    for number in photos(tmp_path, name="p{}.jpg"):
        for label, (left, top, right, bottom) in (("cat", CAT), ("dog", DOG)):
            shape = {"name": "rect", "x": left, "y": top,
                     "width": right - left - 1, "height": bottom - top - 1}  # fmt: skip
            rows.append((f"p{number}.jpg", 1, "{}", 2, 0, json.dumps(shape),
                         json.dumps({"class": label})))  # fmt: skip
    with open(tmp_path / "via.csv", "w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    check(tmp_path, make_config, ("background", "cat", "dog"))


def test_numbers_of_pascal_context(tmp_path, make_config):
    (tmp_path / "trainval").mkdir()
    numbers = np.array([2, 284, 415], np.uint16)[truth()]
    for number in photos(tmp_path, name="JPEGImages/p{}.jpg"):
        scipy.io.savemat(tmp_path / f"trainval/p{number}.mat", {"LabelMap": numbers})
    dataset = check(tmp_path, make_config, ("value 2", "value 284", "value 415"))
    assert any("2, 284, 415" in note for note in dataset.notes)


def test_segments_of_single_images_are_no_classes(tmp_path, make_config):
    (tmp_path / "groundTruth").mkdir()
    for number in photos(tmp_path, 6):
        count = 3 + 2 * number
        segments = 1 + np.arange(24 * 32).reshape(SIZE) * count // (24 * 32)
        path = tmp_path / f"groundTruth/p{number}.mat"
        scipy.io.savemat(path, {"labels": segments.astype(np.uint16)})
    with pytest.raises(DataError, match="number the segments of one image"):
        loaded(tmp_path, make_config)


@pytest.mark.parametrize("image, other", [
    ("{}_sat.jpg", "{}_mask.png"), ("image_{}.jpg", "label_{}.png"),
    ("p{}.jpg", "p{}_label_ground-truth_semantic.png"), ("p{}.jpg", "p{}.jpg___fuse.png"),
])  # fmt: skip
def test_masks_next_to_images_by_their_names(image, other, tmp_path, make_config):
    for number in photos(tmp_path, name=f"data/{image}"):
        mask(tmp_path / "data" / other.format(number), truth())
    dataset = check(tmp_path, make_config)
    assert not len(dataset.unlabeled)


def test_files_with_another_tail_are_no_images(tmp_path, make_config):
    for number in photos(tmp_path, name="p{}.jpg"):
        mask(tmp_path / f"p{number}.jpg___fuse.png", truth())
        mask(tmp_path / f"p{number}.jpg___save.png", truth())
    dataset = check(tmp_path, make_config)
    assert not len(dataset.unlabeled)
    assert any("4 files with the tail .jpg___save are not used" in n for n in dataset.notes)
    for number in photos(tmp_path, name="p{}.jpg"):
        (tmp_path / f"p{number}.jpg___fuse.png").rename(tmp_path / f"p{number}.jpg___one.png")
    with pytest.raises(DataError, match="2 tails.*data.folder.mask_tail"):
        loaded(tmp_path, make_config)
    tail = {"folder.mask_tail": ".jpg___one"}
    folder = {**describe_folder(str(tmp_path), tail)["folder"], "mask_tail": ".jpg___one"}
    dataset = loaded(tmp_path, make_config, tail, folder=folder)
    assert not len(dataset.unlabeled) and len(all_masks(dataset)) == 4


def test_classes_of_superannotate(tmp_path, make_config):
    table = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255)], np.uint8)
    for number in photos(tmp_path, name="p{}.jpg"):
        mask(tmp_path / f"p{number}.jpg___fuse.png", table[truth()])
    classes = [{"name": "cat", "color": "#ff0000"}, {"name": "dog", "color": "#0000ff"}]
    text(tmp_path / "classes/classes.json", classes)
    check(tmp_path, make_config, ("background", "cat", "dog"))


def test_photos_as_arrays_are_no_masks(tmp_path, make_config):
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(8):
        array = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        np.save(tmp_path / f"images/p{number}.npy", array)
        if number < 4:
            mask(tmp_path / f"masks/p{number}.png", truth())
    dataset = check(tmp_path, make_config)
    assert len(dataset.unlabeled) == 4 and not dataset.warnings


def test_tracks_of_videos_are_refused(tmp_path, make_config):
    photo(tmp_path / "images/p0.jpg")
    text(tmp_path / "annotations.xml", "<annotations><version>1.1</version><track id='0'/>"
                                       "</annotations>")  # fmt: skip
    with pytest.raises(DataError, match="tracks of a video.*CVAT for images"):
        loaded(tmp_path, make_config)


def test_categories_of_one_name_are_named(tmp_path, make_config):
    coco(tmp_path)
    path = tmp_path / "annotations/instances_default.json"
    content = json.loads(path.read_text())
    for category in content["categories"]:
        category["name"] = "pet"
    path.write_text(json.dumps(content))
    warnings = loaded(tmp_path, make_config).warnings
    assert any("several categories have one name and become one class: pet" in w for w in warnings)


@pytest.mark.parametrize("names", [("class1", "class2"), ("grade_3", "grade_4")])
def test_numbers_of_classes_are_no_objects(names, tmp_path, make_config):
    for number in range(4):
        photo(tmp_path / f"images/a{number}.png", number)
        for class_id, name in enumerate(names, start=1):
            mask(tmp_path / f"masks/a{number}_{name}.png", (truth() == class_id) * 255)
    dataset = loaded(tmp_path, make_config)
    assert dataset.class_names == ("background", *names)
    for ids in all_masks(dataset):
        np.testing.assert_array_equal(ids, truth())


@pytest.mark.parametrize("name", ["{part}/a{image}", "a{image}_{part}", "a{image}/{part}"])
def test_numbers_that_all_images_have_may_be_classes(name, tmp_path, make_config):
    for image in range(4):
        photo(tmp_path / f"images/a{image}.png", image)
        for part in (1, 2):
            path = tmp_path / f"masks/{name.format(image=image, part=part)}.png"
            mask(path, (truth() == part) * 255)
    with pytest.raises(DataError, match="1 and 2 may be two classes or two objects"):
        loaded(tmp_path, make_config)


@pytest.mark.parametrize("numbers", [[(1, 2)] * 4, [(2, 5), (1, 2), (1,), (1, 3)]])
def test_numbers_that_may_be_classes_are_asked_about(numbers, tmp_path, make_config):
    for image, own in enumerate(numbers):
        photo(tmp_path / f"images/a{image}.png", image)
        for number in own:
            mask(tmp_path / f"masks/a{image}_T{number}.png", (truth() == 1) * 255)
    with pytest.raises(DataError, match="masks T1 and T2 may be two classes or two objects"):
        loaded(tmp_path, make_config)
