"""Masks in BGR next to a list of colors in RGB are refused, not read as other classes."""

import numpy as np
import pytest

from ipixmatch_jax.data.files.mask_values import Said, describe_masks
from tests.data.files.test_mask_values import ids, refused, save

# Red and blue are both listed; orange is so in one order alone.
PALETTE = ((0, 0, 0), (255, 0, 0), (0, 0, 255), (255, 128, 0))
SAID = Said(names=("background", "roof", "water", "road"), palette=PALETTE)


@pytest.mark.parametrize("exchanged", [(0, 1, 2, 3), (2,)])
def test_exchanged_channels_are_refused(exchanged, tmp_path):
    masks = [np.array(PALETTE, np.uint8)[ids(seed, 4, size=(60, 80))] for seed in range(4)]
    masks = [m[..., ::-1] if n in exchanged else m for n, m in enumerate(masks)]
    paths = save(tmp_path, [np.ascontiguousarray(mask) for mask in masks])
    refused(paths, f"m{exchanged[0]}.png, and {len(exchanged) - 1} other masks of 4",
            "(0, 128, 255)", "red and blue exchanged", said=SAID)  # fmt: skip


def test_listed_colors_and_others_are_fine(tmp_path):
    masks = [np.array(PALETTE, np.uint8)[ids(seed, 4, size=(60, 80))] for seed in range(4)]
    assert describe_masks(save(tmp_path, masks), SAID)["palette"] == PALETTE
    masks[1][:9, :9] = (224, 224, 192)
    assert describe_masks(save(tmp_path, masks), SAID)["palette"] == PALETTE
