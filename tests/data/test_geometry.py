"""The weak view, checked by coordinates that the images encode."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data.geometry import Geometry, draw_window, through, weak_view
from ipixmatch_jax.errors import ConfigError


def coordinate_record(height, width):
    """Red is the row, green the column; the mask is a checkerboard of 8x8 cells, ids 0..3."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([y, x, np.full_like(y, 77)], -1).astype(np.uint8)
    mask = (2 * (y // 8 % 2) + x // 8 % 2).astype(np.uint8)
    return {"id": "a", "image": image, "mask": mask}


def valid_extent(view):
    """Height and width of the valid rectangle, and True if it touches the right side (flipped)."""
    valid = view["valid"]
    rows, columns = np.flatnonzero(valid.any(1)), np.flatnonzero(valid.any(0))
    assert valid.sum() == len(rows) * len(columns) and rows[0] == 0
    return len(rows), len(columns), columns[0] > 0


def linear_axis(length, scaled):
    """Source coordinates of the pixel centers of one axis, as half-pixel resampling defines it."""
    centers = (np.arange(scaled) + 0.5) * length / scaled - 0.5
    return np.clip(centers, 0, length - 1)


@pytest.mark.parametrize("height, width", [(40, 56), (56, 40)])
def test_whole_image_enlarged_and_padded(height, width):
    record = coordinate_record(height, width)
    geometry = Geometry((112, 112), (1.5, 1.5), flip=0.0)
    view = weak_view(record, np.random.default_rng(0), geometry)
    tall, wide = height * 3 // 2, width * 3 // 2

    expected_valid = np.zeros((112, 112), bool)
    expected_valid[:tall, :wide] = True
    np.testing.assert_array_equal(view["valid"], expected_valid)
    rows, columns = linear_axis(height, tall), linear_axis(width, wide)
    inside = view["image"][:tall, :wide].astype(float)
    # Interpolation of a ramp is the ramp; half a level for rounding, a little for PIL's fixed point
    np.testing.assert_allclose(inside[..., 0], np.tile(rows[:, None], (1, wide)), atol=0.6)
    np.testing.assert_allclose(inside[..., 1], np.tile(columns, (tall, 1)), atol=0.6)
    nearest_y = np.floor((np.arange(tall) + 0.5) * height / tall).astype(int)
    nearest_x = np.floor((np.arange(wide) + 0.5) * width / wide).astype(int)
    np.testing.assert_array_equal(
        view["mask"][:tall, :wide], record["mask"][np.ix_(nearest_y, nearest_x)]
    )
    assert (view["image"][~view["valid"]] == 0).all()
    assert (view["mask"][~view["valid"]] == 255).all()
    assert view["image"].dtype == view["mask"].dtype == np.uint8


@pytest.mark.parametrize("seed", range(12))
def test_image_and_mask_show_the_same_place(seed):
    record = coordinate_record(120, 90)
    geometry = Geometry((64, 48), (0.5, 2.0), flip=0.5)
    view = weak_view(record, np.random.default_rng(seed), geometry)
    assert view["image"].shape == (64, 48, 3) and view["mask"].shape == (64, 48)
    y, x = (view["image"][..., channel].astype(float) for channel in (0, 1))
    # Away from cell borders the decoded coordinates say which class the mask must have.
    clear = view["valid"] & (np.abs(y % 8 - 3.5) < 2) & (np.abs(x % 8 - 3.5) < 2)
    assert clear.sum() > 50
    np.testing.assert_array_equal(
        view["mask"][clear], (2 * (y // 8 % 2) + x // 8 % 2)[clear].astype(np.uint8)
    )
    assert (view["mask"][view["valid"]] < 4).all()
    assert (view["image"][..., 2][view["valid"]] == 77).all()


@pytest.mark.parametrize("factor", [0.5, 0.77, 1.0, 1.6])
def test_crop_is_a_window_of_the_whole_resized_image(factor):
    image = np.random.default_rng(5).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    geometry = Geometry((24, 20), (factor, factor), flip=0.0)
    view = weak_view({"id": "a", "image": image}, np.random.default_rng(3), geometry)
    long_side = int(80 * factor)
    size = (long_side, int(60 * long_side / 80 + 0.5))
    whole = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR), np.int16)
    windows = np.lib.stride_tricks.sliding_window_view(whole, (24, 20, 3))[:, :, 0]
    worst = np.abs(windows - view["image"].astype(np.int16)).max((2, 3, 4))
    assert worst.min() <= 1
    assert view["valid"].all() and "mask" not in view


def test_scales_places_and_flips_are_uniform():
    rng = np.random.default_rng(0)
    record = coordinate_record(8, 6)
    longs, flips = [], 0
    for _ in range(1300):
        height, width, flipped = valid_extent(weak_view(record, rng, Geometry((17, 17))))
        assert width == int(6 * height / 8 + 0.5)
        longs.append(height)
        flips += flipped
    counts = np.bincount(longs, minlength=17)
    assert counts[:4].sum() == 0 and len(counts) == 17
    assert counts[4:].min() > 60 and counts[4:].max() < 140  # 100 each
    assert 560 < flips < 740

    corners = np.zeros((5, 3), int)
    for _ in range(600):
        view = weak_view(record, rng, Geometry((4, 4), (1.0, 1.0), flip=0.0))
        corners[view["image"][0, 0, 0], view["image"][0, 0, 1]] += 1
    assert corners.sum() == 600 and corners.min() > 15  # 40 each


def test_flip_mirrors_everything():
    record = coordinate_record(30, 20)
    plain, flipped = (
        weak_view(record, np.random.default_rng(7), Geometry((40, 40), flip=p)) for p in (0.0, 1.0)
    )
    for name in ("image", "mask", "valid"):
        np.testing.assert_array_equal(flipped[name], plain[name][:, ::-1])


def _plain_and(record, seed, size, **changes):
    """The view without vertical flips and turns, the one with, and the window of the latter."""
    geometry, changed = Geometry(size), Geometry(size, **changes)
    plain, view = (
        weak_view(record, np.random.default_rng(seed), chosen) for chosen in (geometry, changed)
    )
    window = draw_window(record["image"].shape[:2], np.random.default_rng(seed), changed)
    return plain, view, window


@pytest.mark.parametrize("seed", range(4))
def test_vertical_flip_mirrors_everything(seed):
    # Some of these views are padded, some are mirrored left-right as well.
    record = coordinate_record(30, 20)
    record["valid"] = record["mask"] != 2
    plain, view, _ = _plain_and(record, seed, (40, 28), vertical_flip=1.0)
    assert set(view) == {"image", "mask", "valid"}
    for name in view:
        np.testing.assert_array_equal(view[name], plain[name][::-1])


def test_quarter_turns_turn_everything_alike():
    record = coordinate_record(30, 20)
    record["valid"] = record["mask"] != 2
    seen = set()
    for seed in range(40):
        plain, view, window = _plain_and(record, seed, (32, 32), quarter_turns=True)
        seen.add(window.turns)
        for name in view:
            turned = plain[name]
            for _ in range(window.turns):  # counterclockwise: rows become columns, bottom up
                turned = turned.swapaxes(0, 1)[::-1]
            np.testing.assert_array_equal(view[name], turned)
            assert view[name].flags.c_contiguous and view[name].dtype == plain[name].dtype
    assert seen == {0, 1, 2, 3}


def test_vertical_flips_and_turns_are_uniform_and_repeatable():
    record = {"id": "a", "image": np.arange(12, dtype=np.uint8).reshape(2, 2, 3)}
    geometry = Geometry((2, 2), (1.0, 1.0), 0.5, vertical_flip=0.25, quarter_turns=True)
    rng, again = np.random.default_rng(0), np.random.default_rng(0)
    turns, vertical = np.zeros(4, int), 0
    for _ in range(1200):
        window = draw_window((2, 2), rng, geometry)
        turns[window.turns] += 1
        vertical += window.vertical_flip
        view = weak_view(record, again, geometry)
        np.testing.assert_array_equal(view["image"], through(window, record, (2, 2))["image"])
    assert turns.min() > 240 and turns.max() < 360  # 300 each
    assert 240 < vertical < 360  # 300


def test_the_mask_follows_the_image_through_flips_and_turns():
    record = coordinate_record(120, 90)
    geometry = Geometry((64, 64), vertical_flip=0.5, quarter_turns=True)
    for seed in range(12):
        view = weak_view(record, np.random.default_rng(seed), geometry)
        y, x = (view["image"][..., channel].astype(float) for channel in (0, 1))
        clear = view["valid"] & (np.abs(y % 8 - 3.5) < 2) & (np.abs(x % 8 - 3.5) < 2)
        assert clear.sum() > 50
        expected = (2 * (y // 8 % 2) + x // 8 % 2)[clear].astype(np.uint8)
        np.testing.assert_array_equal(view["mask"][clear], expected)
        assert (view["mask"][~view["valid"]] == 255).all()


def test_without_vertical_flips_and_turns_nothing_more_is_drawn():
    # The numbers that `draw_window` took before it had these options.
    for seed in range(5):
        rng, by_hand = np.random.default_rng(seed), np.random.default_rng(seed)
        window = draw_window((30, 20), rng, Geometry((12, 12)))
        long = int(by_hand.integers(15, 60, endpoint=True))
        short = int(20 * long / 30 + 0.5)
        places = [int(by_hand.integers(0, max(n - 12, 0), endpoint=True)) for n in (long, short)]
        flip = by_hand.random() < 0.5
        assert (window.scaled, window.top, window.left) == ((long, short), *places)
        assert (window.flip, window.vertical_flip, window.turns) == (flip, False, 0)
        assert rng.bit_generator.state == by_hand.bit_generator.state


def test_quarter_turns_need_a_square_crop():
    with pytest.raises(ConfigError, match=r"square crop.*data.crop_size=\(24,24\)"):
        Geometry((32, 24), quarter_turns=True)


def test_same_crop_with_and_without_mask():
    record = coordinate_record(50, 70)
    bare = {"id": "a", "image": record["image"]}
    with_mask, without = (
        weak_view(r, np.random.default_rng(1), Geometry((32, 32))) for r in (record, bare)
    )
    assert set(without) == {"image", "valid"}
    np.testing.assert_array_equal(with_mask["image"], without["image"])
    np.testing.assert_array_equal(with_mask["valid"], without["valid"])


def test_one_pixel_image():
    record = {
        "id": "a",
        "image": np.full((1, 1, 3), 9, np.uint8),
        "mask": np.ones((1, 1), np.uint8),
    }
    view = weak_view(record, np.random.default_rng(0), Geometry((4, 4), flip=0.0))
    assert view["valid"][0, 0] and view["mask"][0, 0] == 1 and (view["image"][0, 0] == 9).all()


def test_record_is_left_alone():
    record = coordinate_record(20, 20)
    before = {k: v.copy() for k, v in record.items() if k != "id"}
    view = weak_view(record, np.random.default_rng(0), Geometry((20, 20), (1.0, 1.0)))
    view["image"][:] = 0
    view["mask"][:] = 0
    for name, array in before.items():
        np.testing.assert_array_equal(record[name], array)
