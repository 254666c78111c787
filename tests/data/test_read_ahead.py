"""Validation images are read before training starts."""

import numpy as np
import pytest

from ipixmatch_jax.data.read_ahead import check_readable
from ipixmatch_jax.errors import DataError


class Masks:
    """Records of which some masks are of ignore alone."""

    files = True

    def __init__(self, *values):
        self.values = values
        self.ids = [f"v{index}" for index in range(len(values))]

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return {"mask": np.full((2, 3), self.values[index], np.uint8)}


def test_validation_masks_without_a_class_are_refused_before_training():
    check_readable(Masks(255, 0, 255), "val")
    check_readable(Masks(), "val")
    with pytest.raises(DataError, match="the 2 masks of the val split hold only ignored .* v0"):
        check_readable(Masks(255, 255), "val")
