"""Colored masks in the cache: converted once, never stale, bounded, and optional."""

import os

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data.files import mask_cache, mask_styles
from ipixmatch_jax.data.files.masks import Masks
from ipixmatch_jax.errors import DataError

COLORS = (((0, 0, 0), 0), ((255, 0, 0), 1), ((0, 0, 255), 2))


@pytest.fixture
def counted(monkeypatch):
    """Counts conversions; also caches small masks."""
    calls = []
    original = mask_styles.color_ids

    def counting(*arguments):
        calls.append(arguments[-1])
        return original(*arguments)

    monkeypatch.setattr(mask_styles, "color_ids", counting)
    monkeypatch.setattr(mask_cache, "LEAST_PIXELS", 1)
    return calls


def saved(path, seed=0):
    ids = np.random.default_rng(seed).integers(0, 3, (20, 30)).astype(np.uint8)
    Image.fromarray(np.array([c for c, _ in COLORS], np.uint8)[ids]).save(path)
    return ids


def entries(folder):
    return sorted((folder / "colors").iterdir())


def test_a_mask_is_converted_once(tmp_path, counted):
    path, cache = tmp_path / "m.png", tmp_path / "cache"
    ids = saved(path)
    for _ in range(3):
        # Every worker has a reader of its own.
        reader = Masks(3, colors=COLORS, cache=str(cache))
        np.testing.assert_array_equal(reader.read(str(path), "m"), ids)
    assert len(counted) == 1 and len(entries(cache)) == 1
    # From an object store come bytes.
    np.testing.assert_array_equal(reader.read(path.read_bytes(), "m"), ids)
    assert len(counted) == 1


def test_other_contents_and_other_colors_are_converted_again(tmp_path, counted):
    path, cache = tmp_path / "m.png", tmp_path / "cache"
    saved(path)
    Masks(3, colors=COLORS, cache=str(cache)).read(str(path), "m")
    stat = path.stat()
    ids = saved(path, seed=1)
    # A change is noticed even if the file's time is equal.
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    reader = Masks(3, colors=COLORS, cache=str(cache))
    np.testing.assert_array_equal(reader.read(str(path), "m"), ids)
    swapped = tuple((color, (0, 2, 1)[class_id]) for color, class_id in COLORS)
    read = Masks(3, colors=swapped, cache=str(cache)).read(str(path), "m")
    np.testing.assert_array_equal(read, np.array((0, 2, 1))[ids])
    assert len(counted) == 3


def test_damaged_entries_and_folders_that_cannot_be_used(tmp_path, counted):
    path, cache = tmp_path / "m.png", tmp_path / "cache"
    ids, reader = saved(path), Masks(3, colors=COLORS, cache=str(cache))
    reader.read(str(path), "m")
    for content in (b"", b"no image", entries(cache)[0].read_bytes()[:-30]):
        entries(cache)[0].write_bytes(content)
        np.testing.assert_array_equal(reader.read(str(path), "m"), ids)
    assert len(counted) == 4
    (tmp_path / "file").write_text("")
    elsewhere = Masks(3, colors=COLORS, cache=str(tmp_path / "file"))
    np.testing.assert_array_equal(elsewhere.read(str(path), "m"), ids)
    with pytest.raises(DataError, match="m: color"):
        Masks(2, colors=COLORS[:2], cache=str(cache)).read(str(path), "m")


def test_small_masks_are_not_cached(tmp_path):
    path = tmp_path / "m.png"
    saved(path)
    Masks(3, colors=COLORS, cache=str(tmp_path / "cache")).read(str(path), "m")
    assert not (tmp_path / "cache").exists()


def test_the_cache_is_bounded(tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(bytes(100))
        os.utime(tmp_path / f"{number}.png", (number, number))
    mask_cache.prune(tmp_path, 250)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["4.png", "5.png"]
