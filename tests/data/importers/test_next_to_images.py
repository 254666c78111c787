"""Masks that lie next to their images, without a JPEG and without a word apart."""

import numpy as np
import pytest

from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.errors import DataError
from tests.data.importers.test_formats import all_masks, cache, loaded  # noqa: F401  (a fixture)
from tests.references.exports import SIZE, mask, photo, truth


@pytest.mark.parametrize(("image", "own"), [("bmp", "png"), ("png", "bmp"), ("tif", "png")])
def test_the_ending_tells_images_and_masks(image, own, tmp_path, make_config):
    """White blood cells: 001.bmp and 001.png in one folder."""
    for number in range(4):
        photo(tmp_path / f"Dataset 1/{number:03d}.{image}", number)
        mask(tmp_path / f"Dataset 1/{number:03d}.{own}", truth())
    dataset = loaded(tmp_path, make_config)
    assert len(all_masks(dataset)) == 4
    for found in all_masks(dataset):
        np.testing.assert_array_equal(found, truth())
    source = dataset.labeled
    assert source.files(0)[0].endswith(image)


@pytest.mark.parametrize("pictures", ["photos", "masks"])
def test_two_pictures_of_one_kind_are_no_pair(pictures, tmp_path):
    for number in range(4):
        for ending in ("bmp", "png"):
            if pictures == "photos":
                photo(tmp_path / f"data/{number}.{ending}", number)
            else:
                mask(tmp_path / f"data/{number}.{ending}", truth())
    with pytest.raises(DataError, match="no images with masks"):
        describe_folder(str(tmp_path))


@pytest.mark.parametrize(
    ("image", "own"), [("image{}", "mask{}"), ("frame_{:04d}", "frame_mask_{:04d}")]
)
def test_words_before_numbers(image, own, tmp_path, make_config):
    for number in range(1, 5):
        photo(tmp_path / f"{image.format(number)}.png", number)
        mask(tmp_path / f"{own.format(number)}.png", np.roll(truth(), number, axis=1))
    dataset = loaded(tmp_path, make_config)
    records = [source[i] for source in (dataset.labeled, dataset.val) for i in range(len(source))]
    assert len(records) == 4
    for record in records:
        number = int(record["id"][-1])
        np.testing.assert_array_equal(record["mask"], np.roll(truth(), number, axis=1))
        assert record["image"].shape[:2] == SIZE
