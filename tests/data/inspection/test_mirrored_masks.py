"""Masks that fit their images only when they are mirrored or turned."""

import numpy as np
import pytest

from ipixmatch_jax.data.inspection.findings import Facts
from ipixmatch_jax.data.inspection.pairing_check import mirrored_masks


def facts_of(turn, count=6, size=(48, 48), turned=None):
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        mask = np.zeros((48, 48), np.uint8)
        y, x = rng.integers(2, 9, 2) + (0, 4)
        mask[y : y + 14, x : x + 20] = 1
        image = (rng.integers(0, 20, (48, 48)) + 90 * mask).astype(np.uint8)
        own = turn(mask) if turned is None or seed < turned else mask
        found.append(
            Facts(seed, str(seed), (f"{seed}.jpg", f"m{seed}.png"), size, False, b"", b"",
                  np.bincount(own.ravel(), minlength=256), False, image, own)
        )  # fmt: skip
    return found


@pytest.mark.parametrize(
    ("turn", "how"),
    [
        (lambda a: a[::-1], "upside down"),
        (lambda a: a[:, ::-1], "mirrored left to right"),
        (lambda a: a[::-1, ::-1], "turned by 180 degrees"),
        (lambda a: a.T, "with rows and columns exchanged"),
    ],
)
def test_mirrored_masks_are_an_error(turn, how):
    (finding,) = mirrored_masks(facts_of(turn))
    assert (finding.severity, finding.kind, finding.file) == ("error", "mirrored-masks", "m0.png")
    assert how in finding.message


def test_masks_in_the_orientation_of_their_images_are_fine():
    assert not mirrored_masks(facts_of(lambda a: a))
    assert not mirrored_masks(facts_of(lambda a: a[::-1], count=3))
    # The sides of other images tell it; there the mask is refused for its size.
    assert not mirrored_masks(facts_of(lambda a: a.T, size=(40, 48)))
