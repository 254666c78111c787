import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.views import cutmix_box, paste, resize_box

SIZE = (60, 48)


N = 4000


@jax.jit
def draw(keys, probability, area, ratio):
    def one(key):
        box = cutmix_box(key, *SIZE, probability=probability, area=area, ratio=ratio)
        rows, columns = jnp.any(box, axis=1), jnp.any(box, axis=0)
        corner = jnp.stack([jnp.argmax(rows), jnp.argmax(columns)])
        return jnp.concatenate([corner, jnp.stack([jnp.sum(rows), jnp.sum(columns)])]), box

    return jax.vmap(one)(keys)


def boxes(seed=1, probability=1.0, area=(0.02, 0.4), ratio=(0.3, 1 / 0.3)):
    """N boxes, as rows (top, left, height, width), zeros where there is none, and as maps."""
    found, maps = draw(jax.random.split(jax.random.key(seed), N), probability, area, ratio)
    return np.asarray(found), np.asarray(maps)


def rejection_sampled(n, area=(0.02, 0.4), ratio=(0.3, 1 / 0.3)):
    """UniMatch's procedure: draw ratio and corner again until the box fits."""
    rng = np.random.default_rng(2)
    height, width = SIZE
    out = []
    for _ in range(n):
        size = rng.uniform(*area) * height * width
        while True:
            aspect = rng.uniform(*ratio)
            box_height, box_width = int(np.sqrt(size * aspect)), int(np.sqrt(size / aspect))
            top, left = rng.integers(0, height), rng.integers(0, width)
            if top + box_height <= height and left + box_width <= width:
                break
        out.append((top, left, box_height, box_width))
    return np.array(out)


def largest_gap(a, b):
    """Two-sample Kolmogorov-Smirnov statistic; above 1.95 once in 1000 for equal ones."""
    points = np.concatenate([a, b])
    share = [np.searchsorted(np.sort(x), points, side="right") / len(x) for x in (a, b)]
    return np.abs(share[0] - share[1]).max() * np.sqrt(len(a) * len(b) / (len(a) + len(b)))


def test_boxes_are_whole_rectangles_inside_the_image():
    found, maps = boxes()
    for (top, left, height, width), box in zip(found, maps, strict=True):
        assert box.sum() == height * width > 0
        assert box[top : top + height, left : left + width].all()


@pytest.mark.parametrize("area", [(0.02, 0.4), (0.35, 0.4)])
def test_the_distribution_equals_rejection_sampling(area):
    found, _ = boxes(area=area)
    expected = rejection_sampled(len(found), area)
    for name, measure in {
        "top": lambda b: b[:, 0],
        "left": lambda b: b[:, 1],
        "height": lambda b: b[:, 2],
        "width": lambda b: b[:, 3],
        "area": lambda b: b[:, 2] * b[:, 3],
        "ratio": lambda b: b[:, 2] / b[:, 3],
        "room below": lambda b: SIZE[0] - b[:, 0] - b[:, 2],
        "room on the right": lambda b: SIZE[1] - b[:, 1] - b[:, 3],
    }.items():
        assert largest_gap(measure(found), measure(expected)) < 1.95, name


def test_area_is_uniform_up_to_whole_pixels():
    found, _ = boxes()
    share = found[:, 2] * found[:, 3] / np.prod(SIZE)
    assert share.max() <= 0.4
    assert share.mean() == pytest.approx(0.21, abs=0.012)


def test_probability():
    found, _ = boxes(probability=0.5)
    assert np.mean(found[:, 2] > 0) == pytest.approx(0.5, abs=0.03)
    _, maps = boxes(probability=0.0)
    assert not maps.any()


def test_the_largest_default_area_always_finds_a_box():
    for seed in range(5):
        found, _ = boxes(seed, area=(0.4, 0.4))
        assert np.all(found[:, 2] > 0)


def test_a_box_that_can_never_fit_is_no_box():
    _, maps = boxes(area=(0.9, 0.9), ratio=(3.0, 3.3))
    assert not maps.any()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.int32, jnp.uint8, jnp.bool_])
@pytest.mark.parametrize("trailing", [(), (3,), (2, 5)])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_paste_chooses_by_pixel(batch, trailing, dtype):
    rng = np.random.default_rng(0)
    box = rng.random((*batch, 4, 6)) < 0.5
    inside, outside = (
        jnp.asarray(rng.integers(0, 200, (*batch, 4, 6, *trailing))).astype(dtype) for _ in "io"
    )
    found = paste(jnp.asarray(box), inside, outside)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[box], inside[box])
    np.testing.assert_array_equal(found[~box], outside[~box])


def test_paste_refuses_maps_that_do_not_fit():
    box = jnp.zeros((2, 4, 6), bool)
    with pytest.raises(ValueError, match="one shape and dtype"):
        paste(box, jnp.zeros((2, 4, 6, 3)), jnp.zeros((2, 4, 6)))
    with pytest.raises(ValueError, match="one shape and dtype"):
        paste(box, jnp.zeros((2, 4, 6)), jnp.zeros((2, 4, 6), jnp.int32))
    with pytest.raises(ValueError, match="begin with the box"):
        paste(box, jnp.zeros((4, 6, 2)), jnp.zeros((4, 6, 2)))


def test_resized_box_is_the_box_at_the_points_of_the_grid():
    box = np.zeros((1, 9, 13), bool)
    box[0, 2:7, 4:13] = True
    np.testing.assert_array_equal(resize_box(box, (9, 13)), box)
    np.testing.assert_array_equal(resize_box(box, (3, 4))[0], box[0][[0, 4, 8]][:, [0, 4, 8, 12]])
