"""Classes whose masks lie inside those of others: a tumor in a liver, a cup in a disc."""

import numpy as np
import pytest

from tests.data.importers.test_formats import all_masks, cache, loaded  # noqa: F401  (a fixture)
from tests.references.exports import SIZE, mask, photo


def areas(number, inner=4):
    """The outer and the inner area of an image, as 0 and 1."""
    outer, inside = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    outer[4 + number : 18 + number, 6:24] = 1
    inside[8 + number : 8 + number + inner, 10:20] = 1
    return outer, inside


@pytest.mark.parametrize("form", ["masks/{}/p{}.png", "masks/p{1}_{0}.png"])
@pytest.mark.parametrize("inner", [4, 9])
def test_the_inner_class_lies_above(form, inner, tmp_path, make_config):
    for number in range(4):
        photo(tmp_path / f"images/p{number}.jpg", number)
        for name, area in zip(("liver", "tumor"), areas(number, inner), strict=True):
            mask(tmp_path / form.format(name, number), area * 255)
    dataset = loaded(tmp_path, make_config)
    assert dataset.class_names == ("background", "liver", "tumor")
    assert any("lies inside the other in all images: tumor in liver" in n for n in dataset.notes)
    expected = sorted(sum(areas(number, inner)).tobytes() for number in range(4))
    assert sorted(found.tobytes() for found in all_masks(dataset)) == expected


def test_classes_that_overlap_are_not_nested(tmp_path, make_config):
    for number in range(4):
        photo(tmp_path / f"images/p{number}.jpg", number)
        outer, inner = areas(number)
        inner = np.roll(inner, 7 * (number == 2), axis=1)
        mask(tmp_path / f"masks/liver/p{number}.png", outer * 255)
        mask(tmp_path / f"masks/tumor/p{number}.png", inner * 255)
    dataset = loaded(tmp_path, make_config)
    assert not any("lies inside" in note for note in dataset.notes)
    for found in all_masks(dataset):
        assert (found == 255).any()
