"""Variants of annotation files that tools write: read as they were drawn, or refused by name."""

import json
import re

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ipixmatch_jax.data import load_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.importers.drawing import is_rectangle, turned_box
from ipixmatch_jax.errors import DataError
from tests.references import exports
from tests.references.exports import CAT, DOG, corners, photo, text, truth


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("IPIXMATCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def loaded(root, make_config):
    found = describe_folder(str(root))
    return load_dataset(make_config(**{"labeled": "", "unlabeled": "", "val": "", **found}), 0)


def masks_of(dataset):
    return [part[i]["mask"] for part in (dataset.labeled, dataset.val) for i in range(len(part))]


def change(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    return content


# A shape of 20 x 6 pixels about (15, 12), and turned by a right angle: 6 x 20.
BOX = ((5, 9), (25, 15))


def turned(kind, angle):
    """The shape, drawn apart from the package: 8 times as large, and by Pillow's own rotation."""
    canvas = Image.new("L", (32 * 8, 24 * 8))
    draw = ImageDraw.Draw(canvas)
    box = [8 * v for corner in BOX for v in corner]
    getattr(draw, {"box": "rectangle", "ellipse": "ellipse"}[kind])(box, fill=255)
    canvas = canvas.rotate(-angle, center=(15 * 8, 12 * 8))
    return (np.array(canvas.resize((32, 24), Image.Resampling.BOX)) > 127).astype(np.uint8)


def cvat(kind, angle):
    (left, top), (right, bottom) = BOX
    turn = f'rotation="{angle}.00"' if angle else ""
    if kind == "box":
        # A box alone is object detection; CVAT writes boxes next to polygons.
        more = '<polygon label="cat" points="14,11;16,11;16,13;14,13"/>'
        where = f'xtl="{left}" ytl="{top}" xbr="{right}" ybr="{bottom}"'
        return f'<box label="cat" {where} {turn}/>{more}'
    where = f'cx="15" cy="12" rx="{(right - left) / 2}" ry="{(bottom - top) / 2}"'
    return f'<ellipse label="cat" {where} {turn}/>'


@pytest.mark.parametrize("angle", [0, 30, 90, 150, 330])
@pytest.mark.parametrize("kind", ["box", "ellipse"])
def test_cvat_turns_boxes_and_ellipses(kind, angle, tmp_path, make_config):
    images = ""
    for number in range(4):
        photo(tmp_path / f"images/p{number}.jpg", number)
        images += f'<image name="p{number}.jpg" width="32" height="24">{cvat(kind, angle)}</image>'
    body = f"<annotations><version>1.1</version><meta/>{images}</annotations>"
    text(tmp_path / "annotations.xml", body)
    for mask in masks_of(loaded(tmp_path, make_config)):
        both = (mask > 0) & (turned(kind, angle) > 0)
        # Pixels at the border may differ: they are cut by the outline.
        assert both.sum() > 0.65 * ((mask > 0) | (turned(kind, angle) > 0)).sum()


def test_a_box_turns_clockwise():
    found = turned_box((0, 0), (4, 2), 90)
    np.testing.assert_allclose(found, [[3, -1], [3, 3], [1, 3], [1, -1]], atol=1e-9)


@pytest.mark.parametrize("angle", [0, 60])
def test_ellipses_of_datumaro_turn(angle, tmp_path, make_config):
    items = []
    for number in range(4):
        photo(tmp_path / f"images/default/p{number}.jpg", number)
        shape = {"id": 0, "type": "ellipse", "label_id": 0, "points": [5, 9, 25, 15],
                 "attributes": {"rotation": float(angle)}}  # fmt: skip
        items.append({"id": f"p{number}", "annotations": [shape],
                      "image": {"path": f"p{number}.jpg", "size": [24, 32]}})  # fmt: skip
    labels = {"label": {"labels": [{"name": "cat"}]}}
    text(tmp_path / "annotations/default.json", {"categories": labels, "items": items})
    for mask in masks_of(loaded(tmp_path, make_config)):
        both = (mask > 0) & (turned("ellipse", angle) > 0)
        assert both.sum() > 0.65 * ((mask > 0) | (turned("ellipse", angle) > 0)).sum()


def test_a_tag_does_not_make_an_image_background(tmp_path, make_config):
    exports.cvat_xml(tmp_path)
    photo(tmp_path / "images/q.jpg", 9)
    path = tmp_path / "annotations.xml"
    tagged = '<image name="q.jpg" width="32" height="24"><tag label="cat"/></image></annotations>'
    path.write_text(path.read_text().replace("</annotations>", tagged))
    dataset = loaded(tmp_path, make_config)
    assert dataset.unlabeled.ids == ("q",)


@pytest.mark.parametrize("kind", ["rectangle", "rotation"])
def test_four_corners_of_anylabeling(kind, tmp_path, make_config):
    for number in range(4):
        photo(tmp_path / f"p{number}.jpg", number)
        shapes = [{"label": name, "shape_type": kind, "points": corners((a, b, c - 1, d - 1))}
                  for name, (a, b, c, d) in (("cat", CAT), ("dog", DOG))]  # fmt: skip
        text(tmp_path / f"p{number}.json", {"version": "2.5.4", "shapes": shapes,
                                            "imagePath": f"p{number}.jpg"})  # fmt: skip
    for mask in masks_of(loaded(tmp_path, make_config)):
        np.testing.assert_array_equal(mask, truth())


def test_one_id_for_two_coco_images_is_an_error(tmp_path, make_config):
    exports.coco(tmp_path)
    path = tmp_path / "annotations/instances_default.json"
    change(path, lambda content: content["images"][1].update(id=7))
    with pytest.raises(DataError, match="p0.jpg and p1.jpg both have the id 7"):
        loaded(tmp_path, make_config)


def test_keypoints_next_to_instances_are_not_read(tmp_path, make_config):
    exports.coco(tmp_path)
    content = json.loads((tmp_path / "annotations/instances_default.json").read_text())
    content["categories"] = [{"id": 50, "name": "cat", "keypoints": ["nose"]}]
    content["annotations"] = [one for one in content["annotations"] if one["category_id"] == 50]
    text(tmp_path / "annotations/person_keypoints_default.json", content)
    dataset = loaded(tmp_path, make_config)
    assert any("keypoints of the same images are not read" in note for note in dataset.notes)
    for mask in masks_of(dataset):
        np.testing.assert_array_equal(mask, truth())


@pytest.mark.parametrize("key, address", [
    ("coco_url", "http://images.example.org/images/{}"),
    ("file_name", "https://example.org/images/{}?sig=1"),
])  # fmt: skip
def test_coco_images_by_their_address(key, address, tmp_path, make_config):
    exports.coco(tmp_path)

    def edit(content):
        for image in content["images"]:
            image[key] = address.format(image.pop("file_name"))

    change(tmp_path / "annotations/instances_default.json", edit)
    for mask in masks_of(loaded(tmp_path, make_config)):
        np.testing.assert_array_equal(mask, truth())


def test_yolo_pose_is_no_segmentation(tmp_path, make_config):
    exports.yolo(tmp_path)
    text(tmp_path / "data.yaml", "kpt_shape: [4, 2]\nnames: [cat, dog]\n")
    with pytest.raises(DataError, match="boxes and keypoints"):
        loaded(tmp_path, make_config)


def test_two_lists_of_yolo_names_are_not_guessed(tmp_path, make_config):
    exports.yolo(tmp_path)
    text(tmp_path / "a.yaml", "names: [dog, cat]\n")
    with pytest.raises(DataError, match="class names dog, cat, but data.yaml has cat, dog"):
        loaded(tmp_path, make_config)


def test_labels_of_two_images_of_one_name(tmp_path, make_config):
    exports.yolo(tmp_path)
    photo(tmp_path / "images/train/p1.png", 40)
    with pytest.raises(DataError, match="2 images have its name: images/train/p1.jpg"):
        loaded(tmp_path, make_config)


@pytest.mark.parametrize("folder, class_id", [("", "{}"), ("img", "{}"), ("images", "{}.0")])
def test_yolo_labels_find_their_images(folder, class_id, tmp_path, make_config):
    exports.yolo(tmp_path)
    text(tmp_path / "obj.names", "cat\ndog\n")
    for path in (tmp_path / "labels").rglob("*.txt"):
        lines = [line.partition(" ") for line in path.read_text().splitlines()]
        text(path, "".join(f"{class_id.format(n)} {rest}\n" for n, _, rest in lines))
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "images").rename(tmp_path / "moved")
    for split in ("train", "val"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / "moved" / split).rename(tmp_path / folder / split)
    dataset = loaded(tmp_path, make_config)
    assert dataset.class_names == ("background", "cat", "dog")
    assert (len(dataset.labeled), len(dataset.val)) == (3, 3)
    for mask in masks_of(dataset):
        np.testing.assert_array_equal(mask, truth())


def coco_of(root, source, names):
    """COCO annotations in `source` of images with these names; the images are not written."""
    exports.coco(root / "made")
    content = json.loads((root / "made/annotations/instances_default.json").read_text())
    for image, name in zip(content["images"], names, strict=True):
        image["file_name"] = name
    text(root / source, content)
    for path in sorted((root / "made").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (root / "made").rmdir()


@pytest.mark.parametrize("source, name, images", [
    ("train.json", "p{}.jpg", ["test/p{}.jpg"]),
    ("a.json", "train/p{}.jpg", ["test/p{}.jpg"]),
    ("a.json", "north/p{}.jpg", ["images/south/p{}.jpg", "images/north/q{}.jpg"]),
])  # fmt: skip
def test_images_of_another_folder_are_not_taken(source, name, images, tmp_path):
    coco_of(tmp_path, source, [name.format(n) for n in range(4)])
    for form in images:
        for number in range(4):
            photo(tmp_path / form.format(number), number)
    with pytest.raises(DataError, match="4 annotated images do not exist"):
        describe_folder(str(tmp_path))


@pytest.mark.parametrize("name", ["C:\\train\\p{}.jpg", "/home/me/train/p{}.jpg", "p{}.bmp"])
def test_folders_of_another_machine_and_other_endings(name, tmp_path, make_config):
    coco_of(tmp_path, "a.json", [name.format(n) for n in range(4)])
    for number in range(4):
        photo(tmp_path / f"images/p{number}.jpg", number)
        photo(tmp_path / f"masks/p{number}.png", number)
    for mask in masks_of(loaded(tmp_path, make_config)):
        np.testing.assert_array_equal(mask, truth())


def test_annotations_describe_the_images_next_to_them(tmp_path, make_config):
    for site in ("a", "b"):
        exports.labelme(tmp_path / site)
        (tmp_path / site / "json").mkdir()
        for path in (tmp_path / site).glob("*.json"):
            path.rename(path.parent / "json" / path.name)
    (tmp_path / "b/json/p0.json").unlink()
    dataset = loaded(tmp_path, make_config)
    assert [*dataset.unlabeled.ids] == ["b/p0"]
    assert len(dataset.labeled) + len(dataset.val) == 7


def test_points_that_are_no_numbers(tmp_path, make_config):
    exports.coco(tmp_path)
    path = tmp_path / "annotations/instances_default.json"
    change(path, lambda c: c["annotations"][0].update(segmentation=[[float("nan")] * 6]))
    with pytest.raises(DataError, match="p0.jpg: annotation 0.*a point is not finite"):
        loaded(tmp_path, make_config)


def test_numbered_labels_of_old_labelme(tmp_path, make_config):
    exports.labelme(tmp_path)
    for number, path in enumerate(sorted(tmp_path.glob("*.json"))):
        change(path, lambda c, n=number: c["shapes"][0].update(label=f"cat-{1 + n % 2}"))
    dataset = loaded(tmp_path, make_config)
    assert dataset.class_names == ("background", "cat", "dog")
    for mask in masks_of(dataset):
        np.testing.assert_array_equal(mask, truth())
    (tmp_path / "labels.txt").unlink()
    with pytest.raises(DataError, match="labels cat-1, cat-2 may be classes, or objects"):
        loaded(tmp_path, make_config)
    text(tmp_path / "labels.txt", "cat-1\ncat-2\ndog\n")
    assert loaded(tmp_path, make_config).class_names == ("background", "cat-1", "cat-2", "dog")


def test_rectangles_alone_are_named(tmp_path, make_config):
    exports.labelme(tmp_path)
    boxes = [([a, b], [c - 1, d - 1]) for a, b, c, d in (CAT, DOG)]
    for path in tmp_path.glob("*.json"):
        change(path, lambda c: [one.update(shape_type="rectangle", points=box)
                                for one, box in zip(c["shapes"], boxes, strict=True)])  # fmt: skip
    dataset = loaded(tmp_path, make_config)
    assert any("all 8 shapes are rectangles" in warning for warning in dataset.warnings)
    # One polygon shows that areas were meant.
    change(tmp_path / "p0.json", lambda c: c["shapes"][0].update(
        shape_type="polygon", points=corners((*CAT[:2], CAT[2] - 1, CAT[3] - 1))))  # fmt: skip
    dataset = loaded(tmp_path, make_config)
    assert not any("rectangles" in warning for warning in dataset.warnings)
    for mask in masks_of(dataset):
        np.testing.assert_array_equal(mask, truth())


def test_labelme_that_names_its_own_file(tmp_path, make_config):
    exports.labelme(tmp_path)
    change(tmp_path / "p1.json", lambda content: content.update(imagePath="p1.json"))
    for mask in masks_of(loaded(tmp_path, make_config)):
        np.testing.assert_array_equal(mask, truth())


def test_folders_that_labelme_wrote_next_to_its_files(tmp_path, make_config):
    exports.labelme(tmp_path)
    for number in range(4):
        photo(tmp_path / f"p{number}_json/img.png", number)
        exports.mask(tmp_path / f"p{number}_json/label.png", truth())
        text(tmp_path / f"p{number}_json/label_names.txt", "_background_\ncat\ndog\n")
    dataset = loaded(tmp_path, make_config)
    assert len(dataset.labeled) + len(dataset.val) == 4 and not len(dataset.unlabeled)
    assert any("4 images of labelme_json_to_dataset are not used" in n for n in dataset.notes)


def test_masks_are_no_unlabeled_photos(tmp_path, make_config):
    exports.labelme(tmp_path)
    photo(tmp_path / "other/img.png", 9)
    exports.mask(tmp_path / "other/label.png", truth())
    dataset = loaded(tmp_path, make_config)
    assert dataset.unlabeled.ids == ("other/img",)
    assert any("1 masks next to photos are not used: other/label.png" in n for n in dataset.notes)


def test_labelme_next_to_its_photo_names_a_former_folder(tmp_path, make_config):
    exports.labelme(tmp_path / "now")
    photo(tmp_path / "raw/q.png", 9)
    for path in (tmp_path / "now").glob("*.json"):
        change(path, lambda c: c.update(imagePath=f"..\\raw\\{c['imagePath']}"))
    dataset = loaded(tmp_path, make_config)
    assert len(dataset.labeled) + len(dataset.val) == 4
    for mask in masks_of(dataset):
        np.testing.assert_array_equal(mask, truth())


@pytest.mark.parametrize("name", ["coco", "yolo"])
def test_boxes_that_were_converted_to_polygons_are_named(name, tmp_path, make_config):
    getattr(exports, name)(tmp_path)
    if name == "coco":
        path = tmp_path / "annotations/instances_default.json"
        box = [float(v) for point in corners(DOG) for v in point]
        content = json.loads(path.read_text())
        for one in content["annotations"]:
            if one["category_id"] == 60:
                one.update(segmentation=[box], iscrowd=0)
        text(path, content)
    dataset = loaded(tmp_path, make_config)
    assert any(re.search(r"all \d+ shapes are rectangles", w) for w in dataset.warnings)
    if name == "coco":
        change(path, lambda c: c["annotations"][0].update(segmentation=[[2, 3, 9, 3, 9, 8]]))
    else:
        text(tmp_path / "labels/train/p0.txt", "0 0.1 0.1 0.5 0.1 0.5 0.5\n")
    dataset = loaded(tmp_path, make_config)
    assert any(re.search(r"\d+ of \d+ shapes are rectangles", w) for w in dataset.warnings)


@pytest.mark.parametrize("points, expected", [
    ([[0, 0], [4, 0], [4, 2], [0, 2]], True),
    ([[2, 0], [4, 2], [2, 4], [0, 2]], True),
    ([[0, 0], [4, 0], [5, 2], [0, 2]], False),
    ([[0, 0], [4, 0], [4, 2]], False),
])  # fmt: skip
def test_rectangles_by_their_corners(points, expected):
    assert is_rectangle(points) is expected


def test_photos_inside_labelme_files_are_named(tmp_path):
    exports.labelme(tmp_path)
    for path in list(tmp_path.rglob("*.json")):
        change(path, lambda c: c.update(imageData="/9j/4AAQ"))
    for path in [*tmp_path.rglob("*.jpg"), *tmp_path.rglob("*.png")]:
        path.unlink()
    with pytest.raises(DataError, match="hold their photo themselves .*labelme_export_json"):
        describe_folder(str(tmp_path))


@pytest.mark.parametrize("label", ["", "null", "missing"])
def test_a_shape_without_a_label_is_no_class(label, tmp_path):
    if label == "null":
        exports.labelme(tmp_path)
        path = next(path for path in sorted(tmp_path.rglob("*.json")))
        change(path, lambda content: content["shapes"][0].update(label=None))
    else:
        exports.cvat_xml(tmp_path)
        path = tmp_path / "annotations.xml"
        named = 'label="cat"'
        path.write_text(path.read_text().replace(named, 'label=""' * (label == ""), 1))
    with pytest.raises(DataError, match=rf"{path.name}: a shape of \S*p0.* has no label"):
        describe_folder(str(tmp_path))


def test_coco_without_annotations_is_not_said_to_hold_boxes(tmp_path):
    photo(tmp_path / "images/p0.jpg", 0)
    text(tmp_path / "all.json", {"images": [], "annotations": [], "categories": []})
    with pytest.raises(DataError, match=r"no annotation in all\.json; expected polygons"):
        describe_folder(str(tmp_path))


def test_two_masks_of_a_validation_image_name_the_key_of_validation(tmp_path, make_config):
    for split in ("train", "val"):
        for version in ("v1.2", "v2.0"):
            for number in range(2):
                photo(tmp_path / f"{split}/images/{number}.jpg", number + 2 * (split == "val"))
                exports.mask(tmp_path / f"{split}/{version}/labels/{number}.png", truth())
    keys = {"folder.train_masks": "train/v1.2/labels"}
    found = describe_folder(str(tmp_path), keys)
    with pytest.raises(DataError, match="2 masks for id '0'.*or set data.folder.val_masks to one"):
        load_dataset(make_config(**{"labeled": "", "unlabeled": "", "val": "", **found}), 0)
