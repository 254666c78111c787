"""Batches depend only on seed and step."""

import pickle
import threading
from contextlib import closing

import numpy as np
import pytest

from ipixmatch_jax.data import Dataset, eval_batches, load_dataset, train_batches
from ipixmatch_jax.data.files.file_records import FileScenes
from ipixmatch_jax.data.geometry import Geometry
from ipixmatch_jax.data.pipeline import _Load
from ipixmatch_jax.data.records import EmptySource, record_rng
from ipixmatch_jax.errors import ConfigError, DataError


def numbered_images(count, size=(12, 14)):
    """Image i holds i + 1 in blue, and its coordinates, so that a crop shows its origin."""
    y, x = np.mgrid[: size[0], : size[1]]
    return [
        np.stack([y * 9, x * 9, np.full_like(y, i + 1)], -1).astype(np.uint8) for i in range(count)
    ]


@pytest.fixture
def dataset(array_source):
    labeled = numbered_images(5)
    masks = [np.full((12, 14), i % 4, np.uint8) for i in range(5)]
    return Dataset(
        labeled=array_source(labeled, masks),
        unlabeled=array_source(numbered_images(12)),
        val=array_source(labeled, masks),
        class_names=tuple("abcd"),
        palette=np.zeros((4, 3), np.uint8),
    )


def take(dataset, config, count, **options):
    options = {"batch_size": 4, "unlabeled_batch_size": 8, "seed": 3, **options}
    with closing(train_batches(dataset, config, **options)) as batches:
        return [next(batches) for _ in range(count)]


def assert_same(first, second):
    assert first.keys() == second.keys()
    for stream in first:
        assert first[stream].keys() == second[stream].keys()
        for name in first[stream]:
            np.testing.assert_array_equal(first[stream][name], second[stream][name])


def numbers(batch):
    """The image that each row shows."""
    return batch["image"][..., 2].max((1, 2)).astype(int) - 1


def test_shapes_and_types(dataset, make_config):
    batch = take(dataset, make_config(crop_size=(10, 8)), 1)[0]
    assert set(batch) == {"labeled", "unlabeled", "mix"}
    assert set(batch["labeled"]) == {"image", "mask", "valid", "key", "index"}
    assert set(batch["unlabeled"]) == set(batch["mix"]) == {"image", "valid", "key", "index"}
    for stream, rows in (("labeled", 4), ("unlabeled", 8), ("mix", 8)):
        part = batch[stream]
        assert part["image"].shape == (rows, 10, 8, 3) and part["image"].dtype == np.uint8
        assert part["valid"].shape == (rows, 10, 8) and part["valid"].dtype == bool
        assert part["key"].shape == (rows, 2) and part["key"].dtype == np.uint32
    assert batch["labeled"]["mask"].shape == (4, 10, 8)
    assert batch["labeled"]["mask"].dtype == np.uint8
    np.testing.assert_array_equal(batch["labeled"]["index"], numbers(batch["labeled"]))
    valid = batch["labeled"]["valid"]
    expected = np.where(valid, (batch["labeled"]["index"] % 4)[:, None, None], 255)
    np.testing.assert_array_equal(batch["labeled"]["mask"], expected)


def test_vertical_flips_and_turns_of_the_config_reach_every_stream(dataset, make_config):
    plain = take(dataset, make_config(), 3)
    flipped = take(dataset, make_config(vertical_flip=1.0), 3)
    turns = make_config(quarter_turns=True)
    turned, again = take(dataset, turns, 3), take(dataset, turns, 2, start_step=1)
    seen = set()
    for step, before in enumerate(plain):
        for stream, part in before.items():
            for name in part.keys() - {"key", "index"}:
                np.testing.assert_array_equal(flipped[step][stream][name], part[name][:, ::-1])
            for name in ("key", "index"):
                np.testing.assert_array_equal(turned[step][stream][name], part[name])
            for row in range(len(part["image"])):
                seen |= _turns(part["image"][row], turned[step][stream]["image"][row])
    assert seen >= {0, 1, 2, 3}
    for later, resumed in zip(turned[1:], again, strict=True):
        assert_same(later, resumed)


