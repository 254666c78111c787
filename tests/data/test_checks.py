"""Every problem of a data set in one report."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data import WARNING, check_dataset, load_dataset, summarize


def check(root, make_config, **changes):
    return check_dataset(make_config(root=str(root), **changes), 0)


def test_nothing_to_report(folder_root, make_config):
    assert check(folder_root, make_config) == []


def test_all_problems_at_once(folder_root, make_config):
    images, masks = folder_root / "train/images", folder_root / "train/masks"
    (images / "u0.png").unlink()
    (images / "u1.jpg").write_bytes(b"nothing")
    (masks / "l0.png").unlink()
    Image.fromarray(np.full((20, 24), 9, np.uint8)).save(masks / "l1.png")
    Image.fromarray(np.zeros((21, 24), np.uint8)).save(masks / "l2.png")
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(folder_root / "val/masks/v0.png")
    with open(folder_root / "labeled.txt", "a") as file:
        file.write("l3\n")
    with open(folder_root / "unlabeled.txt", "a") as file:
        file.write("l3\n")
    problems = check(folder_root, make_config)
    errors = [problem for problem in problems if not problem.startswith(WARNING)]
    expected = [
        "no image for id 'u0'",
        "u1.jpg: cannot be read",
        "no mask for id 'l0'",
        "l1.png: mask value 9",
        "l2.png: mask is 24x21",
        "v0.png: pixel format 'RGB'",
        "id 'l3' in line 5",
    ]
    for text in expected:
        assert sum(text in error for error in errors) == 1, text
    assert len(errors) == len(expected)
    warnings = [problem for problem in problems if problem.startswith(WARNING)]
    assert any("1 ids are in the unlabeled and in the labeled split: l3" in w for w in warnings)


def test_lists_that_overlap(folder_root, make_config):
    for kind in ("images", "masks"):
        for name in ("l0", "u0"):
            Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2)).save(
                folder_root / "val" / kind / f"{name}.png"
            )
    (folder_root / "val.txt").write_text("v0\nl0\nu0\n")
    problems = check(folder_root, make_config)
    assert len(problems) == 2
    assert problems[0].startswith("1 ids are in the labeled and in the val split: l0")
    assert problems[1].startswith(f"{WARNING}1 ids are in the unlabeled and in the val split: u0")


def test_missing_root_is_one_problem(tmp_path, make_config):
    problems = check(tmp_path / "nowhere", make_config)
    assert len(problems) == 1 and "data.root" in problems[0]


def test_all_lists_missing_are_all_named(folder_root, make_config):
    problems = check(folder_root, make_config, labeled="a.txt", unlabeled="b.txt", val="c.txt")
    assert [name for name in ("a.txt", "b.txt", "c.txt") if name in "".join(problems)] == [
        "a.txt", "b.txt", "c.txt",
    ]  # fmt: skip
    assert len(problems) == 3


def test_class_that_never_appears(folder_root, make_config):
    problems = check(folder_root, make_config, num_classes=5, class_names=tuple("abcde"))
    assert [p.startswith(WARNING) for p in problems] == [True, True]
    assert "no pixel of the labeled masks is of class e" in problems[0]
    assert "no pixel of the val masks is of class e" in problems[1]


def test_foreground_written_as_ignore(folder_root, make_config):
    for path in (folder_root / "train/masks").glob("l*.png"):
        mask = np.zeros((20, 24), np.uint8)
        mask[5:9] = 255
        Image.fromarray(mask).save(path)
    problems = check(folder_root, make_config)
    assert len(problems) == 1 and "write foreground as 1, not 255" in problems[0]


def test_summary_counts(folder_root, make_config):
    quarter = np.zeros((20, 24), np.uint8)
    quarter[:10, :12] = 1
    quarter[10:, 12:] = 255
    empty = np.zeros((20, 24), np.uint8)
    for number, mask in enumerate((quarter, quarter, quarter, empty)):
        Image.fromarray(mask).save(folder_root / f"train/masks/l{number}.png")
    config = make_config(root=str(folder_root), class_names=("ground", "car", "tree", "sky"))
    lines = summarize(load_dataset(config, 0)).splitlines()
    assert lines[0].split()[:3] == ["labeled", "4", "images,"] and "20x24" in lines[0]
    assert lines[1].split()[:2] == ["unlabeled", "6"] and lines[2].split()[:2] == ["val", "3"]
    rows = {line.split()[1]: line.split()[2:] for line in lines[4:]}
    assert rows["ground"] == ["62.50", "%", "4"]  # (3 · 1/2 + 1) / 4
    assert rows["car"] == rows["(ignore)"] == ["18.75", "%", "3"]  # 3 · 1/4 / 4
    assert rows["tree"] == ["0.00", "%", "0"]


def test_quick_summary_reads_no_file(folder_root, make_config):
    dataset = load_dataset(make_config(root=str(folder_root)), 0)
    for path in folder_root.glob("*/*/*"):
        path.unlink()
    assert [line.split() for line in summarize(dataset, quick=True).splitlines()] == [
        ["labeled", "4", "images"],
        ["unlabeled", "6", "images"],
        ["val", "3", "images"],
    ]


@pytest.mark.parametrize("image_size", [(0, 0), (8, 8)])
def test_summary_of_mixed_sizes(folder_root, make_config, image_size):
    Image.fromarray(np.zeros((7, 5, 3), np.uint8)).save(folder_root / "val/images/v0.png")
    dataset = load_dataset(make_config(root=str(folder_root), image_size=image_size), 0)
    line = summarize(dataset).splitlines()[2]
    assert ("7x5 to 20x24 in 2 sizes" in line) == (image_size == (0, 0))
    assert ("8x8" in line) == (image_size == (8, 8))
