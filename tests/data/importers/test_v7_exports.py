"""What darwin-py, the library of V7, exports besides Darwin JSON."""

import numpy as np
import pytest

from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.importers import read_folder
from ipixmatch_jax.errors import DataError
from tests.references.exports import CAT, DOG, SIZE, corners, mask, photo, text, truth


def test_the_table_of_instance_masks_names_the_class_of_each(tmp_path):
    rows = ["image_id,mask_id,class_name"]
    for i in range(3):
        photo(tmp_path / f"images/p{i}.jpg", i)
        for number, name in enumerate(("cat", "dog")):
            rows.append(f"p{i},p{i}_0000{number},{name}")
            path = tmp_path / f"annotations/masks/p{i}_0000{number}.png"
            mask(path, 255 * (truth() == number + 1))
    text(tmp_path / "annotations/instance_mask_annotations.csv", "\n".join(rows) + "\n")
    _, _, found = read_folder(tmp_path, {})
    assert found.classes.names == ("background", "cat", "dog") and len(found.items) == 3
    for item in found.items:
        np.testing.assert_array_equal(item.mask.draw(), truth())


@pytest.mark.parametrize("values", [(0, 1, 2), (0, 127, 255)])
def test_numbers_in_class_mapping_are_the_stored_values(tmp_path, values):
    rows = [f"{name},{value}" for name, value in zip(("bg", "cat", "dog"), values, strict=True)]
    text(tmp_path / "annotations/class_mapping.csv", "\n".join(["class_name,class_color", *rows]))
    for i in range(3):
        photo(tmp_path / f"images/p{i}.jpg", i)
        mask(tmp_path / f"annotations/masks/p{i}.png", np.array(values)[truth()])
    found = describe_folder(str(tmp_path))
    assert found["class_names"] == ("bg", "cat", "dog")
    assert tuple(found.get("mask_values", ())) in ((), values)


def test_yolo_labels_in_another_folder_with_darknet_labels(tmp_path):
    text(tmp_path / "annotations/darknet.labels", "cat\ndog\n")
    for i in range(3):
        photo(tmp_path / f"images/p{i}.jpg", i)
        lines = [
            f"{number} " + " ".join(f"{x / SIZE[1]} {y / SIZE[0]}" for x, y in corners(
                (left, top, right - 1, bottom - 1)))
            for number, (left, top, right, bottom) in enumerate((CAT, DOG))
        ]  # fmt: skip
        text(tmp_path / f"annotations/p{i}.txt", "\n".join(lines) + "\n")
    _, _, found = read_folder(tmp_path, {})
    assert found.classes.names == ("background", "cat", "dog")
    assert sum(item.mask is not None for item in found.items) == 3
    np.testing.assert_array_equal(found.items[0].mask.draw(), truth())
    # A name that two images have fits none.
    for i in range(3):
        photo(tmp_path / f"more/p{i}.jpg", 7 + i)
    _, _, found = read_folder(tmp_path, {})
    assert all(item.mask is None for item in found.items)


def test_texts_of_other_folders_that_are_no_labels_are_not_read(tmp_path):
    for i in range(3):
        photo(tmp_path / f"images/p{i}.jpg", i)
        text(tmp_path / f"captions/p{i}.txt", "two dogs and a cat\n")
    with pytest.raises(DataError, match="no images with masks recognized"):
        read_folder(tmp_path, {})


def test_a_table_of_another_form_that_names_the_masks_of_objects_is_told(tmp_path):
    for i in range(3):
        photo(tmp_path / f"images/p{i}.jpg", i)
        for number in (0, 1):
            mask(tmp_path / f"masks/p{i}_{number}.png", 255 * (truth() == number + 1))
    _, _, found = read_folder(tmp_path, {})
    assert found.classes.names == ("background", "object")
    assert not any("may tell the class" in warning for warning in found.warnings)
    rows = [f"p{i}_{number};{name}" for i in range(3) for number, name in enumerate("ab")]
    text(tmp_path / "what.csv", "\n".join(["file;kind", *rows]) + "\n")
    _, _, found = read_folder(tmp_path, {})
    assert any("what.csv names the masks and may tell" in w for w in found.warnings)


def test_texts_of_other_numbers_next_to_masks_are_no_labels(tmp_path):
    for number in range(4):
        photo(tmp_path / f"RGB/00{number}.png", number)
        mask(tmp_path / f"GT/00{number}.png", truth())
        text(tmp_path / f"GTTXT/00{number}.txt", "1 1 10 10 10\n1 1 10 10 10\n")
    _, _, found = read_folder(tmp_path, {})
    assert not found.problems and all(item.mask for item in found.items)