def test_rotation_of_the_config_reaches_every_stream(dataset, make_config):
    plain, config = take(dataset, make_config(), 3), make_config(rotation=30)
    turned, again = take(dataset, config, 3), take(dataset, config, 2, start_step=1)
    for before, after in zip(plain, turned, strict=True):
        for stream, part in before.items():
            for name in ("key", "index"):
                np.testing.assert_array_equal(after[stream][name], part[name])
            for row in range(len(part["image"])):
                assert (after[stream]["image"][row] != part["image"][row]).any()
            padding = ~after[stream]["valid"]
            assert padding.sum() > (~part["valid"]).sum()
            assert (after[stream]["image"][padding] == 0).all()
            if stream == "labeled":
                assert (after[stream]["mask"][padding] == 255).all()
    for later, resumed in zip(turned[1:], again, strict=True):
        assert_same(later, resumed)


def _turns(before, after):
    """All numbers of quarter turns that make one crop of the other; there must be one."""
    found = {k for k in range(4) if np.array_equal(np.rot90(before, k), after)}
    assert found
    return found


@pytest.mark.parametrize("process_count", [2, 4])
def test_global_batch_does_not_depend_on_processes(dataset, make_config, process_count):
    config = make_config()
    whole = take(dataset, config, 5)
    parts = [
        take(dataset, config, 5, process_index=index, process_count=process_count)
        for index in range(process_count)
    ]
    for step, expected in enumerate(whole):
        joined = {
            stream: {
                name: np.concatenate([part[step][stream][name] for part in parts])
                for name in expected[stream]
            }
            for stream in expected
        }
        assert_same(joined, expected)


@pytest.mark.parametrize("threads", [0, 1, 5])
def test_threads_change_nothing(dataset, make_config, threads):
    expected = take(dataset, make_config(threads=2), 6)
    for first, second in zip(take(dataset, make_config(threads=threads), 6), expected, strict=True):
        assert_same(first, second)


@pytest.mark.parametrize("process_count", [1, 2])
def test_start_step_continues_the_run(dataset, make_config, process_count):
    share = {"process_index": process_count - 1, "process_count": process_count}
    expected = take(dataset, make_config(), 9, **share)[4:]
    resumed = take(dataset, make_config(), 5, start_step=4, **share)
    for first, second in zip(resumed, expected, strict=True):
        assert_same(first, second)
    far = take(dataset, make_config(), 1, start_step=10_000_000, **share)
    assert far[0]["labeled"]["image"].shape[0] == 4 // process_count


def test_every_image_once_an_epoch_in_new_order(dataset, make_config):
    batches = take(dataset, make_config(), 12, unlabeled_batch_size=4)
    for stream in ("unlabeled", "mix"):
        order = np.concatenate([numbers(batch[stream]) for batch in batches]).reshape(4, 12)
        np.testing.assert_array_equal(np.sort(order, 1), np.tile(np.arange(12), (4, 1)))
        assert len({tuple(epoch) for epoch in order}) == 4
    labeled = np.concatenate([batch["labeled"]["index"] for batch in batches])[:45].reshape(9, 5)
    np.testing.assert_array_equal(np.sort(labeled, 1), np.tile(np.arange(5), (9, 1)))


def test_mix_is_another_order_and_other_crops(dataset, make_config):
    batches = take(dataset, make_config(), 6)
    own = np.concatenate([numbers(batch["unlabeled"]) for batch in batches])
    partner = np.concatenate([numbers(batch["mix"]) for batch in batches])
    assert (own == partner).mean() < 0.4
    # One order is not the other one shifted by an epoch.
    assert (own[:-12] != partner[12:]).any() and (partner[:-12] != own[12:]).any()


def test_keys_and_crops_are_new_each_time(dataset, make_config):
    batches = take(dataset, make_config(), 12)
    keys = np.concatenate([b[s]["key"] for b in batches for s in ("labeled", "unlabeled", "mix")])
    assert len(np.unique(keys, axis=0)) == len(keys)
    crops = [b["unlabeled"]["image"][numbers(b["unlabeled"]) == 0].tobytes() for b in batches]
    seen = [crop for crop in crops if crop]
    assert len(set(seen)) == len(seen) > 4


def test_seed_changes_order_and_keys(dataset, make_config):
    first = take(dataset, make_config(), 3)
    again = take(dataset, make_config(), 3)
    other = take(dataset, make_config(), 3, seed=4)
    for a, b, c in zip(first, again, other, strict=True):
        assert_same(a, b)
        assert (a["unlabeled"]["key"] != c["unlabeled"]["key"]).all()
    assert any(
        (numbers(a["mix"]) != numbers(c["mix"])).any() for a, c in zip(first, other, strict=True)
    )


