"""Records brought to one size."""

import numpy as np

from ipixmatch_jax.data.records import Dataset, EmptySource, spread_palette
from ipixmatch_jax.data.resize import ResizedSource, resized


def test_resized_images_are_bilinear_and_masks_nearest(array_source):
    y, x = np.mgrid[:10, :8]
    image = np.stack([y * 20, x * 20, np.full_like(y, 5)], -1).astype(np.uint8)
    mask = (y * 8 + x).astype(np.uint8)
    source = ResizedSource(array_source([image], [mask]), (20, 16))
    assert source.size(0) == (20, 16) and source.ids == ("r0",) and len(source) == 1
    record = source[0]
    rows = np.clip((np.arange(20) + 0.5) / 2 - 0.5, 0, 9) * 20
    np.testing.assert_allclose(record["image"][:, 3, 0], rows, atol=0.6)
    np.testing.assert_array_equal(record["mask"], np.kron(mask, np.ones((2, 2), np.uint8)))
    assert (image[:, :, 2] == 5).all() and record["id"] == "r0"


def test_unlabeled_stays_unlabeled_when_resized(array_source):
    record = ResizedSource(array_source([np.zeros((4, 4, 3), np.uint8)]), (2, 2))[0]
    assert set(record) == {"id", "image"} and record["image"].shape == (2, 2, 3)


def test_native_size_by_default(array_source):
    source = array_source([np.zeros((4, 4, 3), np.uint8)])
    dataset = Dataset(source, EmptySource(), source, ("a", "b"), spread_palette(2))
    assert resized(dataset, (0, 0)) is dataset
    assert resized(dataset, (8, 6)).val.size(0) == (8, 6)
    assert len(resized(dataset, (8, 6)).unlabeled) == 0
    assert dataset.num_classes == 2
