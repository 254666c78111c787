"""Folders of images and masks are read, and every fault in them is reported."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data import load_dataset
from ipixmatch_jax.data.catalog import assemble
from ipixmatch_jax.errors import DataError


def load(root, make_config, **changes):
    return load_dataset(make_config(root=str(root), **changes), 0)


def test_reads_what_was_written(folder_root, make_config):
    dataset = load(folder_root, make_config)
    assert dataset.labeled.ids == ("l0", "l1", "l2", "l3")
    assert (len(dataset.unlabeled), len(dataset.val)) == (6, 3)
    record = dataset.labeled[2]
    assert record["id"] == "l2"
    with Image.open(folder_root / "train/images/l2.png") as image:
        np.testing.assert_array_equal(record["image"], np.asarray(image))
    with Image.open(folder_root / "train/masks/l2.png") as mask:
        np.testing.assert_array_equal(record["mask"], np.asarray(mask))
    assert record["mask"].max() == 255
    assert dataset.labeled[1]["image"].shape == (20, 24, 3)
    assert dataset.labeled.size(1) == (20, 24)
    assert dataset.val[0]["id"] == "v0"


def test_unlabeled_masks_are_never_opened(folder_root, make_config):
    # Those of the fixture cannot be read at all.
    dataset = load(folder_root, make_config)
    for index in range(len(dataset.unlabeled)):
        assert set(dataset.unlabeled[index]) == {"id", "image"}


def test_image_size(folder_root, make_config):
    dataset = load(folder_root, make_config, image_size=(10, 12))
    assert dataset.labeled[0]["mask"].shape == (10, 12) == dataset.unlabeled.size(0)


def test_lists_may_hold_comments_folders_and_be_long(folder_root, make_config):
    (folder_root / "labeled.txt").write_text("\ufeff# mine\n\nl0\n  sub/x y.v2  \n", "utf-8")
    for kind in ("images", "masks"):
        folder = folder_root / "train" / kind / "sub"
        folder.mkdir()
        Image.fromarray(np.ones((5, 5), np.uint8)).save(folder / "x y.v2.png")
    dataset = load(folder_root, make_config)
    assert dataset.labeled.ids == ("l0", "sub/x y.v2")
    assert dataset.labeled[1]["mask"].tolist() == [[1] * 5] * 5


def test_upper_case_suffix(folder_root, make_config):
    path = folder_root / "train/images/l1.jpg"
    path.rename(path.with_suffix(".JPG"))
    assert load(folder_root, make_config).labeled[1]["image"].shape == (20, 24, 3)


def test_no_unlabeled_list_is_allowed(folder_root, make_config):
    assert len(load(folder_root, make_config, unlabeled="").unlabeled) == 0


def remove_root(root):
    root.rename(root.with_name("elsewhere"))


def duplicate(root):
    with open(root / "labeled.txt", "a") as file:
        file.write("l1\n")


def add_line(split, line):
    def break_it(root):
        with open(root / f"{split}.txt", "a") as file:
            file.write(f"{line}\n")

    return break_it


def two_images(root):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(root / "train/images/l0.jpeg")


def mask_as_jpeg(root):
    path = root / "train/masks/l0.png"
    Image.open(path).convert("L").save(path.with_suffix(".jpg"))
    path.unlink()


@pytest.mark.parametrize(
    "break_it, message",
    [
        (remove_root, "data.root=.*not a folder"),
        (lambda root: (root / "val.txt").unlink(), r"val\.txt: list.*not there.*data\.val"),
        (lambda root: (root / "labeled.txt").write_text("# none\n\n"), r"labeled\.txt.*no id"),
        (lambda root: (root / "val.txt").write_bytes(b"\xff\xfe\x00"), r"val\.txt.*cannot be read"),
        (duplicate, r"labeled\.txt: id 'l1' in line 5 and in line 2"),
        (
            lambda root: (root / "train/images/u3.jpg").unlink(),
            r"no image for id 'u3'.*u3 with.*\.jpg",
        ),
        (
            lambda root: (root / "train/masks/l3.png").unlink(),
            r"no mask for id 'l3'.*l3 with.*\.png",
        ),
        (add_line("labeled", "l9.png"), "'l9.png'.*without the file ending"),
        (two_images, r"2 images for id 'l0' \(l0\.jpeg, l0\.png\)"),
        (mask_as_jpeg, r"l0\.jpg: a JPEG.*expected a PNG"),
    ],
)
def test_faults_found_on_loading(folder_root, make_config, break_it, message):
    break_it(folder_root)
    with pytest.raises(DataError, match=message):
        load(folder_root, make_config)


def test_missing_folder_names_the_key(folder_root, make_config):
    with pytest.raises(DataError, match="folder itself is missing.*data.folder"):
        load(folder_root, make_config, folder={"train_masks": "nowhere"})


def save_mask(root, array):
    Image.fromarray(array).save(root / "train/masks/l0.png")


@pytest.mark.parametrize(
    "mask, message",
    [
        (np.full((20, 24), 4, np.uint8), r"l0\.png: mask value 4 .*0\.\.3 or 255.*num_classes"),
        (np.zeros((20, 25), np.uint8), r"l0\.png: mask is 25x20.*l0\.png is 24x20"),
        (
            np.eye(3, dtype=np.uint8)[np.zeros((20, 24), int)],
            r"l0\.png: pixel format 'RGB'.*one 8-bit channel",
        ),
    ],
)
def test_faults_found_on_reading(folder_root, make_config, mask, message):
    save_mask(folder_root, mask)
    dataset, problems = assemble(make_config(root=str(folder_root)), 0)
    assert not problems
    with pytest.raises(DataError, match=message):
        dataset.labeled[0]
    assert dataset.labeled[1]["id"] == "l1"
    # A run reads a few labeled records before it waits for a device.
    with pytest.raises(DataError, match=message):
        load(folder_root, make_config)


def test_unreadable_image(folder_root, make_config):
    path = folder_root / "train/images/l0.png"
    path.write_bytes(path.read_bytes()[:60])
    dataset, _ = assemble(make_config(root=str(folder_root)), 0)
    with pytest.raises(DataError, match=r"l0\.png: cannot be read"):
        dataset.labeled[0]


def test_mask_of_a_turned_photograph_is_turned_with_it(folder_root, make_config):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(
        folder_root / "train/images/l1.jpg", exif=exif
    )
    dataset, _ = assemble(make_config(root=str(folder_root)), 0)
    assert dataset.labeled.size(1) == (24, 20)
    stored = np.asarray(Image.open(folder_root / "train/masks/l1.png"))
    # Its size says that it was drawn on the stored pixels.
    np.testing.assert_array_equal(dataset.labeled[1]["mask"], np.rot90(stored, -1))
    config = make_config(root=str(folder_root), folder={"exif": "upright"})
    with pytest.raises(DataError, match="EXIF"):
        assemble(config, 0)[0].labeled[1]
