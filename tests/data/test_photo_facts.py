"""Facts about a folder of photos: counts, sizes and the width of the objects."""

import random

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data import data_defaults, load_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_with_items
from ipixmatch_jax.data.photo_facts import object_width, photo_facts


def write(folder, name, size, *, mask=True, value=1):
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    image = rng.integers(0, 255, (*size, 3), np.uint8)
    Image.fromarray(image).save(folder / "images" / f"{name}.png")
    if mask:
        ids = np.zeros(size, np.uint8)
        ids[2:8, 2:8] = value
        Image.fromarray(ids).save(folder / "masks" / f"{name}.png")


def facts_of(folder, **changes):
    found, items = describe_with_items(str(folder), changes)
    data = data_defaults()
    data.folder.update(found.pop("folder"))
    data.update({**found, **changes})
    return photo_facts(items, data), items, data


@pytest.fixture
def folder(tmp_path):
    """Ten photos with masks and four without, of two sizes."""
    for number in range(14):
        size = (20, 30) if number % 2 else (24, 18)
        write(tmp_path, f"p{number:02}", size, mask=number < 10)
    return tmp_path


def test_counts_and_sizes(folder):
    facts, items, data = facts_of(folder)
    # The hashes of the ids hold one image out, of ten.
    assert (facts.labeled, facts.unlabeled, facts.val) == (9, 4, 1)
    assert facts.classes == 2
    assert sorted(facts.sizes) == [(20, 30)] * 7 + [(24, 18)] * 7
    assert sorted(facts.val_sizes) == [(20, 30)] * 5 + [(24, 18)] * 5
    for seed in range(3):
        random.Random(seed).shuffle(items)
        assert photo_facts(items, data) == facts


@pytest.mark.parametrize("count", [3, 4, 6, 9])
def test_held_out_images_are_those_of_the_data_set(count, tmp_path):
    for number in range(count):
        write(tmp_path, f"img_{number:03}", (20, 20 + number))
    facts, _, data = facts_of(tmp_path)
    data.update({"labeled": "", "unlabeled": "", "val": ""})
    data.folder.group = "none"
    dataset = load_dataset(data, 0)
    assert (facts.labeled, facts.val) == (len(dataset.labeled), len(dataset.val))


def test_lists_of_the_user_count(folder):
    (folder / "few.txt").write_text("p00\np01\np02\n")
    (folder / "val.txt").write_text("p03\np04\n")
    facts, *_ = facts_of(folder, labeled="few.txt", val="val.txt", unlabeled="rest")
    assert (facts.labeled, facts.val) == (3, 2)
    # Everything that is in no other list; those of val are few enough not to matter.
    assert facts.unlabeled == 11
    facts, *_ = facts_of(folder, labeled="few.txt", unlabeled="val.txt")
    assert (facts.labeled, facts.unlabeled, facts.val) == (2, 2, 1)
    # Without data.unlabeled, a list of labeled images leaves all others out.
    facts, *_ = facts_of(folder, labeled="few.txt")
    assert (facts.labeled, facts.unlabeled, len(facts.sizes)) == (2, 0, 3)
    # A list that is missing is reported when the data set is loaded.
    facts, *_ = facts_of(folder, labeled="none.txt")
    assert facts.labeled == 9


def test_folders_of_validation_images_and_a_single_label(tmp_path):
    write(tmp_path / "train", "a", (20, 30))
    write(tmp_path / "train", "b", (20, 30), mask=False)
    write(tmp_path / "val", "c", (40, 50))
    facts, *_ = facts_of(tmp_path)
    assert (facts.labeled, facts.unlabeled, facts.val) == (1, 1, 1)
    assert facts.val_sizes == ((40, 50),) and set(facts.sizes) == {(20, 30)}


def test_a_photo_that_cannot_be_read_is_left_out(folder):
    (folder / "images" / "p12.png").write_bytes(b"nothing")
    facts, *_ = facts_of(folder)
    assert facts.unlabeled == 4 and len(facts.sizes) == 13


def disc(side, radius):
    rows, columns = np.ogrid[:side, :side]
    center = side / 2
    return ((rows - center) ** 2 + (columns - center) ** 2 < radius**2).astype(np.uint8)


def test_the_width_of_a_disc_is_its_diameter_and_of_a_stripe_twice_its_width():
    assert object_width([disc(200, 30)], 2) == pytest.approx(60, rel=0.05)
    # Larger masks are measured on a part of their pixels.
    assert object_width([disc(3000, 300)], 2) == pytest.approx(600, rel=0.05)
    stripe = np.zeros((200, 200), np.uint8)
    stripe[90:96] = 1
    # Measured along the axes, where pi/4 does not apply: at most 4/pi too wide.
    assert 12 <= object_width([stripe], 2) <= 12 * 4 / np.pi + 0.1


def test_the_thinnest_class_counts_and_ignored_pixels_are_no_boundary():
    mask = disc(200, 60)
    mask[:20, :20] = 2
    mask[5:10, 5:10] = 3
    assert object_width([mask], 4) == pytest.approx(5 * 4 / np.pi, rel=0.05)
    inside, around = disc(200, 30), disc(200, 40)
    bordered = np.where(around > inside, 255, inside).astype(np.uint8)
    assert object_width([bordered], 2) is None
    assert object_width([], 2) is None and object_width([np.zeros((5, 5), np.uint8)], 2) is None
