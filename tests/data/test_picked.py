"""Data sets in which every image stays in the split in which a run has had it."""

import dataclasses
import pickle

import numpy as np

from ipixmatch_jax.config import load_config
from ipixmatch_jax.data import content_hashes, keep_splits, load_dataset, train_batches
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.hold_out import hold_out
from tests.references import exports

LISTS = {"labeled": "", "unlabeled": "", "val": ""}


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


def test_new_masks_of_the_hold_out_train_unless_they_copy_a_validation_image(tmp_path, make_config):
    """A new run holds them out; a run that goes on trains on all but the copies."""

    def draw(name, seed, brighter=0):
        noise = np.random.default_rng(seed).integers(0, 250, (24, 32, 3), dtype=np.uint8)
        exports.mask(tmp_path / f"images/{name}.png", noise + brighter)
        exports.mask(tmp_path / f"masks/{name}.png", exports.truth())

    def described(**folder):
        found = describe_folder(str(tmp_path))
        found["folder"] |= folder
        return load_dataset(make_config(**{**LISTS, **found}), 0)

    names = [f"m{number}" for number in range(40)]
    copied = names[hold_out(names, 0.2, 0)[0]]
    for number in {*range(10), int(copied[1:])}:
        draw(f"m{number}", number)
    before = described()
    assert copied in before.val.ids
    assert dict(before.groups).keys() == {*before.labeled.ids, *before.val.ids}
    for number in range(20, 40):
        draw(f"m{number}", number)
    draw(f"{copied}x", int(copied[1:]), brighter=3)
    after = described()
    drawn = set(after.val.ids) - set(before.val.ids)
    assert f"{copied}x" in drawn and len(drawn) > 2
    kept = keep_splits(after, ids(before))
    assert kept.val.ids == before.val.ids
    everything = set(after.labeled.ids) | drawn
    assert set(kept.labeled.ids) == everything - {f"{copied}x"}
    position = kept.labeled.ids.index(min(drawn - {f"{copied}x"}))
    assert kept.labeled[position]["mask"].shape == (24, 32)
    assert ids(keep_splits(after, ids(kept), train_new=False)) == ids(kept)
    # As older versions kept them: what was left out once stays so until the data changes again.
    assert set(keep_splits(after, ids(before), train_new=False).labeled.ids) == set(
        after.labeled.ids
    )
    # A copy does not train either if its group has become one of training images.
    alone = described(group="none")
    assert f"{copied}x" in keep_splits(alone, ids(before)).labeled.ids
    moved = dataclasses.replace(after, labeled=after.val, val=after.labeled)
    assert f"{copied}x" not in keep_splits(moved, ids(before)).labeled.ids


def test_hashes_of_contents(config_file, folder_data):
    _, dataset = loaded(config_file)
    before = content_hashes(dataset.labeled)
    path = folder_data / "train" / "masks" / "t3.png"
    path.write_bytes(path.read_bytes() + b" ")
    after = content_hashes(dataset.labeled)
    assert [one != other for one, other in zip(before, after, strict=True)] == [
        name == "t3" for name in dataset.labeled.ids
    ]


def test_a_near_duplicate_that_renames_its_group_moves_nothing_within_a_run(tmp_path, make_config):
    """A group is held out by the hash of its first id; a new first id may move it in a new run."""

    def draw(name, seed, brighter=0):
        noise = np.random.default_rng(seed).integers(0, 250, (24, 32, 3), dtype=np.uint8)
        exports.mask(tmp_path / f"images/{name}.png", noise + brighter)
        exports.mask(tmp_path / f"masks/{name}.png", exports.truth())

    def described():
        return load_dataset(make_config(**{**LISTS, **describe_folder(str(tmp_path))}), 0)

    names = [f"a{number}" for number in range(100)]
    first = next(name for name in names if len(hold_out([name, "z"], 0.2, 0)) == 1 and
                 hold_out([name, "z"], 0.2, 0)[0] == 0)  # fmt: skip
    for number in range(12):
        draw(f"m{number}", number)
    before = described()
    moved = before.labeled.ids[0]
    draw(first, int(moved.removeprefix("m")), brighter=2)
    after = described()
    assert moved in after.val.ids and first in after.val.ids
    kept = keep_splits(after, ids(before))
    assert set(kept.val.ids) == set(before.val.ids) and moved in kept.labeled.ids
    assert first in kept.labeled.ids  # a copy of a training image trains
    # A pattern names the group whatever images join it.
    found = describe_folder(str(tmp_path))
    found["folder"]["group"] = "^m.*"
    assert moved in load_dataset(make_config(**{**LISTS, **found}), 0).labeled.ids
