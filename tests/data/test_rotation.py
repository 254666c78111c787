"""Rotated crops, against scipy's interpolation at places that are stated here."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from ipixmatch_jax.data.geometry import Geometry, Window, draw_window, through, weak_view

SIZE = (60, 80)


def noise(bands=3, seed=0):
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 21, SIZE, dtype=np.uint8)
    return {"id": "a", "image": rng.integers(0, 256, (*SIZE, bands), np.uint8), "mask": mask}


def places(window):
    """Row and column in the image of each pixel of the window; pixel centers are whole numbers."""
    angle = np.deg2rad(window.angle)
    y, x = np.mgrid[: window.height, : window.width].astype(float)
    y, x = y - (window.height - 1) / 2, x - (window.width - 1) / 2
    # Counterclockwise as seen, rows counted downwards: what is shown on the right was below.
    row = window.top + (window.height - 1) / 2 + np.sin(angle) * x + np.cos(angle) * y
    column = window.left + (window.width - 1) / 2 + np.cos(angle) * x - np.sin(angle) * y
    return row, column


def inside(row, column):
    rows, columns = SIZE
    return (row >= -0.5) & (row < rows - 0.5) & (column >= -0.5) & (column < columns - 0.5)


@pytest.mark.parametrize("bands", [1, 3, 5])
@pytest.mark.parametrize("angle", [-170.0, -33.0, 0.4, 12.5, 44.3, 91.0])  # 45 would have ties
@pytest.mark.parametrize("top, left", [(10, 20), (0, 0), (28, 40)])
def test_it_is_scipys_interpolation(bands, angle, top, left):
    record, window = noise(bands), Window(SIZE, top, left, 32, 40, False, angle=angle)
    view = through(window, record, (32, 40))
    at = places(window)
    shown = inside(*at)
    np.testing.assert_array_equal(view["valid"], shown)
    for band in range(bands):
        values = record["image"][..., band].astype(float)
        expected = ndimage.map_coordinates(values, at, order=1, mode="nearest")
        low, high = expected - view["image"][..., band], view["image"][..., band] - expected
        assert low[shown].max() < 1.001 and high[shown].max() < 0.001  # Pillow rounds down
    nearest = ndimage.map_coordinates(record["mask"], at, order=0, mode="nearest")
    np.testing.assert_array_equal(view["mask"], np.where(shown, nearest, 255))
    assert (view["image"][~shown] == 0).all()
    assert view["image"].dtype == view["mask"].dtype == np.uint8 and view["valid"].dtype == bool


def test_it_turns_as_pillow_does():
    record = noise()
    window = Window(SIZE, 0, 0, *SIZE, False, angle=25.0)
    view = through(window, record, SIZE)
    expected = Image.fromarray(record["image"]).rotate(25, Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(view["image"], np.asarray(expected))


@pytest.mark.parametrize("side", [31, 32])
@pytest.mark.parametrize("turns", [-1, 1, 2, 3, 4])
def test_multiples_of_90_are_exact(side, turns):
    record = noise()
    record["valid"] = record["mask"] != 3
    straight = Window(SIZE, 7, 30, side, side, False)
    plain = through(straight, record, (side, side))
    view = through(dataclasses.replace(straight, angle=90.0 * turns), record, (side, side))
    for name in plain:
        np.testing.assert_array_equal(view[name], np.rot90(plain[name], turns))


def test_a_half_turn_of_any_shape_is_exact():
    straight = Window(SIZE, 5, 9, 30, 47, False)
    plain, view = (
        through(dataclasses.replace(straight, angle=angle), noise(), (30, 47))
        for angle in (0.0, 180.0)
    )
    for name in plain:
        np.testing.assert_array_equal(view[name], plain[name][::-1, ::-1])


def test_what_was_not_valid_stays_so():
    record, window = noise(), Window(SIZE, 10, 20, 32, 32, False, angle=30.0)
    record["valid"] = np.zeros(SIZE, bool)
    record["valid"][:, 40:] = True
    at = places(window)
    expected = inside(*at) & (np.floor(at[1] + 0.5) >= 40)
    np.testing.assert_array_equal(through(window, record, (32, 32))["valid"], expected)


@pytest.mark.parametrize("size", [(40, 40), (100, 96)])
def test_a_random_view_is_padded_and_flipped_after_the_turn(size):
    """The drawn window, turned by its angle, then treated as any other."""
    geometry = Geometry(size, (0.7, 1.4), 0.5, vertical_flip=0.5, rotation=60.0)
    for seed in range(8):
        record = noise(seed=seed)
        window = draw_window(SIZE, np.random.default_rng(seed), geometry)
        view = weak_view(record, np.random.default_rng(seed), geometry)
        bare = dataclasses.replace(window, flip=False, vertical_flip=False)
        part = through(bare, record, (window.height, window.width))
        for name, fill in (("image", 0), ("mask", 255), ("valid", False)):
            canvas = np.full((*size, *part[name].shape[2:]), fill, part[name].dtype)
            canvas[: window.height, : window.width] = part[name]
            canvas = canvas[:, ::-1] if window.flip else canvas
            canvas = canvas[::-1] if window.vertical_flip else canvas
            np.testing.assert_array_equal(view[name], canvas)
        assert (view["mask"][~view["valid"]] == 255).all() and view["valid"].any()


def test_image_and_mask_show_the_same_place():
    y, x = np.mgrid[:120, :90]
    image = np.stack([2 * y, 2 * x, np.full_like(y, 77)], -1).astype(np.uint8)
    mask = (2 * (y // 8 % 2) + x // 8 % 2).astype(np.uint8)
    for seed in range(12):
        view = weak_view(
            {"id": "a", "image": image, "mask": mask},
            np.random.default_rng(seed),
            Geometry((64, 48), rotation=180.0),
        )
        y_seen, x_seen = (view["image"][..., channel] / 2 for channel in (0, 1))
        clear = view["valid"] & (np.abs(y_seen % 8 - 3.5) < 2) & (np.abs(x_seen % 8 - 3.5) < 2)
        assert clear.sum() > 50
        expected = (2 * (y_seen // 8 % 2) + x_seen // 8 % 2)[clear].astype(np.uint8)
        np.testing.assert_array_equal(view["mask"][clear], expected)
        assert (view["image"][..., 2][view["valid"]] == 77).all()


def test_angles_are_uniform_within_the_limit():
    rng = np.random.default_rng(0)
    angles = [draw_window(SIZE, rng, Geometry((8, 8), rotation=20.0)).angle for _ in range(1000)]
    counts, _ = np.histogram(angles, bins=4, range=(-20, 20))
    assert counts.sum() == 1000 and counts.min() > 200  # 250 each


def test_without_rotation_nothing_more_is_drawn():
    first, second = np.random.default_rng(1), np.random.default_rng(1)
    window = draw_window(SIZE, first, Geometry((24, 24)))
    turned = draw_window(SIZE, second, Geometry((24, 24), rotation=10.0))
    assert window.angle == 0 and dataclasses.replace(turned, angle=0.0) == window
    second.bit_generator.state = first.bit_generator.state
    assert turned.angle != 0 and first.random() == second.random()


def test_an_image_of_one_pixel_can_be_turned():
    record = {"id": "a", "image": np.full((1, 1, 3), 9, np.uint8)}
    view = weak_view(record, np.random.default_rng(0), Geometry((4, 4), (1.0, 1.0), rotation=45.0))
    assert view["valid"].sum() == 1 and view["image"][view["valid"]].tolist() == [[9, 9, 9]]
