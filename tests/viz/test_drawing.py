"""Drawings of class maps."""

import numpy as np

from ipixmatch_jax.viz.drawing import colored, error_map, with_legend


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
