"""Two versions of the masks of one folder: masks/old is left out, masks/corrected is a question."""

import numpy as np
import pytest

from ipixmatch_jax.data.importers import read_folder
from ipixmatch_jax.errors import DataError
from tests.references.exports import mask, photo, truth


@pytest.fixture
def root(tmp_path):
    for number in range(6):
        photo(tmp_path / f"images/p{number}.png", number)
        mask(tmp_path / f"masks/p{number}.png", np.roll(truth(), number, 1))
    return tmp_path


@pytest.mark.parametrize("name", ["old", "Backup_2023", "before-fix"])
def test_older_masks_are_left_out(name, root):
    for number in range(6):
        mask(root / f"masks/{name}/p{number}.png", truth())
    found = read_folder(root, {})[2]
    assert len(found.of("train", labeled=True)) == 6 and not found.warnings
    assert all(item.mask.count("/") == str(root).count("/") + 2 for item in found.items)
    assert any(f"not used: masks/{name}" in note for note in found.notes)


@pytest.mark.parametrize("name", ["corrected", "v2", "reviewed"])
def test_versions_are_a_question(name, root):
    for number in range(3):
        mask(root / f"masks/{name}/p{number}.png", truth())
    with pytest.raises(DataError, match=f"masks/{name}: 3 masks with the names of those in masks"):
        read_folder(root, {})
    found = read_folder(root, {"train_masks": f"masks/{name}", "train_images": "images"})[2]
    assert len(found.of("train", labeled=True)) == 3


def test_scenes_in_both_folders_are_no_versions(root):
    for number in range(6):
        photo(root / f"images/lab/p{number}.png", 10 + number)
        mask(root / f"masks/lab/p{number}.png", truth())
    assert len(read_folder(root, {})[2].of("train", labeled=True)) == 12


def test_subfolders_of_other_names_are_no_versions(root):
    for number in range(6, 9):
        photo(root / f"images/p{number}.png", number)
        mask(root / f"masks/corrected/p{number}.png", truth())
        # A derivative, not a version.
        mask(root / f"masks/edges/p{number - 6}.png", truth())
    assert len(read_folder(root, {})[2].of("train", labeled=True)) >= 6
