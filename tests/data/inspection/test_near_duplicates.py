"""Scenes that lie in training and validation, classes of validation alone, and unread files."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data import inspect_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from tests.data.test_grouping import scene

MASK = np.zeros((96, 96), np.uint8)
MASK[10:30, 20:50] = 1


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def report(root, make_config):
    found = describe_folder(str(root))
    empty = {"labeled": "", "unlabeled": "", "val": ""}
    return inspect_dataset(make_config(**{**empty, **found}), 0)


@pytest.fixture
def folders(tmp_path):
    """Six scenes for training, three others for validation."""
    for number in range(9):
        split = "train" if number < 6 else "val"
        save(tmp_path / split / f"images/p{number}.png", scene(number))
        save(tmp_path / split / f"masks/p{number}.png", np.roll(MASK, number))
    return tmp_path


def of_kind(report, kind):
    return [finding for finding in report.findings if finding.kind == kind]


def test_different_scenes_are_no_duplicates(folders, make_config):
    assert report(folders, make_config).findings == []


def test_augmented_copies_in_val_are_named(folders, make_config):
    noise = np.random.default_rng(0).integers(-9, 9, (96, 96, 3))
    copy = (scene(2).astype(int) + noise).clip(0, 255).astype(np.uint8)
    save(folders / "val/images/p7.png", copy)
    save(folders / "val/masks/p7.png", np.roll(MASK, 2))
    found = report(folders, make_config)
    (finding,) = of_kind(found, "near-duplicate")
    assert finding.severity == "warning" and finding.split == "val"
    assert "val/images/p7.png: shows the same scene as" in finding.message
    assert "train/images/p2.png (labeled): video frames or" in finding.message
    # Copies of a scene may share their mask.
    assert not of_kind(found, "same-mask")


def test_copies_of_val_among_unlabeled_images_are_named(folders, make_config):
    for number in range(20, 24):
        save(folders / f"unlabeled/{number}.png", scene(number))
    assert report(folders, make_config).findings == []
    half = Image.fromarray(scene(7)).resize((60, 60), Image.Resampling.BILINEAR)
    half.rotate(90).save(folders / "unlabeled/21.jpg", quality=80)
    (folders / "unlabeled/21.png").unlink()
    (finding,) = report(folders, make_config).findings
    assert finding.kind == "near-duplicate" and finding.split == "unlabeled"
    assert "unlabeled/21.jpg (unlabeled): a copy of" in finding.message
    assert "val/images/p7.png (val), encoded again" in finding.message


def test_one_mask_for_two_scenes_is_named(folders, make_config):
    save(folders / "val/masks/p7.png", np.roll(MASK, 2))
    assert len(of_kind(report(folders, make_config), "same-mask")) == 1


def test_classes_that_only_val_shows(folders, make_config):
    save(folders / "val/masks/p7.png", MASK * 3)
    unlearned, absent = of_kind(report(folders, make_config), "absent-class")[:2]
    assert "class 3 (3), which val or test masks hold (1 times)" in unlearned.message
    assert "class 2 (2)" in absent.message and "class 3" not in absent.message


def test_files_that_are_not_read_are_counted(folders, make_config):
    for name in ("a.CR2", "b.dng", "c", "d.exr", "notes.txt", "README"):
        (folders / "train/images" / name).write_bytes(b"x")
    (folders / "train/masks/p0.npz").write_bytes(b"x")
    (finding,) = of_kind(report(folders, make_config), "left-out")
    assert finding.message.startswith("5 files in the folders of images and masks are not read")
    for kind in ("1 .cr2", "1 .dng", "1 .exr", "1 .npz", "1 without an ending"):
        assert kind in finding.message


def test_photos_of_other_kinds_alone_are_named(tmp_path, make_config):
    save(tmp_path / "masks/a.png", MASK)
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.dcm").write_bytes(b"x")
    with pytest.raises(Exception, match=r"1 files .* are not read \(1 .dcm\)"):
        describe_folder(str(tmp_path))


def test_names_of_fewer_classes_than_ids(folders):
    (folders / "classes.txt").write_text("cat\n")
    with pytest.raises(Exception, match=r"classes.txt: 1 names \(cat\).*`background` first"):
        describe_folder(str(folders))


@pytest.mark.parametrize("shift, place", [(1, "after"), (-1, "before"), (0, "")])
def test_masks_of_the_next_image(shift, place, tmp_path, make_config):
    rng = np.random.default_rng(0)
    masks = []
    for _ in range(14):
        mask = np.zeros((96, 96), np.uint8)
        y, x = rng.integers(0, 50, 2)
        mask[y : y + 30, x : x + 40] = 1
        masks.append(mask)
    for number in range(1, 13):
        noise = rng.integers(0, 20, (96, 96, 3), dtype=np.uint8)
        save(tmp_path / f"images/p{number:02d}.png", noise + 150 * masks[number][..., None])
        save(tmp_path / f"masks/p{number:02d}.png", masks[number + shift])
    for number in (90, 91):
        save(tmp_path / f"val/images/p{number}.png", scene(number))
        save(tmp_path / f"val/masks/p{number}.png", np.roll(MASK, number))
    found = of_kind(report(tmp_path, make_config), "shifted-masks")
    assert [f"fit the image {place} their own" in finding.message for finding in found] == (
        [True] if shift else []
    )
