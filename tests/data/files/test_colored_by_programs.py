"""Masks whose colors a program chose for each file by itself, or mixed, are refused."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data.files.mask_values import Said, describe_masks
from ipixmatch_jax.errors import DataError

TURN = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255), (255, 255, 0)], np.uint8)


def ids(*classes):
    """A square for each class on background, uint8 [40,60]."""
    mask = np.zeros((40, 60), np.uint8)
    for place, class_id in enumerate(classes):
        mask[8:30, 3 + 18 * place : 18 + 18 * place] = class_id
    return mask


def saved(root, images):
    paths = [str(root / f"{i}.png") for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        image.save(path)
    return paths


def in_turn(mask):
    """As skimage.color.label2rgb colors it: by the rank of a label in its image."""
    return Image.fromarray(TURN[np.unique(mask, return_inverse=True)[1].reshape(mask.shape)])


def test_colors_in_turn_mean_another_class_in_another_file(tmp_path):
    masks = [ids(1, 2, 3), ids(1, 3), ids(1, 2, 3), ids(2, 3)]
    paths = saved(tmp_path, [in_turn(mask) for mask in masks])
    with pytest.raises(DataError, match="label2rgb gives them in turn"):
        describe_masks(paths)
    palette = tuple(map(tuple, TURN.tolist()))
    assert describe_masks(paths, Said(palette=palette))["palette"] == palette


def test_the_same_colors_are_read_if_all_files_show_all_or_some_show_the_last_alone(tmp_path):
    same = saved(tmp_path, [in_turn(ids(1, 2, 3))] * 4)
    assert describe_masks(same)["num_classes"] == 4
    fixed = saved(tmp_path, [Image.fromarray(TURN[ids(*c)]) for c in ((1, 2, 3), (3,), (1, 3))])
    assert describe_masks(fixed)["num_classes"] == 4


def test_dithered_colors_are_refused(tmp_path):
    voc = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0), (192, 128, 0)], np.uint8)
    dithered = [Image.fromarray(voc[ids(1, 2, 3)]).convert("P") for _ in range(3)]
    assert len(np.unique(np.asarray(dithered[0]))) > 4
    with pytest.raises(DataError, match=r"convert\('P'\) dithered"):
        describe_masks(saved(tmp_path, dithered))


def test_colors_of_the_palette_are_not_dithered(tmp_path):
    pure = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0), (255, 255, 0)], np.uint8)
    # One-pixel lines, the diagonal ones too, have neighbors of the background.
    mask = ids(1, 2, 3)
    mask[np.arange(40), np.arange(40)] = 2
    mask[34, :] = 1
    images = [Image.fromarray(pure[mask]).convert("P") for _ in range(3)]
    found = describe_masks(saved(tmp_path, images))
    assert found["num_classes"] == 4
