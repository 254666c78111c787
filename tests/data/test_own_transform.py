"""A transform of one's own: it reaches every stream, and each broken rule is named."""

import pickle
import re
from contextlib import closing

import numpy as np
import pytest

from ipixmatch_jax.data import load_dataset, train_batches
from ipixmatch_jax.data.geometry import Geometry
from ipixmatch_jax.data.own_transform import find_transform
from ipixmatch_jax.data.pipeline import _Load
from ipixmatch_jax.errors import ConfigError
from tests.references import ROOT

CODE = """
import random

import numpy as np


def inverted(image, mask, valid, rng):
    return 255 - image, mask, valid


def striped(image, mask, valid, rng):
    '''Hides a random row from the losses.'''
    valid[rng.integers(len(valid))] = False
    return image, mask, valid


def global_random(image, mask, valid, rng):
    return np.roll(image, random.randrange(1, 9), 1), mask, valid


def stateful(image, mask, valid, rng, calls=[]):
    calls.append(1)
    return np.roll(image, len(calls), 0), mask, valid


def smaller(image, mask, valid, rng):
    return image[1:], mask, valid


def floats(image, mask, valid, rng):
    return image / 255, mask, valid


def only_two(image, mask, valid, rng):
    return image, mask


def nothing(image, mask, valid, rng):
    pass


def masks_for_all(image, mask, valid, rng):
    return image, np.zeros(image.shape[:2], np.uint8), valid


def no_mask(image, mask, valid, rng):
    return image, None, valid


def blended(image, mask, valid, rng):
    if mask is not None:
        mask = np.full_like(mask, 9)
    return image, mask, valid


def fails(image, mask, valid, rng):
    return image, mask, valid[5000]


def three(image, mask, valid):
    return image, mask, valid


number = 3
"""


@pytest.fixture(autouse=True)
def own_module(tmp_path, monkeypatch):
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "own_transforms.py").write_text(CODE)
    for number, code in enumerate(documented()):
        (folder / f"documented_{number}.py").write_text(code)
    monkeypatch.syspath_prepend(str(folder))
    yield
    find_transform.cache_clear()


def documented():
    page = (ROOT / "docs" / "data.md").read_text()
    section = page.split("### A transform of your own")[1]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)[:2]


def take(config, count=2, **options):
    dataset = load_dataset(config, 0)
    options = {"batch_size": 2, "unlabeled_batch_size": 4, "seed": 5, **options}
    with closing(train_batches(dataset, config, **options)) as batches:
        return [next(batches) for _ in range(count)]


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        for stream in a:
            assert a[stream].keys() == b[stream].keys()
            for name in a[stream]:
                np.testing.assert_array_equal(a[stream][name], b[stream][name])


def test_it_gets_the_crops_of_every_stream(folder_root, make_config):
    config = make_config(root=str(folder_root))
    plain = take(config)
    config.transform = "own_transforms:inverted"
    for before, after in zip(plain, take(config), strict=True):
        for stream, part in before.items():
            np.testing.assert_array_equal(after[stream]["image"], 255 - part["image"])
            for name in part.keys() - {"image"}:
                np.testing.assert_array_equal(after[stream][name], part[name])


def test_what_it_hides_is_ignored(folder_root, make_config):
    config = make_config(root=str(folder_root), transform="own_transforms:striped")
    for batch in take(config):
        for stream in batch.values():
            assert (~stream["valid"]).all(2).any(1).all()
        labeled = batch["labeled"]
        assert (labeled["mask"][~labeled["valid"]] == 255).all()
        assert (labeled["mask"] != 255).any()


def test_its_random_numbers_are_those_of_the_record(folder_root, make_config):
    config = make_config(root=str(folder_root), transform="own_transforms:striped", threads=1)
    whole = take(config, 4)
    assert_same(take(config, 2, start_step=2), whole[2:])
    config.threads = 5
    assert_same(take(config, 4), whole)
    halves = [take(config, 4, process_index=i, process_count=2) for i in (0, 1)]
    for step, both in zip(whole, zip(*halves, strict=True), strict=True):
        for stream, part in step.items():
            for name in part:
                joined = np.concatenate([half[stream][name] for half in both])
                np.testing.assert_array_equal(joined, part[name])
    other = take(config, 4, seed=6)
    assert (other[0]["mix"]["valid"] != whole[0]["mix"]["valid"]).any()


