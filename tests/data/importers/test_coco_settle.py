"""COCO JSON that people and small converters write: ids as texts, areas left out, other lists."""

import numpy as np
import pytest

from ipixmatch_jax.data.importers import read_folder
from ipixmatch_jax.errors import DataError
from tests.references import exports
from tests.references.exports import CAT, DOG, SIZE, photo, runs, text, truth

NAMES = ("cat", "dog")


def flat(box):
    return [float(value) for point in exports.corners(box) for value in point]


def content(**changes):
    """Two images, each with a cat and a dog."""
    images = [{"id": n, "file_name": f"p{n}.png", "height": 24, "width": 32} for n in range(2)]
    annotations = [
        {"id": 2 * n + k, "image_id": n, "category_id": k + 1, "segmentation": [flat(box)]}
        for n in range(2)
        for k, box in enumerate((CAT, DOG))
    ]
    categories = [{"id": k, "name": name} for k, name in enumerate(NAMES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories} | changes


def read(root, found):
    for number in range(2):
        photo(root / f"images/p{number}.png", number)
    text(root / "annotations.json", found)
    return read_folder(root, {})[2]


def drawn(root, found):
    result = read(root, found)
    return [item.mask.draw() for item in result.items if item.mask]


def each(found, **changes):
    for annotation in found["annotations"]:
        for key, change in changes.items():
            annotation[key] = change(annotation.get(key))
    return found


def points(polygons):
    return np.reshape(polygons[0], (-1, 2)).tolist()


@pytest.mark.parametrize(
    "changes",
    [
        {"image_id": str},
        {"category_id": str},
        {"segmentation": lambda polygons: polygons[0]},
        {"segmentation": points},
        {"segmentation": lambda polygons: [points(polygons)]},
    ],
    ids=["image ids", "category ids", "no outer list", "pairs", "lists of pairs"],
)
def test_other_forms_of_one_meaning_are_read(changes, tmp_path):
    for ids in drawn(tmp_path, each(content(), **changes)):
        np.testing.assert_array_equal(ids, truth())


def test_ids_as_texts_keep_the_order_of_their_numbers(tmp_path):
    found = content(categories=[{"id": str(k), "name": f"c{k}"} for k in range(1, 12)])
    assert read(tmp_path, found).classes.names[1:4] == ("c1", "c2", "c3")


@pytest.mark.parametrize("stated", [None, 0, "", "12.5"])
def test_small_objects_stay_visible_without_a_stated_area(stated, tmp_path):
    inner, outer = (8, 7, 20, 15), (4, 3, 28, 21)
    found = content()
    found["annotations"] = [
        {"id": n, "image_id": 0, "category_id": n, "segmentation": [flat(box)], "area": stated}
        for n, box in ((1, inner), (2, outer))
    ]
    if stated == "12.5":
        found["annotations"][1]["area"] = "400"
    ids = drawn(tmp_path, found)[0]
    assert ids[10, 10] == 1 and ids[4, 5] == 2


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"id": 2, "name": "horse"}, "category 2 is 'dog' and 'horse'"),
        ({"id": 3, "name": None}, "category 3 has no name"),
        ({"id": 3, "name": " "}, "category 3 has no name"),
    ],
)
def test_categories_without_a_meaning_are_refused(entry, message, tmp_path):
    found = content()
    found["categories"].append(entry)
    with pytest.raises(DataError, match=message):
        read(tmp_path, found)


@pytest.mark.parametrize("twin", ["Cat", "cat ", "big_cat"])
def test_categories_of_two_spellings_are_refused(twin, tmp_path):
    found = content()
    found["categories"][0]["name"] = twin.replace("_", " ").lower().strip()
    found["categories"].append({"id": 9, "name": twin})
    # A category that no annotation uses does no harm.
    read(tmp_path / "unused", found)
    found["annotations"][0]["category_id"] = 9
    with pytest.raises(DataError, match="differ in case or spaces alone"):
        read(tmp_path / "used", found)


def test_polygons_of_two_points_are_boxes_whose_pixels_are_ignored(tmp_path):
    found = content()
    left, top, right, bottom = CAT
    found["annotations"][0]["segmentation"] = [[left, top, right, bottom]]
    result = read(tmp_path, found)
    ids = result.items[0].mask.draw()
    assert set(ids[top:bottom, left:right].ravel()) == {255}
    assert any("have a box but no region" in text for text in result.warnings)


def test_an_image_without_height_is_refused(tmp_path):
    found = content()
    found["images"][1]["height"] = 0
    with pytest.raises(DataError, match="p1.png has height 0"):
        read(tmp_path, found)


def along_rows(box):
    inside = np.zeros(SIZE, bool)
    inside[box[1] : box[3], box[0] : box[2]] = True
    edges = np.flatnonzero(np.diff(inside.ravel().astype(int))) + 1
    return {"size": list(SIZE), "counts": np.diff([0, *edges, inside.size]).tolist()}


def test_run_lengths_along_the_rows_are_refused_without_boxes_too(tmp_path):
    found = content()
    for annotation, box in zip(found["annotations"], (CAT, DOG, CAT, DOG), strict=True):
        annotation["segmentation"] = along_rows(box)
    with pytest.raises(DataError, match="whole regions along the rows"):
        read(tmp_path / "rows", found)
    for annotation, box in zip(found["annotations"], (CAT, DOG, CAT, DOG), strict=True):
        annotation["segmentation"] = {"size": list(SIZE), "counts": runs(box)}
    assert len(drawn(tmp_path / "columns", found)) == 2
