"""Shapes that lie below others are said: they are drawn in the order of the file."""

import pytest

from ipixmatch_jax.data.importers import read_folder
from ipixmatch_jax.data.importers.covered_shapes import covered_shapes
from tests.references.exports import corners, photo, text

SMALL, LARGE = (10, 8, 18, 14), (4, 3, 28, 21)


def polygon(label, box):
    return label, {"kind": "polygon", "points": corners(box)}


def warned(*shapes, size=(24, 32)):
    return covered_shapes([("p.jpg", size, list(shapes))])


def test_a_shape_below_another_is_said():
    (said,) = warned(polygon("cat", SMALL), polygon("sofa", LARGE))
    assert "1 shapes of 1 images" in said and "cat below sofa in p.jpg" in said
    box = {"kind": "rectangle", "points": [[4, 3], [28, 21]]}
    assert warned(polygon("cat", SMALL), ("sofa", box))
    # Large photos are judged on small copies.
    large = [polygon(label, [100 * value for value in box])
             for label, box in (("cat", SMALL), ("sofa", LARGE))]  # fmt: skip
    assert warned(*large, size=(2400, 3200))


@pytest.mark.parametrize(
    "shapes",
    [
        [polygon("sofa", LARGE), polygon("cat", SMALL)],
        [polygon("cat", SMALL), polygon("cat", LARGE)],
        [polygon("cat", SMALL), polygon("sofa", (12, 8, 28, 21))],
        [polygon("cat", SMALL), polygon("ignore", LARGE)],
        [polygon("background", SMALL), polygon("sofa", LARGE)],
        [polygon("cat", (10, 8, 11, 9)), polygon("cat", SMALL)],
        [polygon("cat", SMALL), ("sofa", {"kind": "polygon", "points": [[float("nan"), 1]]})],
        [("cat", {"kind": "circle", "points": [[3, 3], [5, 5]]}), polygon("sofa", LARGE)],
    ],
)
def test_shapes_that_are_seen_or_do_not_count_are_fine(shapes):
    assert not warned(*shapes)


def test_labelme_files_say_it(tmp_path):
    shapes = [{"label": label, "points": corners(box), "shape_type": "polygon"}
              for label, box in (("cat", SMALL), ("sofa", LARGE))]  # fmt: skip
    for number, own in enumerate((shapes, shapes[::-1])):
        photo(tmp_path / f"p{number}.jpg", number)
        text(tmp_path / f"p{number}.json", {"shapes": own, "imagePath": f"p{number}.jpg"})
    (said,) = (one for one in read_folder(tmp_path, {})[2].warnings if "below" in one)
    assert "cat below sofa in p0.jpg" in said
