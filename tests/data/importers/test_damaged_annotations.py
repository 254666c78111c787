"""Annotation files that are cut, empty or incomplete, next to others that are whole."""

import json
import re

import numpy as np
import pytest

from ipixmatch_jax.data.importers import read_folder
from ipixmatch_jax.errors import DataError
from tests.references.exports import CAT, DOG, corners, photo, text, truth


def via(numbers, attributes=True):
    entries = {}
    for number in numbers:
        regions = []
        for name, (left, top, right, bottom) in (("cat", CAT), ("dog", DOG)):
            points = corners((left, top, right - 1, bottom - 1))
            shape = {"name": "polygon", "all_points_x": [x for x, _ in points],
                     "all_points_y": [y for _, y in points]}  # fmt: skip
            regions.append({"shape_attributes": shape, "region_attributes": {"class": name}})
        if not attributes:
            regions[0]["region_attributes"] = {}
        entries[f"p{number}.jpg1"] = {"filename": f"p{number}.jpg", "size": 1, "regions": regions,
                                      "file_attributes": {}}  # fmt: skip
    return entries


def via_csv(numbers):
    lines = ["filename,region_shape_attributes,region_attributes"]
    for entry in via(numbers).values():
        for region in entry["regions"]:
            cells = (json.dumps(region[key]).replace('"', '""')
                     for key in ("shape_attributes", "region_attributes"))  # fmt: skip
            lines.append(f"{entry['filename']}," + ",".join(f'"{cell}"' for cell in cells))
    return "\n".join(lines)


def coco(numbers):
    boxes = enumerate((CAT, DOG), start=1)
    regions = [(k, [float(v) for point in corners(box) for v in point]) for k, box in boxes]
    return {
        "images": [{"id": n, "file_name": f"p{n}.jpg", "height": 24, "width": 32} for n in numbers],
        "annotations": [
            {"id": 2 * n + k, "image_id": n, "category_id": k, "segmentation": [region]}
            for n in numbers
            for k, region in regions
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


def photos(root, count=4):
    for number in range(count):
        photo(root / f"images/p{number}.jpg", number)


def labeled(found):
    return sorted(item.id for item in found.items if item.mask)


@pytest.mark.parametrize("kept", [0, 40])
def test_a_second_file_that_is_cut_or_empty_is_said(kept, tmp_path):
    photos(tmp_path)
    text(tmp_path / "a.json", coco((0, 1)))
    text(tmp_path / "b.json", json.dumps(coco((2, 3)))[:kept])
    found = read_folder(tmp_path, {})[2]
    assert labeled(found) == ["p0", "p1"]
    said = [one for one in found.warnings if "empty or end in the middle" in one]
    assert len(said) == 1 and "b.json" in said[0]


@pytest.mark.parametrize("content", ["{}\n", "[1, 2]  ", '{"a": 1}\n{"a": 2}\n', "﻿{}"])
def test_whole_files_of_other_programs_are_no_damage(content, tmp_path):
    photos(tmp_path)
    text(tmp_path / "a.json", coco((0, 1)))
    text(tmp_path / "other.json", content)
    (tmp_path / "wide.json").write_bytes("{}".encode("utf-16"))
    assert not [one for one in read_folder(tmp_path, {})[2].warnings if "middle" in one]


def test_a_damaged_file_of_via_is_refused_next_to_whole_ones(tmp_path):
    photos(tmp_path)
    text(tmp_path / "a.json", via((0, 1)))
    text(tmp_path / "b.json", json.dumps(via((2, 3)))[:-9])
    with pytest.raises(DataError, match=r"b\.json: cannot be read as JSON"):
        read_folder(tmp_path, {})


def test_the_only_file_tells_what_is_wrong_with_it(tmp_path):
    photos(tmp_path)
    path = tmp_path / "project.json"
    text(path, json.dumps(via((0, 1)))[:-1] + ",}")
    with pytest.raises(DataError, match=r"project\.json: cannot be read as JSON"):
        read_folder(tmp_path, {})
    path.unlink()
    (tmp_path / "project.xml").write_bytes("<annotations/>".encode("utf-16"))
    with pytest.raises(DataError, match="project.xml, which begins with '<annotations/>'"):
        read_folder(tmp_path, {})
    (tmp_path / "project.xml").write_bytes(b"")
    with pytest.raises(DataError, match=r"project\.xml is empty"):
        read_folder(tmp_path, {})


def test_tables_of_other_images_than_those_of_the_json_are_read(tmp_path):
    photos(tmp_path)
    text(tmp_path / "a.json", via((0, 1)))
    text(tmp_path / "b.csv", via_csv((1, 2, 3)))
    found = read_folder(tmp_path, {})[2]
    assert labeled(found) == ["p0", "p1", "p2", "p3"] and not found.problems


def test_a_region_without_attributes_among_others_is_refused(tmp_path):
    photos(tmp_path)
    text(tmp_path / "a.json", via((0, 1)) | via((2,), attributes=False))
    with pytest.raises(DataError, match=r"such as p2\.jpg, have no attribute"):
        read_folder(tmp_path, {})


def test_jobs_that_list_all_images_annotate_only_their_own(tmp_path):
    photos(tmp_path)
    first, second = coco(range(4)), coco(range(4))
    first["annotations"] = [one for one in first["annotations"] if one["image_id"] < 2]
    second["annotations"] = [one for one in second["annotations"] if one["image_id"] > 1]
    text(tmp_path / "job_1.json", first)
    text(tmp_path / "job_2.json", second)
    found = read_folder(tmp_path, {})[2]
    assert labeled(found) == ["p0", "p1", "p2", "p3"] and not found.problems
    assert any(re.match("4 images are listed once more", note) for note in found.notes)
    np.testing.assert_array_equal(found.items[0].mask.draw(), truth())
    text(tmp_path / "job_2.json", coco(range(4)))
    assert any("annotated twice" in one for one in read_folder(tmp_path, {})[2].problems)
