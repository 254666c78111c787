"""Masks in which the same value or color means another class in another file are refused."""

import numpy as np
import pytest

from ipixmatch_jax.data.files.mask_values import Said
from tests.data.files.test_mask_values import check, describe_masks, ids, refused, save
from tests.data.files.test_object_masks import cells

COLORS = np.array([(0, 0, 0), (200, 0, 0), (0, 0, 200)], np.uint8)
VIRIDIS = np.array([(68, 1, 84), (33, 145, 140), (253, 231, 37)], np.uint8)
JET = np.array([(0, 0, 127), (124, 255, 121), (127, 0, 0)], np.uint8)


@pytest.mark.parametrize(("name", "table"), [("viridis", VIRIDIS), ("jet", JET)])
def test_color_maps_stretched_in_each_file(name, table, tmp_path):
    """Matplotlib's imsave gives the largest id of every file the last color."""
    masks = [ids(seed, 3) for seed in range(3)] + [ids(seed, 2) for seed in range(3)]
    stretched = [table[m] if m.max() == 2 else table[[0, 2]][m] for m in masks]
    refused(save(tmp_path, stretched), f"map '{name}'", "data.palette")
    # The same colors with all classes in every file are colors of classes.
    whole = tmp_path / "whole"
    whole.mkdir()
    assert describe_masks(save(whole, [table[m] for m in masks[:3]]))["num_classes"] == 3
    # So are files that end with different colors.
    fixed = tmp_path / "fixed"
    fixed.mkdir()
    assert describe_masks(save(fixed, [table[m] for m in masks]))["num_classes"] == 3


def test_the_ends_of_jet_are_colors_of_classes_as_well(tmp_path):
    """Navy and maroon in every file, next to colors that are not on the map."""
    table = np.array([(128, 0, 0), (0, 0, 128), (0, 128, 0), (128, 64, 0)], np.uint8)
    masks = [ids(seed, 3 + seed % 2) for seed in range(6)]
    paths = save(tmp_path, [table[m] for m in masks])
    assert describe_masks(paths)["num_classes"] == 4


def test_black_and_white_backgrounds(tmp_path):
    masks = [ids(seed, 3) for seed in range(6)]
    white = np.array([(255, 255, 255), *COLORS[1:]], np.uint8)
    paths = save(tmp_path, [(white if n % 3 else COLORS)[m] for n, m in enumerate(masks)])
    refused(paths, "black is the commonest color of some", "data.palette")
    both = ((0, 0, 0), (255, 255, 255), (200, 0, 0), (0, 0, 200))
    assert describe_masks(paths, Said(palette=both, names=tuple("abcd")))["num_classes"] == 4
    # White objects on black, or a white class that covers one mask, are classes.
    other = tmp_path / "other"
    other.mkdir()
    scenes = [np.array([(0, 0, 0), (255, 255, 255), (200, 0, 0)], np.uint8)[m] for m in masks]
    assert describe_masks(save(other, scenes))["num_classes"] == 3


def test_colors_of_two_programs(tmp_path):
    other = np.array([(0, 0, 0), (188, 20, 8), (14, 4, 210)], np.uint8)
    masks = [ids(seed, 3) for seed in range(6)]
    colored = [(COLORS if n < 4 else other)[m] for n, m in enumerate(masks)]
    paths = save(tmp_path, colored)
    refused(paths, "never occur in the same mask", "(188, 20, 8) and (200, 0, 0)", "nearest")
    check(paths, masks, Said(style="nearest", palette=tuple(map(tuple, COLORS.tolist()))))


def test_similar_colors_in_one_mask_are_two_classes(tmp_path):
    table = np.array([(0, 0, 0), (188, 20, 8), (200, 0, 0)], np.uint8)
    paths = save(tmp_path, [table[ids(seed, 3)] for seed in range(4)])
    assert describe_masks(paths)["num_classes"] == 3


def test_a_similar_color_of_few_among_many_is_a_class(tmp_path):
    table = np.array([(0, 0, 0), (200, 0, 0), (188, 20, 8), (0, 200, 0), (0, 0, 200),
                      (200, 200, 0), (0, 200, 200)], np.uint8)  # fmt: skip
    masks = [np.where(ids(seed, 7) == 1 + seed % 2, 0, ids(seed, 7)) for seed in range(6)]
    assert describe_masks(save(tmp_path, [table[m] for m in masks]))["num_classes"] == 7


@pytest.mark.parametrize("full", [1, 255])
def test_inverted_files_among_others(full, tmp_path):
    masks = [np.zeros((40, 50), np.uint8) for _ in range(6)]
    for n, mask in enumerate(masks):
        mask[5 + n : 20, 7 : 30 + n] = 1
    inverted = [(1 - m if n % 3 == 0 else m) * np.uint8(full) for n, m in enumerate(masks)]
    paths = save(tmp_path, inverted)
    refused(paths, "inverted", "m0.png, and 1 other", "data.masks=binary")
    check(paths, [m // full for m in inverted], Said(style="binary"))


def test_objects_that_fill_the_image_are_not_inverted(tmp_path):
    masks = [np.zeros((40, 50), np.uint8) for _ in range(6)]
    for n, mask in enumerate(masks):
        mask[5 + n : 20, 7 : 30 + n] = 255
        if n % 2:
            mask[:, : 20 + n] = 255  # touches the border
    masks.append(np.full((40, 50), 255, np.uint8))
    assert describe_masks(save(tmp_path, masks))["num_classes"] == 2


def ordered(seed, count):
    """Numbered squares, from top to bottom."""
    mask = cells(seed, count)
    found, first = np.unique(mask, return_index=True)
    table = np.zeros(256, np.uint8)
    table[found[1:][np.argsort(first[1:])]] = np.arange(1, count + 1)
    return table[mask]


def test_nearly_equal_counts_of_numbered_objects(tmp_path):
    counts = (4, 5, 4, 5, 5, 4)
    paths = save(tmp_path, [ordered(seed, count) for seed, count in enumerate(counts)])
    refused(paths, "number the objects", "up to 4", "5 in another", "data.masks=objects")
    # Numbers in any order may be classes, and so may layers that every mask has.
    other = tmp_path / "other"
    other.mkdir()
    masks = [cells(seed, count) for seed, count in enumerate(counts)]
    assert describe_masks(save(other, masks))["num_classes"] == 6
    layers = tmp_path / "layers"
    layers.mkdir()
    assert describe_masks(save(layers, [ordered(s, 5) for s in range(6)]))["num_classes"] == 6


def test_superpixels(tmp_path):
    rows, columns = np.mgrid[:45, :63] // 7
    regions = (rows * 9 + columns).astype(np.uint8)
    masks = [np.roll(regions, seed, 1) for seed in range(5)]
    paths = save(tmp_path, masks)
    refused(paths, "number the regions", "63 ids", "data.masks=ids")
    assert describe_masks(paths, Said(style="ids"))["num_classes"] == 63
