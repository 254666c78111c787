"""Requirements for every data set, and how a new one is registered."""

import numpy as np
import pytest

from ipixmatch_jax.data import DATASETS, SOURCE_OPTIONS, load_dataset
from ipixmatch_jax.data.records import EmptySource, Splits
from ipixmatch_jax.errors import ConfigError, DataError


@pytest.fixture
def registered(array_source, monkeypatch):
    """A data set of arrays under the name `arrays`; yields the dict of its sources to change."""
    images = [np.zeros((4, 4, 3), np.uint8)] * 3
    masks = [np.zeros((4, 4), np.uint8)] * 3
    splits = {
        "labeled": array_source(images, masks, "l"),
        "unlabeled": array_source(images, None, "u"),
        "val": array_source(images, masks, "v"),
    }
    monkeypatch.setattr(DATASETS, "_entries", dict(DATASETS._entries))
    DATASETS.register("arrays")(lambda data, seed, problems: Splits(**splits))
    return splits


def test_names_and_options():
    assert set(SOURCE_OPTIONS) == set(DATASETS.names())
    assert {"folder", "digits", "tfds", "voc", "cityscapes", "coco", "ade20k", "pet"} <= set(
        DATASETS.names()
    )
    assert DATASETS["tfds:oxford_iiit_pet"] is DATASETS["tfds"]
    with pytest.raises(ConfigError, match="did you mean 'folder'"):
        DATASETS["foldr"]


def test_unknown_name(make_config):
    with pytest.raises(ConfigError, match="unknown data.name 'cityscape'"):
        load_dataset(make_config(name="cityscape"), 0)


def test_defaults_of_names_and_colors(registered, make_config):
    dataset = load_dataset(make_config(name="arrays"), 0)
    assert dataset.class_names == ("class 0", "class 1", "class 2", "class 3")
    assert dataset.palette.tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]


def test_given_names_and_colors(registered, make_config):
    colors = ((1, 2, 3), (4, 5, 6), (7, 8, 9), (250, 251, 252))
    dataset = load_dataset(
        make_config(name="arrays", class_names=("a", "b", "c", "d"), palette=colors), 0
    )
    assert dataset.class_names == ("a", "b", "c", "d") and dataset.num_classes == 4
    assert dataset.palette.dtype == np.uint8
    assert tuple(map(tuple, dataset.palette.tolist())) == colors


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"class_names": ("a", "b", "c")}, "data.class_names holds 3 names.*4"),
        ({"class_names": ("a", "b", "c", "b")}, "holds 'b' more than once"),
        ({"palette": ((0, 0, 0),)}, r"data.palette has shape \(1, 3\)"),
        ({"palette": ((0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 256))}, "0..255"),
        ({"num_classes": 1}, "data.num_classes=1"),
        ({"num_classes": 256}, "data.num_classes=256"),
    ],
)
def test_config_faults(registered, make_config, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_dataset(make_config(name="arrays", **changes), 0)


@pytest.mark.parametrize("split", ["labeled", "val"])
def test_empty_split(registered, make_config, split):
    registered[split] = EmptySource()
    with pytest.raises(DataError, match=f"the {split} split holds no records"):
        load_dataset(make_config(name="arrays"), 0)


def test_labeled_in_val_is_an_error(registered, make_config):
    registered["val"].ids = ("v0", "l2", "l0")
    with pytest.raises(DataError, match="2 ids are in the labeled and in the val split: l0, l2;"):
        load_dataset(make_config(name="arrays"), 0)


def test_many_problems_are_cut_short(folder_root, make_config):
    for number in range(6):
        next((folder_root / "train/images").glob(f"u{number}.*")).unlink()
    with pytest.raises(DataError) as raised:
        load_dataset(make_config(root=str(folder_root)), 0)
    assert "u4" in str(raised.value) and "u5" not in str(raised.value)
    assert "1 more; --mode inspect" in str(raised.value)
