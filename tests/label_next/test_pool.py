"""The photos that `--mode next --input` ranks, and where their masks may go."""

import numpy as np
import pytest
import tifffile

from ipixmatch_jax.data import Pixels
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.label_next.masks import check_masks_apart
from ipixmatch_jax.label_next.pool import Photos, Readable


def test_no_two_photos_share_an_id(tmp_path):
    names = ["x.jpg", "x.png", "x_png.jpg", "X_jpg.gif", "y.jpg", "Y.JPG"]
    photos = Photos([tmp_path / name for name in names], tmp_path, Pixels())
    assert photos.ids == ("x_jpg_2", "x_png_2", "x_png", "X_jpg", "y_jpg", "Y_JPG_2")


def test_missing_pixels_of_given_photos_do_not_count(tmp_path):
    array = np.full((6, 8, 3), 90, np.uint8)
    array[:2] = 0
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb")
    photos = Photos([tmp_path / "a.tif"], tmp_path, Pixels(nodata=(0.0,)))
    mask = Readable(photos)[0]["mask"]
    assert (mask[:2] == 255).all() and (mask[2:] == 0).all()


class Labeled:
    """One labeled record."""

    def __init__(self, *files):
        self._files = tuple(map(str, files))

    def __len__(self):
        return 1

    def files(self, index):
        return self._files


def test_predictions_are_not_written_among_true_masks(tmp_path):
    image, mask = tmp_path / "images" / "a.jpg", tmp_path / "masks" / "a.png"
    for path in (image, mask):
        path.parent.mkdir()
        path.touch()
    labeled = Labeled(image, mask)
    check_masks_apart(tmp_path / "next" / "masks", labeled)
    check_masks_apart(tmp_path / "masks", Labeled("not in a file"))
    for folder in ("masks", "masks/next/masks", "images/masks", "next/../masks"):
        with pytest.raises(ConfigError, match="choose another --output"):
            check_masks_apart(tmp_path / folder, labeled)
    # Runs among the images are no data.
    (tmp_path / "images" / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "images" / "run" / "config.json").touch()
    check_masks_apart(tmp_path / "images" / "run" / "next" / "masks", labeled)
    with pytest.raises(ConfigError, match="choose another --output"):
        check_masks_apart(tmp_path / "images" / "run" / "mine" / "masks", labeled)
