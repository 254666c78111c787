import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.engine.boundaries import (
    BoundaryCounts,
    boundary,
    boundary_distance,
    true_sizes,
)
from tests.references.eval_reference import CLASSES, boundary_counts, eroded


def test_boundaries_equal_erosions_of_every_class():
    rng = np.random.default_rng(3)
    # 61 x 90: distance 2; the second image has large areas, one row of 255 at its border.
    mask = rng.choice([0, 1, 2, 255], (2, 61, 90), p=[0.5, 0.3, 0.1, 0.1])
    mask[1] = np.kron(rng.integers(0, 3, (7, 9)), np.ones((9, 10), int))[:61]
    mask[1, 0], mask[1, 30:40, 30:40] = 255, 255
    predicted = np.where(rng.random(mask.shape) < 0.02, 1, np.roll(mask, 1, axis=2) % 255)
    expected = sum(boundary_counts(p, m) for p, m in zip(predicted, mask, strict=True))
    count = jax.jit(BoundaryCounts.from_predictions, static_argnums=2)
    counts = count(jnp.asarray(predicted, jnp.int32), jnp.asarray(mask, jnp.int32), CLASSES)
    np.testing.assert_array_equal(counts.both, expected[0])
    np.testing.assert_array_equal(counts.true + counts.predicted - counts.both, expected[1])
    assert np.isnan(counts.compute()[3]) and (np.asarray(counts.both[:3]) > 0).all()


@pytest.mark.parametrize("distance", [1, 3, 9])
def test_boundary_at_any_distance(distance):
    ids = np.kron(np.random.default_rng(4).integers(0, 3, (3, 2)), np.ones((5, 8), int))
    near = boundary(jnp.asarray(ids[None], jnp.int32), jnp.ones((1, *ids.shape), bool), distance)
    expected = np.zeros(ids.shape, bool)
    for c in range(3):
        expected |= (ids == c) & ~eroded(ids == c, distance)
    np.testing.assert_array_equal(near[0], expected)


def test_a_perfect_prediction_has_boundary_iou_1_with_ignored_pixels():
    mask = np.kron(np.random.default_rng(5).integers(0, 2, (4, 4)), np.ones((20, 20), int))
    mask[:, 18:22] = 255  # a border between objects, as in Pascal VOC
    predicted = np.where(mask == 255, 1, mask)
    count = jax.jit(BoundaryCounts.from_predictions, static_argnums=2)
    counts = count(jnp.asarray(predicted[None], jnp.int32), jnp.asarray(mask[None], jnp.int32), 2)
    np.testing.assert_array_equal(counts.compute(), [1.0, 1.0])


def test_two_percent_of_the_diagonal():
    sizes = {(375, 500): 12, (1024, 2048): 46, (9, 9): 1}  # 12.5 and 45.8 pixels, 0.25
    assert {size: boundary_distance(*size) for size in sizes} == sizes


def test_images_in_a_frame_have_the_boundaries_that_they_have_alone():
    """Sizes whose distances are 1 to 13 pixels, the frame's own among them."""
    rng = np.random.default_rng(7)
    frame, sizes = (260, 600), ((260, 600), (9, 9), (70, 80), (200, 375), (260, 1), (133, 600))
    assert sorted(true_sizes(sizes)[:, 2].tolist()) == [1, 2, 5, 8, 12, 13]
    mask = np.full((len(sizes), *frame), 255)
    predicted = rng.integers(0, 3, mask.shape)  # also beside the images
    expected = np.zeros((2, CLASSES))
    for row, (height, width) in enumerate(sizes):
        blocks = rng.integers(0, 3, (height // 20 + 1, width // 20 + 1))
        one = np.kron(blocks, np.ones((20, 20), int))[:height, :width]
        one[rng.random(one.shape) < 1e-3] = 255
        guess = np.where(rng.random(one.shape) < 1e-3, 1, np.roll(one, 2, 0) % 255)
        mask[row, :height, :width], predicted[row, :height, :width] = one, guess
        expected += boundary_counts(guess, one)
    count = jax.jit(BoundaryCounts.from_predictions, static_argnums=2)
    maps = (jnp.asarray(x, jnp.int32) for x in (predicted, mask))
    counts = count(*maps, CLASSES, jnp.asarray(true_sizes(sizes)))
    np.testing.assert_array_equal(counts.both, expected[0])
    np.testing.assert_array_equal(counts.true + counts.predicted - counts.both, expected[1])
