"""Near-duplicates are grouped, different scenes are not; a pattern of the user takes precedence."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data.grouping import group_keys
from ipixmatch_jax.errors import ConfigError
from tests.data.conftest import ArraySource


def scene(seed, size=96):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def noisy(image, seed, strength=12):
    noise = np.random.default_rng(seed).normal(0, strength, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


def test_noisy_copies_are_one_group_and_scenes_are_not():
    images = [noisy(scene(s), 10 * s + c) for s in range(6) for c in range(3)]
    keys, notes = group_keys(ArraySource(images), "auto")
    groups = [keys[3 * s : 3 * s + 3] for s in range(6)]
    assert all(len(set(group)) == 1 for group in groups) and len(set(keys)) == 6
    assert "18 labeled images are near-duplicates of others, in 6 groups" in notes[0]
    keys, notes = group_keys(ArraySource([scene(s) for s in range(12)]), "auto")
    assert keys == [f"r{s}" for s in range(12)] and not notes


def test_what_all_images_share_makes_no_group():
    """Objects of one frame, such as retinas: the common frame is no near-duplicate."""
    frame = scene(99).astype(int)
    images = [(frame + (scene(s).astype(int) - 128) // 4).clip(0, 255).astype(np.uint8)
              for s in range(10)]  # fmt: skip
    assert len(set(group_keys(ArraySource(images), "auto")[0])) == 10


def test_blank_images_make_no_group():
    images = [np.full((32, 32, 3), 10 * value, np.uint8) for value in range(5)]
    assert len(set(group_keys(ArraySource(images), "auto")[0])) == 5


def test_patterns():
    source = ArraySource([scene(s) for s in range(4)])
    source.ids = ("clip1_01", "clip1_02", "clip2_01", "photo")
    keys, notes = group_keys(source, "^(.*)_")
    assert keys == ["clip1", "clip1", "clip2", "photo"]
    assert "3 groups" in notes[0] and "1 ids do not match" in notes[0]
    assert group_keys(source, "none")[0] == list(source.ids)
    with pytest.raises(ConfigError, match="not a regular expression"):
        group_keys(source, "(")


def test_mirror_images_are_one_group():
    images = [image for s in range(6) for image in (scene(s), scene(s)[:, ::-1].copy())]
    keys, _ = group_keys(ArraySource(images), "auto")
    assert [keys[2 * s] == keys[2 * s + 1] for s in range(6)] == [True] * 6
    assert len(set(keys)) == 6


def test_copies_by_the_names_of_roboflow_are_one_group():
    source = ArraySource([scene(s) for s in range(6)])
    source.ids = tuple(f"dir/photo{s // 3}_jpg.rf.{s:032x}" for s in range(6))
    keys, notes = group_keys(source, "auto")
    assert len(set(keys)) == 2 and keys[0] == keys[2] and keys[3] == keys[5]
    assert len(set(group_keys(source, "none")[0])) == 6


@pytest.mark.parametrize("turn", [
    lambda a: a[::-1], lambda a: a[::-1, ::-1], np.rot90, lambda a: np.rot90(a, 3),
    lambda a: a.swapaxes(0, 1), lambda a: a[::-1, ::-1].swapaxes(0, 1),
])  # fmt: skip
def test_turned_copies_are_one_group(turn):
    """Augmented copies of tiles and cells; training on one would be validated by the other."""
    images = [scene(s) for s in range(8)]
    images += [noisy(turn(image), s) for s, image in enumerate(images[:3])]
    keys, _ = group_keys(ArraySource(images), "auto")
    assert keys[8:] == keys[:3] and len(set(keys)) == 8


def test_copies_by_their_names_are_one_group():
    names = ["a", "a_aug", "a_aug_1", "a_rot90", "a - Copy (2)", "a_hflip_blur", "a_2", "b_crop_1"]
    source = ArraySource([scene(s) for s in range(8)])
    source.ids = tuple(names)
    assert group_keys(source, "auto")[0] == ["a"] * 6 + ["a_2", "b_crop_1"]
