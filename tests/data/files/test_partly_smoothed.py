"""A few masks that were resized with interpolation are named."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data.files.mask_values import Said, describe_masks
from tests.data.files.test_mask_values import ids, refused, save


def masks(count, smoothed, method=Image.Resampling.BILINEAR):
    found = [ids(seed, 6, size=(120, 160)) for seed in range(count)]
    for seed in smoothed:
        large = np.roll(ids(seed, 6, size=(60, 80)).repeat(7, 0).repeat(7, 1), 2, (0, 1))
        found[seed] = np.asarray(Image.fromarray(large).resize((160, 120), method))
    return found


@pytest.mark.parametrize("method", [Image.Resampling.BILINEAR, Image.Resampling.HAMMING])
@pytest.mark.parametrize("smoothed", [(3,), (2, 5, 7)])
def test_a_few_masks_with_rims_are_named(smoothed, method, tmp_path):
    paths = save(tmp_path, [m.clip(0, 5) for m in masks(12, smoothed, method)])
    refused(paths, *(f"m{seed}.png" for seed in smoothed), "of 12", "resized with interpolation",
            "data.masks=ids")  # fmt: skip
    assert describe_masks(paths, Said(style="ids"))["num_classes"] == 6


def test_masks_resized_by_nearest_neighbor_are_fine(tmp_path):
    paths = save(tmp_path, masks(12, (2, 5), Image.Resampling.NEAREST))
    assert describe_masks(paths)["num_classes"] == 6


def test_borders_that_all_masks_draw_are_fine(tmp_path):
    found = masks(6, ())
    for mask in found:
        # Class 1 is the outline of class 2, in every file.
        mask[10:60, 20:90] = 1
        mask[12:58, 22:88] = 2
    assert describe_masks(save(tmp_path, found))["num_classes"] == 6


@pytest.mark.parametrize("method", ["BILINEAR", "BICUBIC", "LANCZOS"])
@pytest.mark.parametrize("factor", [0.5, 0.7, 1.25, 1.5])
@pytest.mark.parametrize("classes", [3, 6])
def test_masks_that_were_all_resized_by_any_factor_are_refused(classes, factor, method, tmp_path):
    found = []
    for seed in range(6):
        # Edges at any angle: an axis of pixels meets a filter in one place alone.
        y, x = np.mgrid[:160, :200]
        large, turn = np.zeros(y.shape, np.uint8), 0.3 + seed
        for class_id in range(1, classes):
            u = (y - 80) * np.cos(turn) + (x - 100) * np.sin(turn)
            v = (x - 100) * np.cos(turn) - (y - 80) * np.sin(turn)
            place = 24 * (class_id - classes / 2)
            large[(np.abs(u - place) < 9) & (np.abs(v) < 40)] = class_id
        size = (int(200 * factor), int(160 * factor))
        resized = Image.fromarray(large).resize(size, Image.Resampling[method])
        found.append(np.asarray(resized).clip(0, classes - 1))
    paths = save(tmp_path, found)
    refused(paths, "resized with interpolation", "nearest neighbor", "data.masks=ids")
    assert describe_masks(paths, Said(style="ids"))["num_classes"] == classes
