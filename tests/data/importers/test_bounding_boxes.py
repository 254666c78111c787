"""Boxes that detection needs, next to the polygons and masks of the same objects."""

import numpy as np

from ipixmatch_jax.data.importers import read_folder
from tests.references.exports import CAT, DOG, SIZE, photo, text

# A triangle, whose bounding box holds background, too.
POINTS = [[2, 3], [10, 3], [2, 11]]
BOX = (2, 3, 10, 11)


def triangle():
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return (columns >= 2) & (rows >= 3) & (columns - 2 + rows - 3 <= 8)


def cvat(root, *shapes):
    photo(root / "images/p.png")
    image = f'<image id="0" name="p.png" width="{SIZE[1]}" height="{SIZE[0]}">'
    labels = "".join(f"<label><name>{name}</name></label>" for name in ("cat", "dog"))
    meta = f"<version>1.1</version><meta><task><labels>{labels}</labels></task></meta>"
    text(root / "a.xml", f"<annotations>{meta}{image}{''.join(shapes)}</image></annotations>")
    _, _, found = read_folder(root, {})
    return found.items[0].mask.draw(), found.warnings


def polygon(label, points=POINTS):
    joined = ";".join(f"{x},{y}" for x, y in points)
    return f'<polygon label="{label}" points="{joined}" z_order="0"/>'


def box(label, bounds=BOX):
    sides = " ".join(
        f'{k}="{v}"' for k, v in zip(("xtl", "ytl", "xbr", "ybr"), bounds, strict=True)
    )
    return f'<box label="{label}" {sides} z_order="1"/>'


def test_bounding_boxes_of_polygons_are_not_drawn(tmp_path):
    moved = [[x + 14, y] for x, y in POINTS]
    other = (16, 3, 24, 11)
    shapes = polygon("cat"), box("cat"), polygon("dog", moved), box("dog", other)
    drawn, warnings = cvat(tmp_path, *shapes)
    np.testing.assert_array_equal(drawn == 1, triangle())
    np.testing.assert_array_equal(drawn == 2, np.roll(triangle(), 14, 1))
    assert any("2 rectangles are the bounding boxes of polygons" in w for w in warnings)
    assert not any("boxes are drawn" in w for w in warnings)


def test_pixels_in_boxes_of_objects_without_a_polygon_are_ignored(tmp_path):
    shapes = polygon("cat"), box("cat"), box("cat"), box("dog", DOG)
    drawn, warnings = cvat(tmp_path, *shapes)
    left, top, right, bottom = DOG
    np.testing.assert_array_equal(drawn == 1, triangle())
    assert (drawn[top:bottom, left:right] == 255).all() and not (drawn == 2).any()
    assert any("1 rectangles have no polygon or mask of their own" in w for w in warnings)


def test_rectangles_that_are_areas_are_drawn(tmp_path):
    for name, shapes in {
        "alone": (polygon("cat"), box("dog", DOG), box("dog", (1, 16, 9, 22))),
        "other-label": (polygon("cat"), box("dog"), polygon("cat"), box("dog")),
        "single": (polygon("cat"), box("cat"), box("dog", DOG), box("dog", (1, 16, 9, 22))),
    }.items():
        drawn, warnings = cvat(tmp_path / name, *shapes)
        assert (drawn == 2).any() and not (drawn == 255).any()
        assert not any("bounding boxes" in w for w in warnings)


def test_labelme_rectangles_around_polygons(tmp_path):
    for i in range(3):
        photo(tmp_path / f"p{i}.png", i)
        corners = [list(BOX[:2]), list(BOX[2:])]
        shapes = [{"label": "cat", "points": POINTS, "shape_type": "polygon"},
                  {"label": "cat", "points": corners, "shape_type": "rectangle"}]  # fmt: skip
        size = {"imageHeight": SIZE[0], "imageWidth": SIZE[1], "imagePath": f"p{i}.png"}
        text(tmp_path / f"p{i}.json", {"version": "5.2.1", "shapes": shapes, **size})
    _, _, found = read_folder(tmp_path, {})
    np.testing.assert_array_equal(found.items[0].mask.draw(), triangle())


def test_coco_boxes_that_are_written_once_more_without_a_region(tmp_path):
    photo(tmp_path / "p.png")
    left, top, right, bottom = CAT
    bounds = [left, top, right - left, bottom - top]
    corners = [float(v) for v in (left, top, right, top, left, bottom)]
    common = {"image_id": 1, "category_id": 1, "bbox": bounds, "area": 20.0}
    image = {"id": 1, "file_name": "p.png", "height": SIZE[0], "width": SIZE[1]}
    content = {
        "images": [image], "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [{"id": 1, **common, "segmentation": [corners]},
                        {"id": 2, **common, "segmentation": []},
                        {"id": 3, **common, "category_id": 2, "segmentation": [],
                         "bbox": [20, 10, 4, 4]}],
    }  # fmt: skip
    text(tmp_path / "a.json", content)
    _, _, found = read_folder(tmp_path, {})
    drawn = found.items[0].mask.draw()
    assert not (drawn[:9] == 255).any() and (drawn == 1).any()
    assert (drawn[10:14, 20:24] == 255).all()


def test_coco_regions_most_of_which_are_rectangles_are_warned_of(tmp_path):
    # sahi cuts boxes in place of run lengths, next to polygons that it can cut.
    left, top, right, bottom = DOG
    flat = [float(v) for v in (left, top, left, bottom, right, bottom, right, top)]
    image = {"id": 1, "file_name": "p.png", "height": SIZE[0], "width": SIZE[1]}
    for number, count in (("few", 1), ("most", 3)):
        photo(tmp_path / number / "p.png")
        regions = [flat] * count + [[float(v) for point in POINTS for v in point]] * 2
        found = [{"id": i, "image_id": 1, "category_id": 1, "segmentation": [region]}
                 for i, region in enumerate(regions)]  # fmt: skip
        content = {"images": [image], "annotations": found}
        text(tmp_path / number / "a.json", content | {"categories": [{"id": 1, "name": "cat"}]})
        _, _, read = read_folder(tmp_path / number, {})
        warned = [w for w in read.warnings if "3 of 5 shapes are rectangles" in w]
        assert bool(warned) == (number == "most")
