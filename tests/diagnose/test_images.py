"""The images that are measured: labeled, of the split, and none that the run trained on."""

import dataclasses

import numpy as np
import pytest

from ipixmatch_jax.config import load_config
from ipixmatch_jax.data import load_dataset
from ipixmatch_jax.diagnose.images import images_of
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.methods import make_method
from ipixmatch_jax.run.images import describe_splits
from ipixmatch_jax.workdir.splits import RunSplits, write_splits


@pytest.fixture
def parts(config_file):
    config = load_config(str(config_file), ["--config.data.scale_range=(1.0,1.0)"])
    return config, load_dataset(config.data, config.seed)


def images(parts, tmp_path, groups=8, **options):
    config, dataset = parts
    return images_of(config, make_method("fixmatch", options), dataset, tmp_path, groups)


def test_groups_are_consecutive_and_share_no_image(parts, tmp_path):
    found = images(parts, tmp_path)
    # Two images a group at least, but three groups.
    assert found.groups == ((0, 1), (2, 3), (4,)) and found.count == 5
    assert found.sizes == (2, 2)
    config, dataset = parts
    many = dataclasses.replace(dataset, val=dataset.labeled, labeled=dataset.val)
    assert images((config, many), tmp_path).groups == ((0, 1), (2, 3), (4, 5))
    config = config.copy_and_resolve_references()
    config.batch_size = config.unlabeled_batch_size = 64
    assert images((config, dataset), tmp_path).sizes == (8, 8)


def test_batches_hold_the_groups_images_with_their_masks(parts, tmp_path):
    _, dataset = parts
    for positions, group in zip(((0, 1), (2, 3), (4,)), images(parts, tmp_path), strict=True):
        crops = {name: crops_of(dataset, name, positions) for name in ("val", "labeled")}
        for name in ("unlabeled", "mix"):
            records = group.mixed[name]
            assert records["image"].shape == (2, 16, 16, 3) and records["key"].shape == (2, 2)
            check(records, crops["val"])
        check(group.mixed["labeled"], crops["labeled"])
        assert len(group.plain) == 1
        check(group.plain[0], crops["val"])


def crops_of(dataset, name, positions):
    """All crops, and their mirror images, of records."""
    source = getattr(dataset, name)
    places = positions if name == "val" else range(len(source))
    found = {}
    for record in (source[i] for i in places):
        for row in range(5):
            for column in range(9):
                window = np.s_[row : row + 16, column : column + 16]
                image, mask = record["image"][window], record["mask"][window]
                found[image.tobytes()] = mask
                found[image[:, ::-1].tobytes()] = mask[:, ::-1]
    return found


def check(records, crops):
    for image, mask in zip(records["image"], records["mask"], strict=True):
        np.testing.assert_array_equal(mask, crops[image.tobytes()])


def test_the_partner_of_mix_same_is_the_same_image(parts, tmp_path):
    config, _ = parts
    config = config.copy_and_resolve_references()
    config.data.flip, config.data.crop_size = 0.0, (20, 24)
    for group in images((config, parts[1]), tmp_path, mix="same"):
        np.testing.assert_array_equal(
            group.mixed["mix"]["image"], group.mixed["unlabeled"]["image"]
        )
        assert (group.mixed["mix"]["key"] != group.mixed["unlabeled"]["key"]).any()


def test_images_that_the_run_trained_on_are_left_out(parts, tmp_path):
    config, dataset = parts
    found = describe_splits(dataset)
    trained = {"ids": [*found["labeled"]["ids"], *dataset.val.ids[:2]]}
    write_splits(tmp_path, RunSplits({**found, "labeled": trained}, found))
    assert images(parts, tmp_path).groups == ((2,), (3,), (4,))
    again = dataclasses.replace(dataset, val=dataset.labeled)
    with pytest.raises(DataError, match=r"0 labeled images .*\(6 others it did\)"):
        images((config, again), tmp_path)


def test_too_few_batches(parts, tmp_path):
    with pytest.raises(ConfigError, match="--batches is 2; expected at least 3"):
        images(parts, tmp_path, groups=2)
