"""Masks that fit their images only when they are mirrored, turned or moved."""

import dataclasses
import re

import numpy as np
import pytest

from ipixmatch_jax.data.files.orientation import gradient_of
from ipixmatch_jax.data.inspection.findings import Facts
from ipixmatch_jax.data.inspection.pairing_check import displaced_masks, mirrored_masks


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
                  np.bincount(own.ravel(), minlength=256), False, image, own,
                  gradient=gradient_of(image[..., None]))
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
    assert not mirrored_masks(facts_of(np.rot90, size=(40, 48)))


def test_shares_of_exchanged_axes_are_found_in_images_of_any_size():
    (finding,) = mirrored_masks(facts_of(lambda a: a.T, size=(40, 48)))
    assert "with rows and columns exchanged" in finding.message


def test_copies_of_which_the_images_alone_were_flipped():
    def named(facts, ending):
        return [
            dataclasses.replace(one, files=(f"a{n}{ending}.jpg", f"a{n}{ending}.png"))
            for n, one in enumerate(facts)
        ]

    plain, flipped = facts_of(lambda a: a), facts_of(lambda a: a[:, ::-1])
    (finding,) = mirrored_masks(named(plain, "") + named(flipped, "_flip"))
    assert finding.severity == "error" and finding.file == "a0_flip.png"
    assert "named …flip" in finding.message and "mirrored left to right" in finding.message
    assert not mirrored_masks(named(plain, "") + named(plain, "_flip"))


@pytest.mark.parametrize("offset, way", [
    ((6, 0), "1[02]% of the height up"),
    ((-5, 4), "(8|10|12)% of the height down and (6|8|10)% of the width to the left"),
])  # fmt: skip
def test_masks_of_which_all_are_moved_are_an_error(offset, way):
    moved = facts_of(lambda a: np.roll(a, offset, (0, 1)), count=12)
    (finding,) = displaced_masks(moved)
    assert (finding.severity, finding.kind) == ("error", "displaced-masks")
    # Edges are two or three pixels wide.
    assert re.search(f"are moved by about {way}", finding.message)


def test_masks_that_are_moved_by_less_than_hands_are_fine():
    assert not displaced_masks(facts_of(lambda a: a, count=12))
    assert not displaced_masks(facts_of(lambda a: np.roll(a, (1, -1), (0, 1)), count=12))
    # Each by another offset.
    rng = np.random.default_rng(0)
    assert not displaced_masks(
        facts_of(lambda a: np.roll(a, rng.integers(-9, 10, 2), (0, 1)), count=12)
    )
