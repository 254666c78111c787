"""Inspect names a split whose masks have background and object exchanged."""

import numpy as np
import pytest

from ipixmatch_jax.data import inspect_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from tests.references.exports import mask, photo


@pytest.mark.parametrize("exchanged", [False, True])
def test_masks_of_validation_that_are_inverted(exchanged, tmp_path, make_config):
    for split, count in (("train", 6), ("val", 4)):
        for number in range(count):
            photo(tmp_path / split / f"images/p{number}.png", number + 50 * (split == "val"))
            ids = np.zeros((24, 32), np.uint8)
            # The object touches the border.
            ids[: 8 + number, 3:20] = 255
            mask(tmp_path / split / f"masks/p{number}.png",
                 255 - ids if exchanged and split == "val" else ids)  # fmt: skip
    found = describe_folder(str(tmp_path))
    config = make_config(**{"labeled": "", "unlabeled": "", "val": "", **found})
    messages = [finding.message for finding in inspect_dataset(config, 0).findings]
    assert any("may be exchanged in one of the splits" in text for text in messages) == exchanged
