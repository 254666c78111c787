"""Keys about masks that the user gives: they have their effect, are refused, or told."""

import numpy as np
import pytest

from ipixmatch_jax.data import load_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.importers import read_folder
from ipixmatch_jax.errors import ConfigError, DataError
from tests.references.exports import coco, mask, photo, truth


def folder(root):
    for number in range(4):
        photo(root / f"images/p{number}.jpg", number)
        mask(root / f"masks/p{number}.png", truth())


def read(root, make_config, **given):
    found = describe_folder(str(root), given)
    keys = {"labeled": "", "unlabeled": "", "val": "", **found}
    own = {key.removeprefix("folder."): v for key, v in given.items() if key[:7] == "folder."}
    keys |= {key: value for key, value in given.items() if key[:7] != "folder."}
    keys["folder"] = {**keys["folder"], **own}
    return load_dataset(make_config(**keys), 0)


@pytest.mark.parametrize("values, ignored, match", [
    ((0, 1, 1), (), "holds a value twice"),
    ((0, 1, 2), (2,), "both hold 2"),
])  # fmt: skip
def test_a_value_is_that_of_one_class(values, ignored, match, tmp_path, make_config):
    folder(tmp_path)
    with pytest.raises(ConfigError, match=match):
        read(tmp_path, make_config, mask_values=values, ignore_values=ignored)


def test_white_that_is_said_to_be_ignored_is_no_foreground(tmp_path):
    folder(tmp_path)
    for number in range(4):
        mask(tmp_path / f"masks/p{number}.png", (truth() > 0) * 255)
    assert describe_folder(str(tmp_path))["mask_values"] == (0, 255)
    with pytest.raises(DataError, match="all pixels are 0 or 255 .* draw some foreground"):
        describe_folder(str(tmp_path), {"ignore_values": (255,)})


def test_ignored_colors_of_ids_are_not_said_to_be_ignored(tmp_path, make_config):
    folder(tmp_path)
    dataset = read(tmp_path, make_config, ignore_colors=((0, 0, 0),))
    np.testing.assert_array_equal(dataset.labeled[0]["mask"], truth())
    assert not any("mean ignore" in note for note in dataset.notes)
    dataset = read(tmp_path, make_config, ignore_values=(2,))
    assert any("2 mean ignore" in note for note in dataset.notes)


@pytest.mark.parametrize("given", [
    {"masks": "objects"}, {"masks": "colors"}, {"mask_values": (2, 1, 0)},
])  # fmt: skip
def test_styles_of_files_are_refused_for_drawn_masks(given, tmp_path):
    """They would give the names of the annotations to other pixels."""
    coco(tmp_path)
    with pytest.raises(ConfigError, match="drawn from annotations"):
        describe_folder(str(tmp_path), given)
    assert describe_folder(str(tmp_path), {"mask_values": (0, 1, 2)})["num_classes"] == 3


def test_names_in_another_order_than_in_annotations_are_refused(tmp_path):
    coco(tmp_path)
    assert describe_folder(str(tmp_path))["class_names"] == ("background", "cat", "dog")
    with pytest.raises(ConfigError, match="in another order; expected .*'cat', 'dog'"):
        describe_folder(str(tmp_path), {"class_names": ("background", "dog", "cat")})
    describe_folder(str(tmp_path), {"class_names": ("ground", "katze", "hund")})


def test_folders_of_unlabeled_images_are_not_called_left_out(tmp_path, make_config):
    folder(tmp_path)
    photo(tmp_path / "extra/more/u.jpg", 9)
    said = "1 images left out"
    assert any(said in line for line in read(tmp_path, make_config).warnings)
    _, _, found = read_folder(tmp_path, {"unlabeled_folders": ("extra/",)})
    assert not any(said in line for line in found.warnings)


def test_two_masks_next_to_an_image_are_a_question(tmp_path):
    for number in range(4):
        photo(tmp_path / f"p{number}.jpg", number)
        mask(tmp_path / f"p{number}_mask.png", truth())
        mask(tmp_path / f"p{number}_gt.png", (truth() > 0) * 255)
    with pytest.raises(DataError, match=r"named \*_gt, \*_mask, .* set data.folder.mask_tail"):
        describe_folder(str(tmp_path))
    found = describe_folder(str(tmp_path), {"folder.mask_tail": "_mask"})
    assert found["num_classes"] == 3
