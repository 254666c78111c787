"""Inspect tells of photos whose transparent pixels have colors that viewers do not show."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data import inspect_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder


def findings(root, make_config, alpha, below=None):
    """Of 4 noisy photos, the last of which has the alpha values, and one color below 0, or not."""
    for number in range(4):
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 256, (40, 48, 4), np.uint8)
        ids = np.zeros((40, 48), np.uint8)
        ids[8 : 20 + number, 10:30] = 1
        pixels[..., 3] = alpha if number == 3 else 255
        if below is not None:
            pixels[pixels[..., 3] == 0, :3] = below
        for kind, array in (("images", pixels), ("masks", ids)):
            (root / kind).mkdir(exist_ok=True)
            Image.fromarray(array).save(root / kind / f"p{number}.png")
    config = make_config(
        **{"labeled": "", "unlabeled": "", "val": "", **describe_folder(str(root))}
    )
    return [f for f in inspect_dataset(config, 0).findings if f.kind == "hidden-colors"]


def half(value):
    alpha = np.full((40, 48), 255, np.uint8)
    alpha[:20] = value
    return alpha


def test_a_photo_that_was_cut_out_and_keeps_its_background(tmp_path, make_config):
    (finding,) = findings(tmp_path, make_config, half(0))
    assert finding.severity == "warning" and finding.file.endswith("p3.png")
    assert "1 of " in finding.message and "(50% of it)" in finding.message


@pytest.mark.parametrize("alpha, below", [(half(255), None), (half(128), None), (half(0), 255)])
def test_no_hidden_colors(tmp_path, make_config, alpha, below):
    assert findings(tmp_path, make_config, alpha, below) == []
