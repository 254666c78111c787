"""Batches from files: worker processes, files that cannot be read, pools, reduced decoding."""

import os
import threading
import time
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data import DeviceFeed, load_dataset, train_batches
from ipixmatch_jax.data.files.images import read_image
from ipixmatch_jax.errors import DataError


def take(dataset, config, count, **options):
    options = {"batch_size": 2, "unlabeled_batch_size": 4, "seed": 3, **options}
    with closing(train_batches(dataset, config, **options)) as batches:
        return [next(batches) for _ in range(count)], batches


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        for stream in ("labeled", "unlabeled", "mix"):
            assert a[stream].keys() == b[stream].keys()
            for name in a[stream]:
                np.testing.assert_array_equal(a[stream][name], b[stream][name])


def joined(parts):
    """The global batches of several processes' shares."""
    return [
        {s: {n: np.concatenate([p[s][n] for p in step]) for n in step[0][s]} for s in step[0]}
        for step in zip(*parts, strict=True)
    ]


@pytest.mark.slow
def test_worker_processes_change_nothing(folder_root, make_config):
    config = make_config(root=str(folder_root))
    dataset = load_dataset(config, 0)
    expected, _ = take(dataset, config, 5)
    for config.workers in (1, 2, 4):
        assert_same(take(dataset, config, 5)[0], expected)
    # Two processes, one of them with two workers, resumed at step 2.
    shares = []
    for index, config.workers in enumerate((0, 2)):
        shares.append(
            take(dataset, config, 3, start_step=2, process_index=index, process_count=2)[0]
        )
    assert_same(joined(shares), expected[2:])
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and left_over_workers():
        time.sleep(0.1)
    assert not left_over_workers()


def left_over_workers():
    children = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
    found = []
    for pid in open(children).read().split() if os.path.exists(children) else ():
        try:
            command = open(f"/proc/{pid}/cmdline").read()
        except OSError:
            continue
        found += [pid] if "spawn_main" in command else []
    return found


@pytest.fixture
def broken(folder_root):
    for name in ("train/images/u2.png", "train/masks/l1.png"):
        (folder_root / name).write_bytes(b"broken")
    return folder_root


def test_error_of_a_broken_file_names_it(broken, make_config):
    config = make_config(root=str(broken))
    with pytest.raises(DataError, match=r"l1\.png"):
        load_dataset(config, 0)
    Image.fromarray(np.zeros((20, 24), np.uint8)).save(broken / "train/masks/l1.png")
    with pytest.raises(DataError, match=r"u2\.png: cannot be read"):
        take(load_dataset(config, 0), config, 6)


@pytest.mark.parametrize("threads, workers", [(4, 0), (1, 1)])
def test_skipping_keeps_batches_full_and_order_the_same(
    broken, make_config, capsys, threads, workers
):
    config = make_config(root=str(broken), on_error="skip", threads=threads, workers=workers)
    dataset = load_dataset(config, 0)
    batches, run = take(dataset, config, 6)
    for batch in batches:
        assert batch["labeled"]["image"].shape[0] == 2 and "skipped" not in batch["labeled"]
        assert (batch["labeled"]["index"] != 1).all()
    # u2 once in each of the 4 epochs of 6 unlabeled and of 6 mix images; l1 in 3 epochs of 4.
    assert run.skipped == {
        str(broken / "train/images/u2.png"): 8,
        str(broken / "train/images/l1.jpg"): 3,
    }
    printed = capsys.readouterr().out
    assert printed.count("skipped") == 2 and "u2.png" in printed
    # Readable records are the same as without the broken files.
    for name in ("train/images/u2.png", "train/masks/l1.png"):
        Image.fromarray(np.zeros((20, 24), np.uint8)).save(broken / name)
    whole, _ = take(load_dataset(config, 0), make_config(root=str(broken)), 6)
    kept = 0
    for got, want in zip(batches, whole, strict=True):
        for stream in ("labeled", "unlabeled", "mix"):
            same = (got[stream]["image"] == want[stream]["image"]).all((1, 2, 3))
            kept += int(same.sum())
    assert kept == 6 * (2 + 4 + 4) - 8 - 3
    share = [
        take(dataset, make_config(root=str(broken)), 6, process_index=i, process_count=2)[0]
        for i in range(2)
    ]
    assert_same(joined(share), whole)


def test_skipping_is_for_single_files(folder_root, make_config):
    for path in (folder_root / "train/images").glob("u*"):
        path.write_bytes(b"broken")
    config = make_config(root=str(folder_root), on_error="skip")
    with pytest.raises(DataError, match="100 other records.*--mode inspect"):
        take(load_dataset(config, 0), config, 1)


