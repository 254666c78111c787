"""Composed scenes of digits."""

import builtins
import sys

import numpy as np
import pytest

from ipixmatch_jax.data import load_dataset
from ipixmatch_jax.data.datasets.digits import load_glyphs, split_glyphs
from ipixmatch_jax.errors import ConfigError, DataError


@pytest.fixture
def digits_config(make_config):
    def make(**changes):
        sizes = {"unlabeled_scenes": 30, "val_scenes": 20, "labeled_scenes": 12}
        section = {**sizes, **changes.pop("digits", {})}
        return make_config(
            **{"name": "digits", "labeled": "12", "num_classes": 11, "digits": section, **changes}
        )

    return make


def assert_same_scenes(first, second):
    assert len(first) == len(second)
    for index in range(len(first)):
        one, other = first[index], second[index]
        assert one["id"] == other["id"]
        np.testing.assert_array_equal(one["image"], other["image"])


def test_counts_shapes_and_classes(digits_config):
    dataset = load_dataset(digits_config(), 0)
    assert (len(dataset.labeled), len(dataset.unlabeled), len(dataset.val)) == (12, 30, 20)
    assert dataset.class_names == ("background", *"0123456789")
    seen = set()
    for record in (dataset.labeled[i] for i in range(12)):
        assert record["image"].shape == (64, 64, 3) and record["image"].dtype == np.uint8
        assert record["mask"].shape == (64, 64) and record["mask"].dtype == np.uint8
        seen |= set(np.unique(record["mask"]).tolist())
    assert seen <= set(range(11)) and 0 in seen and len(seen) > 8
    assert set(dataset.unlabeled[0]) == {"id", "image"}
    ids = [*dataset.labeled.ids, *dataset.unlabeled.ids, *dataset.val.ids]
    assert len(set(ids)) == len(ids) == 62


def test_scenes_depend_on_seed_split_and_index_alone(digits_config):
    first, again = load_dataset(digits_config(), 5), load_dataset(digits_config(), 5)
    for index in (7, 2, 11):
        again.labeled[index]
    for split in ("labeled", "unlabeled", "val"):
        assert_same_scenes(getattr(first, split), getattr(again, split))
    more = load_dataset(digits_config(labeled="20"), 5)
    np.testing.assert_array_equal(more.labeled[11]["image"], first.labeled[11]["image"])
    other = load_dataset(digits_config(), 6)
    for split in ("labeled", "unlabeled"):
        changed = getattr(other, split)[0]["image"] != getattr(first, split)[0]["image"]
        assert changed.mean() > 0.5
    assert_same_scenes(first.val, other.val)
    images = {first.labeled[i]["image"].tobytes() for i in range(12)}
    images |= {first.unlabeled[i]["image"].tobytes() for i in range(30)}
    images |= {first.val[i]["image"].tobytes() for i in range(20)}
    assert len(images) == 62


def test_splits_share_no_background(digits_config):
    dataset = load_dataset(digits_config(digits={"min_digits": 0, "max_digits": 0}), 0)
    for index in range(12):
        images = [split[index]["image"] for split in (dataset.labeled, dataset.unlabeled)]
        images.append(dataset.val[index]["image"])
        for first, second in ((0, 1), (0, 2), (1, 2)):
            assert (images[first] != images[second]).mean() > 0.5


def test_all_means_the_same_scenes_with_all_masks(digits_config):
    few = load_dataset(digits_config(), 1)
    full = load_dataset(digits_config(labeled="all"), 1)
    assert full.labeled.ids == (*few.labeled.ids, *few.unlabeled.ids)
    assert full.labeled.size(41) == (64, 64)
    for index in range(12):
        np.testing.assert_array_equal(full.labeled[index]["mask"], few.labeled[index]["mask"])
    for index in range(30):
        record = full.labeled[12 + index]
        np.testing.assert_array_equal(record["image"], few.unlabeled[index]["image"])
        assert record["mask"].any()
    assert_same_scenes(full.unlabeled, few.unlabeled)


def test_digit_images_of_the_splits_are_disjoint():
    glyphs, classes = load_glyphs()
    pools = split_glyphs(classes)
    together = np.concatenate(list(pools.values()))
    assert len(together) == len(set(together.tolist())) == len(glyphs)
    for pool in pools.values():
        assert np.bincount(classes[pool], minlength=10).min() >= 30


def test_digits_stand_where_the_mask_says_and_are_bright(digits_config):
    dataset = load_dataset(digits_config(digits={"clutter": 0}), 0)
    for index in range(20):
        record = dataset.val[index]
        brightest = record["image"].max(-1).astype(float) / 255
        ink, paper = record["mask"] > 0, record["mask"] == 0
        assert 0.03 < ink.mean() < 0.7
        assert brightest[ink].mean() > 0.6 > 0.45 > np.median(brightest[paper])


def test_knobs(digits_config):
    def load(**digits):
        return load_dataset(digits_config(digits=digits), 0)

    one = load(min_digits=1, max_digits=1, scene_size=(48, 96), min_height=40, max_height=40,
               rotation=0.0, shear=0.0)  # fmt: skip
    for index in range(12):
        mask = one.labeled[index]["mask"]
        assert mask.shape == (48, 96) == one.labeled.size(index)
        assert len(np.unique(mask)) == 2
        # A scan fills its eight rows up to the blur of its edge.
        assert 28 <= np.flatnonzero(mask.any(1)).size <= 48
    none = load(min_digits=0, max_digits=0)
    assert not none.labeled[0]["mask"].any()
    dark = load(min_digits=0, max_digits=0, background_level=0.1, clutter=0, noise=0.0)
    assert max(dark.labeled[i]["image"].max() for i in range(12)) < 60


def test_overlap_is_limited(digits_config):
    crowded = {"min_digits": 2, "max_digits": 2, "min_height": 24, "max_height": 24}
    visible = {}
    for overlap in (0.05, 1.0):
        dataset = load_dataset(digits_config(digits={**crowded, "overlap": overlap}), 0)
        visible[overlap] = np.mean([(dataset.val[i]["mask"] > 0).mean() for i in range(20)])
    assert visible[0.05] > visible[1.0]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_classes": 10}, "data.num_classes=10.*11"),
        ({"labeled": "few"}, "data.labeled='few'.*'all'"),
        ({"digits": {"min_digits": 5, "max_digits": 4}}, "min_digits=5, max_digits=4"),
        ({"digits": {"max_height": 65}}, "max_height=65.*64x64"),
    ],
)
def test_config_faults(digits_config, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_dataset(digits_config(**changes), 0)


def test_no_scenes(digits_config):
    with pytest.raises(DataError, match="labeled split holds no records"):
        load_dataset(digits_config(labeled="0"), 0)


def test_without_scikit_learn(digits_config, monkeypatch):
    original = builtins.__import__

    def no_sklearn(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.startswith("sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", no_sklearn)
    with pytest.raises(DataError, match=r"pip install -e '\.\[demo\]'"):
        load_dataset(digits_config(), 0)
