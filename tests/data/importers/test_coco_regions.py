"""Regions of COCO files as tools write them: holes, marks of crowds, and exchanged axes."""

import json

import numpy as np
import pytest

from ipixmatch_jax.data.importers import read_folder
from ipixmatch_jax.errors import DataError
from tests.references import exports
from tests.references.exports import SIZE, photo, runs, text

OUTER, INNER = (4, 3, 28, 21), (8, 7, 20, 15)


def corners(box):
    return [float(v) for point in exports.corners(box) for v in point]


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def pixels(*boxes):
    """1 in the first box, 2 in the second and so on, uint8 [H,W]."""
    ids = np.zeros(SIZE, np.uint8)
    for number, (left, top, right, bottom) in enumerate(boxes, start=1):
        ids[top:bottom, left:right] = number
    return ids


def drawn(root, *annotations):
    """The class ids that a file of one image with these annotations gives."""
    photo(root / "images/p.png")
    image = {"id": 1, "file_name": "p.png", "height": SIZE[0], "width": SIZE[1]}
    entries = [{"id": n, "image_id": 1, **one} for n, one in enumerate(annotations)]
    categories = [{"id": 1, "name": "sofa"}, {"id": 2, "name": "cat"}]
    content = {"images": [image], "annotations": entries, "categories": categories}
    text(root / "annotations.json", json.dumps(content))
    _, _, found = read_folder(root, {})
    return found.items[0].mask.draw()


def test_a_polygon_inside_another_is_a_hole_if_the_area_says_so(tmp_path):
    both = {"category_id": 1, "segmentation": [corners(OUTER), corners(INNER)]}
    ring = pixels(OUTER)
    ring[INNER[1] : INNER[3], INNER[0] : INNER[2]] = 0
    hollow = drawn(tmp_path / "hole", {**both, "area": area(OUTER) - area(INNER)})
    np.testing.assert_array_equal(hollow, ring)
    # COCO's own rule unites the polygons of an object.
    for stated in (area(OUTER), area(OUTER) + area(INNER), None):
        full = drawn(tmp_path / str(stated), {**both, "area": stated})
        np.testing.assert_array_equal(full, pixels(OUTER))


@pytest.mark.parametrize("stated", [None, 0, (28 - 4) * (21 - 3)])
def test_without_an_area_holes_run_the_other_way_round(stated, tmp_path):
    # The area of the box says nothing either.
    inner = [value for point in exports.corners(INNER)[::-1] for value in point]
    box = [OUTER[0], OUTER[1], OUTER[2] - OUTER[0], OUTER[3] - OUTER[1]]
    both = {"category_id": 1, "segmentation": [corners(OUTER), inner], "area": stated, "bbox": box}
    ring = pixels(OUTER)
    ring[INNER[1] : INNER[3], INNER[0] : INNER[2]] = 0
    np.testing.assert_array_equal(drawn(tmp_path / "hole", both), ring)
    both["segmentation"] = [corners(OUTER), corners(INNER)]
    np.testing.assert_array_equal(drawn(tmp_path / "part", both), pixels(OUTER))
    said = [text for text in read_folder(tmp_path / "part", {})[2].warnings if "holes" in text]
    assert len(said) == 1 and "1 of 1 objects" in said[0]
    assert not any("holes" in text for text in read_folder(tmp_path / "hole", {})[2].warnings)
    # Parts side by side are no doubt.
    both["segmentation"] = [corners(OUTER), corners((29, 1, 31, 3))]
    drawn(tmp_path / "beside", both)
    assert not any("holes" in text for text in read_folder(tmp_path / "beside", {})[2].warnings)


def test_brush_strokes_that_cvat_marks_as_crowds_lie_above_larger_objects(tmp_path):
    stroke = {"size": list(SIZE), "counts": runs(INNER)}
    ids = drawn(
        tmp_path,
        {"category_id": 1, "segmentation": [corners(OUTER)], "area": area(OUTER), "iscrowd": 0},
        {"category_id": 2, "segmentation": stroke, "area": area(INNER), "iscrowd": 1},
    )
    np.testing.assert_array_equal(ids, pixels(OUTER, INNER))


def exchanged(kind, box):
    """The region of a box with rows and columns exchanged, as some converters write it."""
    if kind == "polygons":
        return [corners((box[1], box[0], box[3], box[2]))]
    rows = (pixels(box) > 0).ravel()
    edges = np.flatnonzero(np.diff(rows.astype(int))) + 1
    return {"size": list(SIZE), "counts": np.diff([0, *edges, rows.size]).tolist()}


@pytest.mark.parametrize("kind", ["polygons", "run lengths"])
def test_rows_and_columns_that_were_exchanged_are_refused(kind, tmp_path):
    boxes = [(2, 10, 8, 14), (5, 2, 15, 5), (20, 12, 23, 20), (12, 15, 18, 22)]

    def one(box, segmentation):
        left, top, right, bottom = box
        return {"category_id": 1, "area": area(box), "segmentation": segmentation,
                "bbox": [left, top, right - left, bottom - top]}  # fmt: skip

    with pytest.raises(DataError, match="rows and columns are exchanged"):
        drawn(tmp_path / "wrong", *(one(box, exchanged(kind, box)) for box in boxes))
    # A single odd box is none of the file's doing, nor are boxes in another form.
    right = [one(box, [corners(box)]) for box in boxes]
    drawn(tmp_path / "mixed", *right, one(boxes[0], exchanged(kind, boxes[0])))
    drawn(tmp_path / "forms", *({**one, "bbox": one["bbox"][::-1]} for one in right))
