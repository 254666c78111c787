"""Annotation files per folder of images, and in other encodings than UTF-8."""

import json

import numpy as np
import pytest

from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.importers import read_folder
from ipixmatch_jax.errors import DataError
from tests.data.importers.test_formats import all_masks, loaded
from tests.data.importers.test_left_by_people import cache  # noqa: F401  (a fixture)
from tests.references.exports import CAT, DOG, coco, corners, photo, text, truth


def site(root, name, source, count=3, seed=0, images="images/{}", **content):
    """A COCO file of images in a folder of their own; all folders have the same file names."""
    entries, listed = [], []
    for n in range(count):
        photo(root / images.format(name) / f"{n}.jpg", seed + n)
        listed.append({"id": n, "file_name": f"{n}.jpg", "height": 24, "width": 32})
        for category, box in ((1, CAT), (2, DOG)):
            polygon = [float(v) for point in corners(box) for v in point]
            entries.append({"id": len(entries), "image_id": n, "category_id": category,
                            "iscrowd": 0, "area": 1, "segmentation": [polygon]})  # fmt: skip
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    text(root / source, {"images": listed, "annotations": entries, "categories": categories})


@pytest.mark.parametrize("source", [
    "annotations/{}.json", "annotations/instances_{}.json", "{}_annotations.json",
    "annotations/{}/instances_default.json", "coco/{}.coco.json",
])  # fmt: skip
def test_a_coco_file_for_each_folder_of_images(source, tmp_path, make_config):
    for number, name in enumerate(("siteA", "site B")):
        site(tmp_path, name, source.format(name), seed=10 * number)
    dataset = loaded(tmp_path, make_config)
    masks = all_masks(dataset)
    assert len(masks) == 6
    for found in masks:
        np.testing.assert_array_equal(found, truth())
    assert {i.id for i in read_folder(tmp_path, {})[2].items} == {
        f"{name}/{n}" for name in ("siteA", "site B") for n in range(3)
    }


def test_a_file_of_via_for_each_folder_of_images(tmp_path, make_config):
    for number, name in enumerate(("siteA", "siteB")):
        entries = {}
        for n in range(3):
            photo(tmp_path / f"images/{name}/{n}.jpg", 10 * number + n)
            regions = []
            for label, (left, top, right, bottom) in (("cat", CAT), ("dog", DOG)):
                size = {"width": right - left - 1, "height": bottom - top - 1}
                shape = {"name": "rect", "x": left, "y": top, **size}
                regions.append({"shape_attributes": shape, "region_attributes": {"kind": label}})
            entries[f"{n}.jpg99"] = {"filename": f"{n}.jpg", "size": 99, "regions": regions}
        text(tmp_path / f"annotations/via_region_data_{name}.json", entries)
    masks = all_masks(loaded(tmp_path, make_config))
    assert len(masks) == 6 and all((found == truth()).all() for found in masks)


def test_an_image_of_another_folder_is_not_taken(tmp_path):
    """annotations/siteA.json names 2.jpg, which lies in images/siteB alone."""
    site(tmp_path, "siteA", "annotations/siteA.json")
    for n in range(3):
        photo(tmp_path / f"images/siteB/{n}.jpg", 20 + n)
    (tmp_path / "images/siteA/2.jpg").unlink()
    found = read_folder(tmp_path, {})[2]
    assert [i.id for i in found.items if i.mask is not None] == ["siteA/0", "siteA/1"]
    assert any("1 annotated images do not exist: 2.jpg" in line for line in found.warnings)


def test_a_file_that_names_no_folder_stays_ambiguous(tmp_path, make_config):
    site(tmp_path, "siteA", "annotations/first.json")
    site(tmp_path, "siteB", "annotations/second.json", seed=10)
    with pytest.raises(DataError, match="2 images fit '0.jpg' of the annotations"):
        loaded(tmp_path, make_config)


def labelme(path, image, labels=("cat", "dog")):
    """A LabelMe file as a dict; polygons include their last row and column."""
    shapes = [{"label": label, "points": corners((a, b, c - 1, d - 1)), "shape_type": "polygon"}
              for label, (a, b, c, d) in zip(labels, (CAT, DOG), strict=True)]  # fmt: skip
    content = {"version": "3.16.7", "shapes": shapes, "imagePath": image, "imageData": None}
    path.parent.mkdir(parents=True, exist_ok=True)
    return content


