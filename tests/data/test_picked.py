"""Data sets in which every image stays in the split in which a run has had it."""

import dataclasses
import pickle

import numpy as np

from ipixmatch_jax.config import load_config
from ipixmatch_jax.data import content_hashes, keep_splits, load_dataset, train_batches


def loaded(config_file, *overrides):
    config = load_config(str(config_file), [f"--config.{one}" for one in overrides])
    return config, load_dataset(config.data, config.seed)


def ids(dataset):
    return {name: tuple(getattr(dataset, name).ids) for name in ("labeled", "unlabeled", "val")}


def test_without_a_change_nothing_is_wrapped(config_file):
    _, dataset = loaded(config_file)
    kept = keep_splits(dataset, ids(dataset))
    assert kept.labeled is dataset.labeled and kept.val is dataset.val
    assert kept.unlabeled is dataset.unlabeled


def test_no_image_ever_changes_between_training_and_validation(config_file):
    config, now = loaded(config_file)  # t0..t5 labeled, t6..t11 unlabeled, v0..v4 val
    known = {
        "labeled": ("t0", "t1", "v3"),
        "unlabeled": ("t5", "t7", "t8"),
        "val": ("t2", "v1", "t9", "gone"),
        "retired": ("t4",),
    }
    kept = keep_splits(now, known)
    assert ids(kept) == {
        "labeled": ("t0", "t1", "t3", "t5", "v3"),
        "unlabeled": ("t6", "t7", "t8", "t10", "t11"),
        "val": ("t2", "v1"),  # v0, v2 and v4 are new: left out, so that mIoU stays comparable
    }
    assert ids(keep_splits(now, {**ids(kept), "retired": ("t4", "t9", "gone")})) == ids(kept)
    for source, names in ((kept.labeled, kept.labeled.ids), (kept.val, kept.val.ids)):
        for position, name in enumerate(names):
            origin = now.val if name.startswith("v") else now.labeled
            expected = origin[origin.ids.index(name)]
            found = source[position]
            assert found["id"] == name and source.size(position) == found["mask"].shape
            np.testing.assert_array_equal(found["mask"], expected["mask"])
            np.testing.assert_array_equal(source.mask(position), expected["mask"])
            assert source.files(position) == origin.files(origin.ids.index(name))
    copy = pickle.loads(pickle.dumps(kept.labeled))  # as worker processes receive it
    np.testing.assert_array_equal(copy.read(4)["image"], kept.labeled[4]["image"])
    batches = train_batches(kept, config.data, batch_size=2, unlabeled_batch_size=2, seed=0)
    assert next(batches)["labeled"]["image"].shape == (2, 16, 16, 3)
    batches.close()


def test_pools_shrink_with_their_images_and_resized_sources_are_kept_too(config_file):
    _, now = loaded(config_file, "data.image_size=10,12")
    now = dataclasses.replace(now, unlabeled_pools=((2, 0.25), (4, 0.75)))
    known = {"labeled": (), "unlabeled": (), "val": ("t6", "t8", "v0"), "retired": ()}
    kept = keep_splits(now, known)
    assert kept.unlabeled_pools == ((1, 0.25), (3, 0.75))
    assert kept.val[0]["image"].shape == (10, 12, 3) and kept.unlabeled[0]["id"] == "t7"


def test_hashes_of_contents(config_file, folder_data):
    _, dataset = loaded(config_file)
    before = content_hashes(dataset.labeled)
    path = folder_data / "train" / "masks" / "t3.png"
    path.write_bytes(path.read_bytes() + b" ")
    after = content_hashes(dataset.labeled)
    assert [one != other for one, other in zip(before, after, strict=True)] == [
        name == "t3" for name in dataset.labeled.ids
    ]
