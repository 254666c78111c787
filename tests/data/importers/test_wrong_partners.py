"""Annotations that name another image, label or folder than the one that is meant."""

import json

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data.importers import read_folder
from ipixmatch_jax.errors import DataError
from tests.references.exports import CAT, corners, photo, text


def labelme(image):
    shape = {"label": "cat", "points": corners(CAT), "shape_type": "polygon"}
    return {"shapes": [shape], "imagePath": image, "imageHeight": 24, "imageWidth": 32}


@pytest.mark.parametrize("label", [-1, 2, None])
def test_labels_of_datumaro_beyond_the_list_are_refused(label, tmp_path):
    photo(tmp_path / "images/p0.jpg")
    flat = [value for point in corners(CAT) for value in point]
    shape = {"type": "polygon", "label_id": label, "points": flat, "z_order": 0}
    labels = [{"name": "cat"}, {"name": "dog"}]
    item = {"id": "p0", "annotations": [shape], "image": {"path": "p0.jpg", "size": [24, 32]}}
    content = {"categories": {"label": {"labels": labels}}, "items": [item]}
    text(tmp_path / "annotations/default.json", content)
    with pytest.raises(DataError, match=f"label_id {label} of p0, with 2 labels"):
        read_folder(tmp_path, {})


def test_png_files_of_other_images_in_panoptic_files_are_refused(tmp_path):
    images, annotations = [], []
    for number in range(3):
        photo(tmp_path / f"images/p{number}.jpg", number)
        colors = np.zeros((24, 32, 3), np.uint8)
        colors[2:9, 3:10, 0] = 7
        path = tmp_path / f"panoptic/p{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(colors).save(path)
        images.append({"id": number, "file_name": f"p{number}.jpg", "height": 24, "width": 32})
        segments = [{"id": 7, "category_id": 1, "iscrowd": 0}]
        annotations.append(
            {"image_id": number, "file_name": f"p{number}.png", "segments_info": segments}
        )
    content = {"images": images, "annotations": annotations,
               "categories": [{"id": 1, "name": "void"}]}  # fmt: skip
    text(tmp_path / "panoptic.json", content)
    found = read_folder(tmp_path, {})[2]
    assert sum(item.mask is not None for item in found.items) == 3
    assert any("label void is a class like the others" in one for one in found.warnings)
    for annotation in annotations:
        annotation["image_id"] = (annotation["image_id"] + 1) % 3
    text(tmp_path / "panoptic.json", content)
    with pytest.raises(DataError, match=r"annotation of p1\.jpg names p0\.png"):
        read_folder(tmp_path, {})


def test_xml_of_labelme_that_names_the_next_image_is_a_problem(tmp_path):
    for number in range(3):
        photo(tmp_path / f"Images/a/p{number}.jpg", number)
        corner = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in corners(CAT))
        text(
            tmp_path / f"Annotations/a/p{number}.xml",
            f"<annotation><filename>p{number + 1}.jpg</filename><folder>a</folder><object>"
            f"<name>cat</name><polygon>{corner}</polygon></object>"
            "<imagesize><nrows>24</nrows><ncols>32</ncols></imagesize></annotation>",
        )
    problems = read_folder(tmp_path, {})[2].problems
    assert sum("filename is a/p" in one for one in problems) == 2


def test_files_of_another_program_next_to_photos_are_said(tmp_path):
    for number in range(3):
        photo(tmp_path / f"p{number}.jpg", number)
        text(tmp_path / f"p{number}.json", labelme(f"p{number}.jpg"))
    text(tmp_path / "settings.json", {"theme": "dark"})
    assert not any("name of the photo" in one for one in read_folder(tmp_path, {})[2].warnings)
    text(tmp_path / "p2.json", {"filename": "p2.jpg", "polygons": []})
    (said,) = (one for one in read_folder(tmp_path, {})[2].warnings if "name of the photo" in one)
    assert "1 JSON files" in said and "p2.json" in said


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("cam1", True),
        ("D:\\x\\Cam1", True),
        ("cam2", False),
        ("images", False),
        ("cam2/raw", False),
    ],
)
def test_images_in_a_folder_of_another_number_are_said(named, said, tmp_path):
    for number in range(2):
        photo(tmp_path / f"cam2/p{number}.jpg", number)
        text(tmp_path / f"json/p{number}.json", json.dumps(labelme(f"{named}/p{number}.jpg")))
    found = read_folder(tmp_path, {})[2]
    assert sum(item.mask is not None for item in found.items) == 2
    assert any("of another number" in one for one in found.warnings) == said