@pytest.mark.parametrize("source", ["json/{}/{}.json", "{}/json/{}.json"])
def test_labelme_files_for_each_folder_of_images(source, tmp_path, make_config):
    images = "images/{}/{}.jpg" if source.startswith("json") else "{}/images/{}.jpg"
    for number, name in enumerate(("siteA", "siteB")):
        for n in range(3):
            photo(tmp_path / images.format(name, n), 10 * number + n)
            path = tmp_path / source.format(name, n)
            text(path, labelme(path, f"{n}.jpg"))
    masks = all_masks(loaded(tmp_path, make_config))
    assert len(masks) == 6 and all((found == truth()).all() for found in masks)
    (tmp_path / images.format("siteA", 1)).unlink()
    found = read_folder(tmp_path, {})[2]
    assert any("1 annotated images do not exist: 1.jpg" in line for line in found.warnings)


def write(path, content, encoding):
    path.write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("tool", ["labelme", "coco"])
def test_unicode_of_every_form(tool, encoding, tmp_path, make_config):
    if tool == "coco":
        coco(tmp_path)
    for n in range(4) if tool == "labelme" else ():
        photo(tmp_path / f"p{n}.png", n)
        text(tmp_path / f"p{n}.json", labelme(tmp_path / f"p{n}.json", f"p{n}.png"))
    for path in tmp_path.rglob("*.json"):
        content = path.read_text().replace('"cat"', '"Kätzchen 猫"')
        write(path, json.loads(content), encoding)
    dataset = loaded(tmp_path, make_config)
    names = ("background", "Kätzchen 猫", "dog")
    assert sorted(dataset.class_names) == sorted(names)
    order = [names.index(name) for name in dataset.class_names]
    for found in all_masks(dataset):
        np.testing.assert_array_equal(np.array(order)[found], truth())


@pytest.mark.parametrize("page, image, labels", [
    ("gbk", "照片{}.png", ("cat", "dog")), ("gbk", "照片{}.png", ("猫", "狗")),
    ("cp1252", "Größe{}.png", ("Kätzchen", "Hund")), ("cp932", "写真ソ{}.png", ("cat", "dog")),
])  # fmt: skip
def test_labelme_of_windows_with_an_image_that_tells_the_code_page(
    page, image, labels, tmp_path, make_config
):
    for n in range(4):
        photo(tmp_path / image.format(n), n)
        path = tmp_path / f"{image.format(n).removesuffix('.png')}.json"
        write(path, labelme(path, image.format(n), labels), page)
    dataset = loaded(tmp_path, make_config)
    names = ("background", *labels)
    assert sorted(dataset.class_names) == sorted(names)
    order = np.array([names.index(name) for name in dataset.class_names])
    for found in all_masks(dataset):
        np.testing.assert_array_equal(order[found], truth())
    assert any(
        "4 LabelMe files are not UTF-8" in line for line in read_folder(tmp_path, {})[2].notes
    )


def test_labelme_of_windows_with_a_renamed_image(tmp_path, make_config):
    """The labels are plain, and imagePath names no image: that next to the file is meant."""
    for n in range(4):
        photo(tmp_path / f"p{n}.png", n)
        write(tmp_path / f"p{n}.json", labelme(tmp_path / f"p{n}.json", f"照片{n}.png"), "gbk")
    masks = all_masks(loaded(tmp_path, make_config))
    assert len(masks) == 4 and all((found == truth()).all() for found in masks)


@pytest.mark.parametrize("page, label", [("cp1252", "Kätzchen"), ("gbk", "树木")])
def test_labels_in_an_unknown_code_page_are_refused(page, label, tmp_path):
    for n in range(4):
        photo(tmp_path / f"p{n}.png", n)
        path = tmp_path / f"p{n}.json"
        write(path, labelme(path, f"p{n}.png", (label, "dog")), page)
    with pytest.raises(DataError) as error:
        describe_folder(str(tmp_path))
    assert "p0.json: not UTF-8" in str(error.value) and f"{label!r} in {page}" in str(error.value)
    assert "save it again as UTF-8" in str(error.value)


def test_coco_in_a_code_page_is_refused(tmp_path):
    coco(tmp_path)
    path = tmp_path / "annotations/instances_default.json"
    write(path, json.loads(path.read_text().replace('"cat"', '"Kätzchen"')), "cp1252")
    with pytest.raises(DataError, match="not UTF-8 .*'Kätzchen' in cp1252"):
        describe_folder(str(tmp_path))
