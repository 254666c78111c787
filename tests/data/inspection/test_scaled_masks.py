"""Masks whose shapes were drawn on smaller copies of the images, or on images cropped later."""

import numpy as np
import pytest

from ipixmatch_jax.data.files.orientation import gradient_of
from ipixmatch_jax.data.inspection.findings import Facts
from ipixmatch_jax.data.inspection.scaled_masks import scaled_masks


def resampled(mask, scale, anchor=0.0):
    """What a mask [48,48] shows if it is `scale` times as large; 0 beyond its sides."""
    center = anchor * 48
    places = np.floor((np.arange(48) + 0.5 - center) / scale + center).astype(int)
    inside = (places >= 0) & (places < 48)
    grown = mask[places.clip(0, 47)[:, None], places.clip(0, 47)]
    return np.where(inside[:, None] & inside, grown, 0).astype(np.uint8)


def facts_of(change, count=8, contrast=90):
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        mask = np.zeros((48, 48), np.uint8)
        for row, column in ((4, 6), (26, 27)):
            y, x = rng.integers(-3, 4, 2) + (row, column)
            mask[y : y + 14, x : x + 15] = 1
        image = (rng.integers(0, 20, (48, 48)) + contrast * mask).astype(np.uint8)
        own = change(mask)
        found.append(
            Facts(seed, str(seed), (f"{seed}.jpg", f"m{seed}.png"), (48, 48), False, b"", b"",
                  np.bincount(own.ravel(), minlength=256), False, image, own,
                  gradient=gradient_of(image[..., None]))
        )  # fmt: skip
    return found


@pytest.mark.parametrize("copy", [1.5, 2, 3])
def test_shapes_of_smaller_copies_are_an_error(copy):
    (finding,) = scaled_masks(facts_of(lambda mask: resampled(mask, 1 / copy)))
    assert (finding.severity, finding.kind, finding.file) == ("error", "scaled-masks", "m0.png")
    assert f"about {copy:.2g} times as large from the upper left corner" in finding.message


@pytest.mark.parametrize(("anchor", "where"), [(0.5, "center"), (1.0, "lower right corner")])
def test_shapes_of_images_that_were_cropped_later_are_an_error(anchor, where):
    cropped = facts_of(lambda mask: resampled(mask, 0.75, anchor))
    (finding,) = scaled_masks(cropped)
    assert f"1.3 times as large from the {where}" in finding.message


def test_objects_that_keep_to_one_corner_are_a_warning():
    # The images show no edges, so that the places alone are odd.
    def find(change, count=8):
        return scaled_masks(facts_of(change, count, contrast=0))

    (finding,) = find(lambda mask: resampled(mask, 0.5))
    assert finding.severity == "warning" and "in the upper 44%" in finding.message
    assert not find(lambda mask: mask)
    assert not find(lambda mask: resampled(mask, 0.5), count=7)
    # Class 0 is no ground around the objects if little is of it.
    assert not find(lambda mask: np.where(resampled(mask, 0.5) > 0, 0, 1).astype(np.uint8))


def test_masks_that_fit_are_fine():
    assert not scaled_masks(facts_of(lambda mask: mask))
    assert not scaled_masks(facts_of(lambda mask: np.roll(mask, 1, 0)))
    assert not scaled_masks(facts_of(lambda mask: resampled(mask, 0.5), count=3))
