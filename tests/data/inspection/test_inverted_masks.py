"""Inspect names the files in which background and object are exchanged."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data import inspect_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder


def draw(root, number, *, invert=False, large=False, split="train", light=140):
    """A bright object on grass; it touches the lower border of the photo."""
    rng = np.random.default_rng(number)
    ids = np.zeros((60, 64), np.uint8)
    left, top = rng.integers(2, 24), rng.integers(20, 34)
    ids[top:, left : left + rng.integers(18, 30)] = 1
    if large:
        ids[6:, 3:60] = 1
    noise = rng.integers(-20, 20, (60, 64, 3))
    photo = np.where(ids[..., None] == 1, (light, light - 20, light - 60), (50, 90, 30)) + noise
    for kind, content in (("images", photo.astype(np.uint8)), ("masks", ids ^ invert)):
        path = root / split / kind / f"p{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(content).save(path)


def findings(root, make_config, kind="inverted-masks"):
    config = make_config(
        **{"labeled": "", "unlabeled": "", "val": "", **describe_folder(str(root))}
    )
    return [f for f in inspect_dataset(config, 0).findings if f.kind == kind]


@pytest.mark.parametrize("inverted", [2, 6, 10])
def test_some_masks_are_inverted(inverted, tmp_path, make_config):
    for number in range(12):
        draw(tmp_path, number, invert=number < inverted)
        draw(tmp_path, 20 + number, split="val")
    (finding,) = findings(tmp_path, make_config)
    assert (finding.severity, finding.split) == ("warning", "labeled")
    assert finding.file.endswith("train/masks/p00.png")
    assert f"and {inverted - 1} other masks" in finding.message and "invert" in finding.message
    for number in range(12):
        assert (f"p{number:02d}.png" in finding.message) == (number < min(inverted, 4))


def test_masks_of_validation_that_differ_from_most_others(tmp_path, make_config):
    for number in range(8):
        draw(tmp_path, number, large=number == 3)
        draw(tmp_path, 20 + number, split="val", invert=True)
    (finding,) = findings(tmp_path, make_config)
    assert finding.split == "val" and "of 16: class 1 covers" in finding.message


def test_large_and_small_objects_are_fine(tmp_path, make_config):
    for number in range(12):
        # Half of the objects cover most of their photos.
        draw(tmp_path, number, large=number % 2, light=110 + 5 * number)
        draw(tmp_path, 20 + number, split="val", large=number < 3)
    assert not findings(tmp_path, make_config)
