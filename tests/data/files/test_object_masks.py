"""Masks that number objects, ids and colors that were interpolated, and borders of Pascal VOC."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data.files.mask_values import Said
from ipixmatch_jax.data.files.masks import Masks
from tests.data.files.test_mask_values import COLORS, check, describe_masks, ids, refused, save


def cells(seed, count, size=(45, 63), kind=np.uint8):
    """Squares that do not touch, numbered from 1. They lie on no grid of 8 pixels, as JPEG has."""
    rng = np.random.default_rng(seed)
    places = rng.permutation(5 * 7)[:count]
    mask = np.zeros(size, kind)
    for number, place in enumerate(places, start=1):
        y, x = divmod(int(place), 7)
        mask[9 * y : 9 * y + 5, 9 * x : 9 * x + 6] = number
    return mask


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_numbered_objects_are_no_classes(kind, tmp_path):
    masks = [cells(seed, 4 + 3 * seed, kind=kind) for seed in range(6)]
    paths = save(tmp_path, masks)
    refused(paths, "number the objects", "up to 4", "19", "data.masks=objects")
    check(paths, [(mask > 0).astype(np.uint8) for mask in masks], Said(style="objects"))
    assert describe_masks(paths, Said(style="ids"))["num_classes"] == 20


def test_few_objects_in_many_masks_are_no_classes(tmp_path):
    counts = (1, 2, 3, 1, 2, 3)
    paths = save(tmp_path, [cells(seed, count) for seed, count in enumerate(counts)])
    refused(paths, "number the objects", "up to 1", "3 in another")
    # Without an image of two numbers the ids have a gap, as classes do.
    masks = [cells(seed, count) for seed, count in enumerate(counts)]
    masks[2][masks[2] == 2] = 0
    (tmp_path / "gaps").mkdir()
    assert describe_masks(save(tmp_path / "gaps", masks))["num_classes"] == 4


def test_classes_without_gaps_are_no_objects(tmp_path):
    # Ids 1..k in each mask, but the pixels of an id lie in several places.
    masks = []
    for seed in range(6):
        mask = cells(seed, 4 + 3 * seed)
        mask[:, 28:] = mask[:, 28:].max() - mask[:, 28:] * (mask[:, 28:] > 0)
        masks.append(np.where(mask > 19, 0, mask))
    assert describe_masks(save(tmp_path, masks))["num_classes"] > 10


def test_colored_objects_are_no_classes(tmp_path):
    rng = np.random.default_rng(0)
    masks = []
    for seed in range(6):
        table = np.vstack([[0, 0, 0], rng.integers(40, 255, (5, 3))]).astype(np.uint8)
        masks.append(table[cells(seed, 5)])
    paths = save(tmp_path, masks)
    refused(paths, "occurs in one mask alone", "data.masks=objects", "data.palette")
    check(paths, [mask.any(-1).astype(np.uint8) for mask in masks], Said(style="objects"))


def resized(array):
    picture = Image.fromarray(array)
    small = picture.resize((28, 20), Image.Resampling.NEAREST)
    return np.asarray(small.resize((56, 40), Image.Resampling.BILINEAR))


def test_interpolated_ids_are_refused(tmp_path):
    paths = save(tmp_path, [resized(ids(seed)) for seed in range(8)])
    refused(paths, "pass through", "nearest neighbor", "data.masks=ids")
    assert describe_masks(paths, Said(style="ids"))["num_classes"] == 3


def test_borders_and_nested_classes_are_no_interpolation(tmp_path):
    borders, nested = [], []
    for seed in range(8):
        mask = 2 * (ids(seed, 2) > 0).astype(np.uint8)
        inner = np.pad(mask, 1)[2:, 1:-1] & np.pad(mask, 1)[:-2, 1:-1]
        inner &= np.pad(mask, 1)[1:-1, 2:] & np.pad(mask, 1)[1:-1, :-2] & mask
        borders.append(np.where((mask > 0) & (inner == 0), 1, mask).astype(np.uint8))
        ring = np.zeros((40, 56), np.uint8)
        ring[5:30, 5 + seed : 40 + seed], ring[12:22, 14 + seed : 30 + seed] = 1, 2
        nested.append(ring)
    for name, masks in (("borders", borders), ("nested", nested)):
        (tmp_path / name).mkdir()
        assert describe_masks(save(tmp_path / name, masks))["num_classes"] == 3


def test_few_blended_colors_are_refused(tmp_path):
    table = np.array(COLORS, np.uint8)
    paths = save(tmp_path, [resized(table[ids(seed)]) for seed in range(4)])
    refused(paths, "smoothed edges", "data.masks=nearest")


def test_thin_and_rare_colors_stay_classes(tmp_path):
    table = np.array([*COLORS, (90, 200, 20), (10, 130, 220), (240, 220, 60)], np.uint8)
    masks = []
    for seed in range(4):
        mask = ids(seed)
        mask[:, 5], mask[:, 20], mask[3] = 3, 4, 5
        masks.append(mask)
    found = describe_masks(save(tmp_path, [table[mask] for mask in masks]))
    assert found["num_classes"] == 6 and found["ignore_colors"] == ()


def test_the_border_of_pascal_voc_is_ignored(tmp_path):
    table = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0), (224, 224, 192)], np.uint8)
    masks = []
    for seed in range(4):
        mask = ids(seed)
        mask[:, 1:][mask[:, 1:] != mask[:, :-1]] = 3
        masks.append(mask)
    found = describe_masks(save(tmp_path, [table[mask] for mask in masks]))
    assert found["num_classes"] == 3
    assert found["ignore_colors"] == ((224, 224, 192),)


def test_palettes_name_the_values_that_are_in_use(tmp_path):
    truth = [ids(seed) for seed in range(4)]
    flat = [0] * 768
    for value, color in zip((0, 15, 90), COLORS, strict=True):
        flat[3 * value : 3 * value + 3] = color
    pictures = []
    for mask in truth:
        picture = Image.fromarray(np.array([0, 15, 90], np.uint8)[mask])
        picture.putpalette(flat)
        pictures.append(picture)
    found = describe_masks(save(tmp_path, pictures))
    assert found["mask_values"] == (0, 15, 90) and found["palette"] == COLORS
    check([str(path) for path in sorted(tmp_path.iterdir())], truth)


def test_ids_that_are_written_apart(tmp_path):
    truth = [ids(seed) for seed in range(4)]
    paths = save(tmp_path, [mask * 10 for mask in truth])
    assert describe_masks(paths)["mask_values"] == (0, 10, 20)
    check(paths, truth)
    assert "mask_values" not in describe_masks(paths, Said(names=tuple(map(str, range(21)))))


def test_colors_that_differ_a_little_between_files(tmp_path):
    table = np.array(COLORS, np.uint8)
    shown = [table[ids(seed)].astype(int) + seed for seed in range(3)]
    paths = save(tmp_path, [colors.clip(0, 255).astype(np.uint8) for colors in shown])
    refused(paths, "(0, 0, 0) and (1, 1, 1) are nearly equal", "data.masks=nearest")
    # Ids in one channel are told apart by ones.
    (tmp_path / "red").mkdir()
    red = [np.stack([ids(seed), 0 * ids(seed), 0 * ids(seed)], -1) for seed in range(3)]
    assert describe_masks(save(tmp_path / "red", red))["num_classes"] == 3


def test_a_value_that_means_ignore(tmp_path):
    truth = [ids(seed) for seed in range(4)]
    for mask in truth:
        mask[:2] = 255
    paths = save(tmp_path, [np.where(mask == 255, 254, mask).astype(np.uint8) for mask in truth])
    refused(paths, "data.ignore_values=(254,) if 254 means ignore", "254: 5 %")
    found = describe_masks(paths, Said(ignored=(254,)))
    assert found["num_classes"] == 3 and "mask_values" not in found
    for path, mask in zip(paths, truth, strict=True):
        np.testing.assert_array_equal(Masks(3, ignored=(254,)).read(path, path), mask)


@pytest.mark.parametrize("channel", [0, 2])
def test_objects_that_one_channel_numbers_are_no_classes(channel, tmp_path):
    """BBBC039: red is the number of the nucleus."""
    masks = [np.zeros((45, 63, 3), np.uint8) for _ in range(6)]
    for seed, mask in enumerate(masks):
        mask[..., channel] = cells(seed, 4 + 3 * seed)
    paths = save(tmp_path, masks)
    refused(paths, "number the objects", "up to 4", "19", "data.masks=objects")
    check(paths, [mask.any(-1).astype(np.uint8) for mask in masks], Said(style="objects"))


def test_classes_in_one_channel_are_classes(tmp_path):
    """CARLA: red is the class."""
    masks = [np.stack([ids(seed, 6), *[np.zeros((40, 56), np.uint8)] * 2], -1) for seed in range(6)]
    for mask in masks[1:]:
        mask[:4, :4] = 0
        mask[0, :12, 0] = 7
    assert describe_masks(save(tmp_path, masks))["num_classes"] >= 6
