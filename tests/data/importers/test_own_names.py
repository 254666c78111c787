"""One annotation file per image: renamed pairs, copies, and names of video frames."""

import json

import numpy as np
import pytest

from ipixmatch_jax.data.importers import read_folder
from tests.references.exports import CAT, DOG, corners, photo, text, truth


def points(box):
    left, top, right, bottom = box
    return corners((left, top, right - 1, bottom - 1))


def isat(image):
    objects = [
        {"category": name, "segmentation": points(box), "layer": 1.0}
        for name, box in (("cat", CAT), ("dog", DOG))
    ]
    info = {"description": "ISAT", "name": image, "width": 32, "height": 24}
    return json.dumps({"info": info, "objects": objects})


def voc(image):
    objects = ""
    for name, box in (("cat", CAT), ("dog", DOG)):
        drawn = "".join(f"<x{n}>{x + 1}</x{n}><y{n}>{y + 1}</y{n}>"
                        for n, (x, y) in enumerate(points(box), start=1))  # fmt: skip
        objects += f"<object><name>{name}</name><polygon>{drawn}</polygon></object>"
    size = "<size><width>32</width><height>24</height></size>"
    return f"<annotation><filename>{image}</filename>{size}{objects}</annotation>"


def labelme(image):
    shapes = [
        {"label": name, "points": points(box), "shape_type": "polygon"}
        for name, box in (("cat", CAT), ("dog", DOG))
    ]
    return json.dumps({"shapes": shapes, "imagePath": image, "imageHeight": 24, "imageWidth": 32})


FORMATS = pytest.mark.parametrize(
    ("write", "ending"),
    [(isat, "json"), (voc, "xml"), (labelme, "json")],
    ids=["isat", "voc", "labelme"],
)  # fmt: skip


@FORMATS
@pytest.mark.parametrize("folder", ["images", "labels"])
def test_pairs_that_were_renamed_together_are_read(write, ending, folder, tmp_path):
    for number in range(3):
        photo(tmp_path / f"images/new{number}.jpg", number)
        text(tmp_path / f"{folder}/new{number}.{ending}", write(f"old{number}.jpg"))
    found = read_folder(tmp_path, {})[2]
    assert len(found.items) == 3 and not found.problems
    np.testing.assert_array_equal(found.items[0].mask.draw(), truth())
    assert any("read for the image with their own name" in note for note in found.notes)


@FORMATS
@pytest.mark.parametrize("folder", ["images", "labels"])
def test_a_file_that_names_another_image_than_its_own_is_a_problem(write, ending, folder, tmp_path):
    # Renumbered from 0 on; the names inside are still those from 1 on.
    for number in range(4):
        photo(tmp_path / f"images/p{number}.jpg", number)
        text(tmp_path / f"{folder}/p{number}.{ending}", write(f"p{number + 1}.jpg"))
    found = read_folder(tmp_path, {})[2]
    assert sum("expected the annotation of the image with the same name" in one
               for one in found.problems) == 3  # fmt: skip
    for number in range(4):
        text(tmp_path / f"{folder}/p{number}.{ending}", write(f"p{number}.jpg"))
    assert not read_folder(tmp_path, {})[2].problems


def test_names_of_frames_without_ending_may_have_dots(tmp_path):
    images = ""
    for number in range(3):
        photo(tmp_path / f"images/scene.00{number}.jpg", number)
        shape = f'<polygon label="cat" points="{number},2;9,2;9,9"/>'
        images += f'<image name="scene.00{number}" width="32" height="24">{shape}</image>'
    body = f"<annotations><version>1.1</version><meta/>{images}</annotations>"
    text(tmp_path / "annotations.xml", body)
    # Without the dot it would be the only image of that name.
    photo(tmp_path / "images/scene.jpg", 9)
    found = read_folder(tmp_path, {})[2]
    assert sorted(item.id for item in found.items if item.mask) == [
        "scene.000", "scene.001", "scene.002"
    ]  # fmt: skip


@pytest.mark.parametrize("label", ["don't care", "DontCare", "ignore_region", "__ignore__"])
def test_labels_to_ignore_have_several_spellings(label, tmp_path):
    photo(tmp_path / "images/p0.jpg")
    text(tmp_path / "images/p0.json", labelme("p0.jpg").replace('"dog"', json.dumps(label)))
    found = read_folder(tmp_path, {})[2]
    assert found.classes.names == ("background", "cat")
    assert set(np.unique(found.items[0].mask.draw())) == {0, 1, 255}


@pytest.mark.parametrize("label", ["void", "Unlabeled", "_void_"])
def test_labels_that_may_mean_no_class_are_said(label, tmp_path):
    photo(tmp_path / "images/p0.jpg")
    text(tmp_path / "images/p0.json", labelme("p0.jpg").replace('"dog"', json.dumps(label)))
    found = read_folder(tmp_path, {})[2]
    assert any(f"label {label} is a class like the others" in one for one in found.warnings)