@pytest.mark.slow
def test_worker_processes_have_it_too(folder_root, make_config):
    config = make_config(root=str(folder_root), transform="own_transforms:striped")
    expected = take(config, 3)
    config.workers = 2
    assert_same(take(config, 3), expected)


def test_it_survives_pickling(folder_root, make_config):
    source = load_dataset(make_config(root=str(folder_root)), 0).labeled
    load = _Load(source, Geometry((8, 8)), seed=1, stream=0, transform="own_transforms:striped")
    copy = pickle.loads(pickle.dumps(load))
    for name, value in load(7, 2).items():
        np.testing.assert_array_equal(copy(7, 2)[name], value)


def test_the_example_of_the_docs(folder_root, make_config):
    config = make_config(root=str(folder_root), crop_size=(40, 40), scale_range=(2.0, 2.0))
    plain = take(config, 3)
    config.transform = "documented_0:shifted"
    moved = set()
    for before, after in zip(plain, take(config, 3), strict=True):
        for stream, part in before.items():
            for row, image in enumerate(part["image"]):
                shift = _shift_between(image, part["valid"][row], after[stream], row)
                moved.add(shift)
                if stream == "labeled":
                    there = after[stream]["valid"][row]
                    expected = np.roll(part["mask"][row], shift, (0, 1))
                    np.testing.assert_array_equal(
                        after[stream]["mask"][row], np.where(there, expected, 255)
                    )
    assert len(moved) > 10


def _shift_between(image, valid, after, row):
    """The one shift that explains the result; what came in at the sides is not valid."""
    found = []
    for dy in range(-8, 9):
        for dx in range(-8, 9):
            kept = np.zeros_like(valid)
            kept[max(dy, 0) : 40 + min(dy, 0), max(dx, 0) : 40 + min(dx, 0)] = True
            kept &= np.roll(valid, (dy, dx), (0, 1))
            expected = np.roll(image, (dy, dx), (0, 1)) * kept[..., None]
            same = np.array_equal(kept, after["valid"][row])
            if same and np.array_equal(expected, after["image"][row]):
                found.append((dy, dx))
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    "name, message",
    [
        ("smaller", r"returned image as an array uint8 \[15, 16, 3\]; expected an array uint8"),
        ("floats", r"returned image as an array float64 .*convert it with .astype\('uint8'\)"),
        ("only_two", "returned a tuple of 2; expected three values"),
        ("nothing", "returned a NoneType; expected three values"),
        ("masks_for_all", "the image is unlabeled: mask is None; return it as None"),
        ("no_mask", "returned mask as a NoneType; expected an array uint8"),
        ("blended", r"a mask with the values \[9\].*nearest neighbor"),
        ("fails", r"with image 'l\d': IndexError: .*own_transforms.py:\d+"),
        ("global_random", "returned another image when it was called again.*from rng"),
        ("stateful", "returned another image when it was called again.*nothing between calls"),
    ],
)
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_broken_rule_is_named_before_the_first_batch(
    folder_root, make_config, name, message, on_error
):
    config = make_config(root=str(folder_root), transform=f"own_transforms:{name}")
    config.on_error = on_error
    with pytest.raises(ConfigError, match=message) as error:
        train_batches(load_dataset(config, 0), config, batch_size=2, unlabeled_batch_size=2, seed=0)
    assert f"data.transform='own_transforms:{name}'" in str(error.value)


@pytest.mark.parametrize(
    "name, message",
    [
        ("own_transforms:missing", "expected package.module:function, importable from"),
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("own_transforms", "expected package.module:function"),
        ("own_transforms:number", "of type int; expected function.image, mask, valid, rng."),
        ("own_transforms:three", "cannot be called as .*too many positional arguments"),
    ],
)
def test_what_is_no_transform_is_named(name, message):
    with pytest.raises(ConfigError, match=f"data.transform is .*{message}"):
        find_transform(name)
