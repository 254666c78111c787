"""Palette and the empty source; random numbers are tested with the pipeline."""

import numpy as np
import pytest

from ipixmatch_jax.data.records import EmptySource, spread_palette

# The first colors of the color map in the PASCAL VOC development kit (VOClabelcolormap).
VOC_COLORS = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128),
               (0, 128, 128), (128, 128, 128), (64, 0, 0), (192, 0, 0), (64, 128, 0)]  # fmt: skip


def test_palette_is_that_of_voc_and_has_no_double():
    np.testing.assert_array_equal(spread_palette(11), VOC_COLORS)
    palette = spread_palette(255)
    assert palette.shape == (255, 3) and palette.dtype == np.uint8
    assert len(np.unique(palette, axis=0)) == 255


def test_empty_source():
    assert len(EmptySource()) == 0 and not EmptySource().ids
    with pytest.raises(IndexError):
        EmptySource()[0]
    with pytest.raises(IndexError):
        EmptySource().size(0)