def test_record_rng_streams_do_not_meet():
    draws = {
        record_rng(seed, stream, position).integers(2**63)
        for seed in (0, 1, -1) for stream in range(3) for position in range(50)
    }  # fmt: skip
    assert len(draws) == 3 * 3 * 50
    # A long draw at one position must not run into the next one.
    long = record_rng(0, 0, 0).integers(2**63, size=10_000)
    assert record_rng(0, 0, 1).integers(2**63) not in set(long.tolist())


def test_supervised_needs_no_unlabeled(dataset, make_config):
    bare = Dataset(
        dataset.labeled, EmptySource(), dataset.val, dataset.class_names, dataset.palette
    )
    batch = take(bare, make_config(), 1, unlabeled_batch_size=0)[0]
    assert set(batch) == {"labeled"}
    with pytest.raises(DataError, match="unlabeled_batch_size=8.*data.unlabeled"):
        take(bare, make_config(), 1)


@pytest.mark.parametrize(
    "options, named",
    [
        ({"batch_size": 3}, "batch_size=3"),
        ({"unlabeled_batch_size": 7}, "unlabeled_batch_size=7"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_batch_that_cannot_be_shared(dataset, make_config, options, named):
    with pytest.raises(ConfigError, match=named):
        take(dataset, make_config(), 1, process_count=2, **options)


@pytest.mark.parametrize("threads", [0, 3])
def test_data_error_reaches_the_consumer(folder_root, make_config, threads):
    config = make_config(root=str(folder_root), threads=threads)
    data = load_dataset(config, 0)
    (folder_root / "train/masks/l2.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"l2\.png"):
        take(data, config, 4)


def test_close_ends_the_threads(dataset, make_config):
    before = set(threading.enumerate())
    batches = train_batches(
        dataset, make_config(threads=3), batch_size=4, unlabeled_batch_size=4, seed=0
    )
    next(batches)
    assert set(threading.enumerate()) - before
    batches.close()
    batches.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)
    assert not set(threading.enumerate()) - before


def test_what_workers_are_sent_survives_pickling(folder_root, make_config):
    data = load_dataset(make_config(root=str(folder_root)), 0)
    load = _Load(data.labeled, Geometry((8, 8)), seed=1, stream=0)
    copy = pickle.loads(pickle.dumps(load))
    assert isinstance(copy.source, FileScenes)
    first, second = load(7, 2), copy(7, 2)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


SIZES = [(6, 8), (4, 4), (6, 8), (6, 8), (4, 4), (6, 8), (6, 8), (3, 9)]


@pytest.fixture
def mixed_sizes(array_source):
    images = [np.full((*size, 3), i + 1, np.uint8) for i, size in enumerate(SIZES)]
    return array_source(images, [image[..., 0] % 4 for image in images])


@pytest.mark.parametrize("process_count", [1, 2, 4])
def test_eval_covers_every_image_once(mixed_sizes, process_count):
    runs = [
        list(eval_batches(mixed_sizes, batch_size=4, process_index=i, process_count=process_count))
        for i in range(process_count)
    ]
    shapes = [[batch["image"].shape for batch in run] for run in runs]
    share = 4 // process_count
    expected = [(share, *size, 3) for size in ((6, 8), (6, 8), (4, 4), (3, 9))]
    assert shapes == [expected] * process_count
    order = [
        index for step in zip(*runs, strict=True) for batch in step for index in batch["index"]
    ]
    assert [index for index in order if index >= 0] == [0, 2, 3, 5, 6, 1, 4, 7]
    for batch in (batch for run in runs for batch in run):
        for row, index in enumerate(batch["index"]):
            real = index >= 0
            assert batch["valid"][row].all() == real == batch["valid"][row].any()
            assert (batch["image"][row] == (index + 1 if real else 0)).all()
            assert (batch["mask"][row] == ((index + 1) % 4 if real else 255)).all()
        assert batch["index"].dtype == np.int64 and batch["valid"].dtype == bool


def test_eval_errors(mixed_sizes, folder_root, make_config):
    with pytest.raises(ConfigError, match="batch_size=3"):
        eval_batches(mixed_sizes, batch_size=3, process_count=2)
    data = load_dataset(make_config(root=str(folder_root)), 0)
    (folder_root / "val/masks/v1.png").unlink()
    with pytest.raises(DataError, match=r"v1\.png"):
        list(eval_batches(data.val, batch_size=1))


def test_eval_can_be_left_early(mixed_sizes):
    before = set(threading.enumerate())
    batches = eval_batches(mixed_sizes, batch_size=1)
    next(batches)
    batches.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)
    assert not set(threading.enumerate()) - before
