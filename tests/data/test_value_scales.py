"""Images of several scales: shares of 0 to 1 next to values of 0 to 255."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from ipixmatch_jax.config import load_config
from ipixmatch_jax.data import with_statistics
from ipixmatch_jax.errors import DataError


def folder(root, scale_of):
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for number in range(6):
        rng = np.random.default_rng(number)
        image = rng.integers(20, 240, (40, 48, 3)).astype(np.float32) / scale_of(number)
        tifffile.imwrite(root / f"images/{number}.tif", image)
        mask = (rng.random((40, 48)) > 0.5).astype(np.uint8)
        Image.fromarray(mask).save(root / f"masks/{number}.png")
    return root


def test_shares_next_to_whole_values_are_refused(tmp_path):
    root = folder(tmp_path, lambda number: 255 if number % 2 else 1)
    with pytest.raises(DataError, match="2 labeled images hold values up to 0.9.*one scale"):
        with_statistics(load_config(f"folder:{root}", ["--config.data.statistics=measure"]))


@pytest.mark.parametrize("scale", [1, 255])
def test_one_scale_is_measured(scale, tmp_path):
    root = folder(tmp_path, lambda number: scale)
    config = with_statistics(load_config(f"folder:{root}", ["--config.data.statistics=measure"]))
    assert config.data.value_range[0][1] == pytest.approx(239 / scale, rel=0.01)


@pytest.mark.parametrize("opaque", [True, False])
def test_an_opacity_that_every_picture_lacks_is_no_fourth_band(opaque, tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for number in range(3):
        band = np.random.default_rng(number).integers(0, 255, (40, 48, 4), np.uint8)
        picture = Image.fromarray(band[..., :3] if opaque else band)
        picture.save(tmp_path / f"images/{number}.png")
        Image.fromarray(band[..., 0] // 128).save(tmp_path / f"masks/{number}.png")
    config = load_config(f"folder:{tmp_path}", ["--config.data.channels=4"])
    if opaque:
        with pytest.raises(DataError, match="255, which is the opacity.*set data.channels=3"):
            with_statistics(config)
    else:
        assert len(with_statistics(config).data.mean) == 4
