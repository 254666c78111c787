"""What a run lacks is said before it starts."""

import dataclasses
import shutil
from collections import namedtuple

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.config import default_config
from ipixmatch_jax.data import check_training_needs, load_dataset, training_needs
from ipixmatch_jax.errors import DataError

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def whole(folder_root, make_config):
    """A config of 4 labeled and 6 unlabeled images of 20x24."""
    config = default_config()
    config.data = make_config(root=str(folder_root))
    config.batch_size, config.unlabeled_batch_size = 4, 6
    return config


def needs(config, uses_unlabeled=True):
    dataset = load_dataset(config.data, 0)
    return training_needs(config, dataset, uses_unlabeled=uses_unlabeled)


def test_nothing_is_said_of_enough_images(whole):
    assert needs(whole).lines == []


def test_batches_larger_than_the_data(whole):
    whole.batch_size, whole.unlabeled_batch_size = 5, 8
    unlabeled, labeled = needs(whole).remarks
    assert labeled.startswith("4 labeled images are fewer than batch_size=5")
    assert unlabeled.startswith("6 unlabeled images are fewer than unlabeled_batch_size=8")
    assert len(needs(whole, uses_unlabeled=False).remarks) == 1


def test_no_unlabeled_images(whole):
    whole.data.unlabeled = ""
    dataset = load_dataset(whole.data, 0)
    with pytest.raises(DataError, match="uses unlabeled images, and there are none.*supervised"):
        check_training_needs(whole, dataset, uses_unlabeled=True)
    assert check_training_needs(whole, dataset, uses_unlabeled=False).lines == []


def test_no_unlabeled_images_next_to_a_list_of_labeled_ones(whole):
    # Photos without masks may lie there: the list leaves them out.
    dataset = dataclasses.replace(load_dataset(whole.data, 0), unlabeled=())
    whole.data.labeled, whole.data.unlabeled = "labeled.txt", ""
    (problem,) = training_needs(whole, dataset, uses_unlabeled=True).problems
    assert "set data.unlabeled=rest" in problem and "put photos" not in problem
    whole.data.labeled = ""
    (problem,) = training_needs(whole, dataset, uses_unlabeled=True).problems
    assert "put photos without masks" in problem


@pytest.mark.parametrize("crop, text", [
    ((60, 60), "even scaled by 2 (largest 20x24): the rest of each crop is padding"),
    ((30, 30), "a crop shows an enlarged image or padding"), ((24, 24), ""),
])  # fmt: skip
def test_crops_larger_than_every_image(whole, crop, text):
    whole.data.crop_size, whole.data.scale_range = crop, (0.5, 2.0)
    found = needs(whole).remarks
    assert text in found[0] and "data.crop_size=(20,24)" in found[0] if text else found == []


def test_shared_memory_for_workers(whole, monkeypatch):
    whole.data.workers, whole.data.crop_size = 3, (16, 16)
    # 2 batches for each of 3 workers: image and valid of 4 + 2 * 6 records, and 4 masks.
    needed = 2 * 3 * 16 * 16 * (16 * 4 + 4)
    monkeypatch.setattr("ipixmatch_jax.data.inspection.training_needs._SHARED_MEMORY", "/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, needed - 1))
    assert "docker run --shm-size" in needs(whole).problems[0]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, needed))
    assert needs(whole).lines == []
    whole.data.workers = 0
    monkeypatch.setattr(shutil, "disk_usage", lambda path: np.nan)
    assert needs(whole).lines == []


def test_keys_that_leave_nothing_to_learn(whole):
    whole.optimizer.learning_rate = 0.0
    assert needs(whole).lines == ["optimizer.learning_rate=0: the network stays as it is"]
    whole.optimizer.learning_rate, whole.optimizer.warmup_steps = 0.1, 4 * whole.total_steps
    (line,) = needs(whole).lines
    assert "only rises, to 0.25 of optimizer.learning_rate" in line
    whole.supervised.class_weights = (0.0, 0.0)
    assert "class_weights are all 0" in needs(whole).problems[0]


def test_unlabeled_copies_of_validation_images(whole, folder_root, monkeypatch):
    dataset = load_dataset(whole.data, 0)
    assert check_training_needs(whole, dataset, uses_unlabeled=True).lines == []
    shutil.copy(dataset.val.image_paths[0], dataset.unlabeled.image_paths[2])
    (remark,) = check_training_needs(whole, dataset, uses_unlabeled=True).lines
    assert remark.startswith("1 unlabeled files are copies of validation images")
    tested = dataclasses.replace(dataset, val=dataset.labeled, test=dataset.val)
    (remark,) = check_training_needs(whole, tested, uses_unlabeled=True).lines
    assert remark.startswith("1 unlabeled files are copies of test images")
    assert check_training_needs(whole, dataset, uses_unlabeled=False).lines == []
    monkeypatch.setattr("ipixmatch_jax.data.inspection.training_needs._LARGEST_COMPARED", 5)
    assert check_training_needs(whole, dataset, uses_unlabeled=True).lines == []


def test_classes_that_no_labeled_mask_holds(whole):
    dataset = load_dataset(whole.data, 0)
    assert check_training_needs(whole, dataset, uses_unlabeled=False).lines == []
    wider = dataclasses.replace(dataset, class_names=(*dataset.class_names, "cat", "dog"))
    (remark,) = check_training_needs(whole, wider, uses_unlabeled=False).lines
    count = len(dataset.class_names)
    assert remark.startswith(f"no labeled mask holds the classes cat, dog (2 of {count + 2})")
    for path in dataset.labeled.mask_paths:
        Image.fromarray(np.full((20, 24), 255, np.uint8)).save(path)
    with pytest.raises(DataError, match="the 4 labeled masks hold only ignored pixels"):
        check_training_needs(whole, dataset, uses_unlabeled=False)
