"""Drawings of class maps."""

import numpy as np

from ipixmatch_jax.viz.drawing import captioned, colored, error_map, with_legend


def test_a_legend_names_the_classes_that_are_there():
    palette = np.uint8([[10, 20, 30], [200, 0, 0], [0, 200, 0]])
    mask = np.zeros((60, 300), np.uint8)
    mask[:20] = 2
    picture = colored(mask, palette)
    shown = with_legend(picture, mask, ("ground", "never", "tree"), palette)
    np.testing.assert_array_equal(shown[:60, :300], picture)
    strip = shown[60:].reshape(-1, 3)
    counted = [(strip == color).all(-1).sum() for color in palette]
    assert counted[0] > 50 and counted[2] > 50 and counted[1] == 0


def test_ignored_pixels_are_no_errors():
    image = np.full((1, 3, 3), 90, np.uint8)
    shown = error_map(image, np.uint8([[1, 1, 1]]), np.uint8([[1, 0, 255]]))
    assert (shown[0, :, 0] == [150, 220, 150]).all()


def test_a_legend_lists_the_classes_of_another_map_too():
    palette = np.uint8([[10, 20, 30], [200, 0, 0], [0, 200, 0]])
    mask, truth = np.zeros((60, 300), np.uint8), np.full((60, 300), 2, np.uint8)
    shown = with_legend(colored(mask, palette), mask, ("ground", "never", "tree"), palette, truth)
    counted = [(shown[60:].reshape(-1, 3) == color).all(-1).sum() for color in palette]
    assert counted[0] > 50 and counted[2] > 50 and counted[1] == 0


def test_captions_stand_above_their_columns():
    image = np.full((40, 400, 3), 90, np.uint8)
    shown = captioned(image, ("left", "right"))
    strip = shown[: -len(image)]
    np.testing.assert_array_equal(shown[len(strip) :], image)
    for half in (strip[:, :200], strip[:, 200:]):
        assert 20 < (half < 128).any(-1).sum() < half.shape[0] * half.shape[1] / 2