def test_pools_have_their_shares_and_their_own_epochs(folder_root, make_config):
    for number in range(3):
        path = folder_root / f"more/m{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), 250 - number, np.uint8)).save(path)
    for number, path in enumerate(sorted((folder_root / "train/images").glob("u*"))):
        path.unlink()
        Image.fromarray(np.full((16, 16, 3), 10 + number, np.uint8)).save(path.with_suffix(".png"))
    config = make_config(root=str(folder_root), scale_range=(1.0, 1.0), folder={
        "unlabeled_folders": ("more",), "unlabeled_weights": (1.0, 3.0)})  # fmt: skip
    dataset = load_dataset(config, 0)
    batches, _ = take(dataset, config, 24)
    seen = np.concatenate([b["unlabeled"]["image"][:, 0, 0, 0] for b in batches]).astype(int)
    own, more = seen[seen < 100], seen[seen > 100]
    assert len(more) == 3 * len(own) == 72
    np.testing.assert_array_equal(np.sort(more.reshape(-1, 3), 1), [[248, 249, 250]] * 24)
    np.testing.assert_array_equal(np.sort(own.reshape(-1, 6), 1), [range(10, 16)] * 4)
    # Without weights the folders are one pool: every image once an epoch.
    config.folder.unlabeled_weights = ()
    batches, _ = take(load_dataset(config, 0), config, 9)
    seen = np.concatenate([b["unlabeled"]["image"][:, 0, 0, 0] for b in batches]).reshape(4, 9)
    np.testing.assert_array_equal(np.sort(seen, 1), [[10, 11, 12, 13, 14, 15, 248, 249, 250]] * 4)


def smooth(height, width):
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(y / 37 + k) * np.cos(x / 53 - k) for k in range(3)]
    return (127 + 100 * np.stack(waves, -1)).astype(np.uint8)


def test_decoding_at_reduced_scale(tmp_path):
    Image.fromarray(smooth(400, 600)).save(tmp_path / "a.jpg", quality=95)
    path = tmp_path / "a.jpg"
    shapes = {
        (400, 600): (400, 600), (201, 300): (400, 600), (200, 300): (200, 300),
        (120, 150): (200, 300), (100, 150): (100, 150), (20, 20): (50, 75),
    }  # fmt: skip
    whole = read_image(path)
    for wanted, decoded in shapes.items():
        read = read_image(path, at_least=wanted)
        assert read.shape[:2] == decoded
        step = 400 // decoded[0]
        means = whole.reshape(decoded[0], step, decoded[1], step, 3).mean((1, 3))
        assert np.abs(read - means).max() < 4
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth(400, 600)).save(path, exif=exif)
    assert read_image(path, at_least=(300, 200)).shape == (300, 200, 3)
    assert read_image(path, at_least=(200, 300)).shape == (600, 400, 3)


def test_reduced_decoding_shows_the_same_view(folder_root, make_config):
    for name in ("u1", "u3", "u5", "l1", "l3"):
        image = smooth(480, 640)
        Image.fromarray(image).save(folder_root / f"train/images/{name}.jpg", quality=95)
        mask = (image[..., 0] // 80).astype(np.uint8)
        Image.fromarray(mask).save(folder_root / f"train/masks/{name}.png")
    config = make_config(root=str(folder_root), crop_size=(64, 64), scale_range=(0.15, 0.3))
    config.vertical_flip, config.quarter_turns, config.rotation = 0.5, True, 20.0
    reduced, _ = take(load_dataset(config, 0), config, 4)

    class Whole:
        def __init__(self, source):
            self.source, self.ids = source, source.ids
            self.size = source.size

        def __len__(self):
            return len(self.source)

        def __getitem__(self, index):
            return self.source[index]

    dataset = load_dataset(config, 0)
    plain = type(dataset)(Whole(dataset.labeled), Whole(dataset.unlabeled), dataset.val,
                          dataset.class_names, dataset.palette)  # fmt: skip
    for got, want in zip(reduced, take(plain, config, 4)[0], strict=True):
        for stream in ("labeled", "unlabeled", "mix"):
            for name in got[stream].keys() - {"image"}:
                np.testing.assert_array_equal(got[stream][name], want[stream][name])
            difference = np.abs(got[stream]["image"].astype(int) - want[stream]["image"])
            # The two noise images of 20 x 24 pixels are PNG, and exact.
            assert difference.max() < 12 and difference.mean() < 1.5
    resized = make_config(root=str(folder_root), image_size=(120, 160))
    record = load_dataset(resized, 0).labeled[1]
    expected = np.asarray(Image.fromarray(smooth(480, 640)).resize((160, 120)))
    assert record["mask"].shape == (120, 160)
    assert np.abs(record["image"].astype(int) - expected).max() < 8


class Source:
    """Batches 0, 1, 2, … that record when they are closed; the fourth can be made to fail."""

    def __init__(self, fails=False):
        self.count, self.fails, self.closed = 0, fails, False

    def __iter__(self):
        return self

    def __next__(self):
        if self.count == 3 and self.fails:
            raise DataError("u7.png: cannot be read")
        self.count += 1
        return self.count - 1

    def close(self):
        self.closed = True


def test_feed_stays_ahead_by_no_more_than_its_depth():
    source, put = Source(), []

    def note(batch):
        put.append(batch)
        return 10 * batch

    feed = DeviceFeed(source, note)
    assert [next(feed) for _ in range(3)] == [0, 10, 20]
    deadline = time.monotonic() + 5
    while len(put) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    # One waits in the queue, and one on its way into it.
    assert put == [0, 1, 2, 3, 4]
    feed.close()
    assert source.closed and not any(t.name == "device-feed" for t in threading.enumerate())


def test_feed_passes_errors_on_in_order():
    feed = DeviceFeed(Source(fails=True), lambda batch: batch)
    assert [next(feed) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="u7.png"):
        next(feed)
    with pytest.raises(StopIteration):
        next(feed)
    feed.close()
    assert list(DeviceFeed(iter([1, 2]), lambda batch: batch)) == [1, 2]
