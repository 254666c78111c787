"""Lists next to folders of images decide the split; tables pair images and masks."""

import json
from pathlib import Path

import numpy as np
import pytest

from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.importers import read_folder
from ipixmatch_jax.errors import DataError
from tests.data.importers.test_formats import cache, loaded  # noqa: F401  (a fixture)
from tests.references.exports import cvat_xml, labelme, mask, photo, text, truth, via


@pytest.fixture
def root(tmp_path):
    """Ten images, the first eight with a mask."""
    for number in range(10):
        photo(tmp_path / f"images/p{number}.png", number)
        if number < 8:
            mask(tmp_path / f"masks/p{number}.png", np.roll(truth(), number, 1))
    return tmp_path


@pytest.mark.parametrize("form", ["p{}", "p{}.png", "images/p{}.png masks/p{}.png",
                                  "images/p{}", "images/p{}.png\tmasks/p{}.png"])  # fmt: skip
def test_lists_decide_the_split(form, root, make_config):
    text(root / "lists/train.txt", "".join(form.format(n, n) + "\n" for n in range(5)))
    text(root / "lists/val.txt", "".join(form.format(n, n) + "\n" for n in range(5, 7)))
    dataset = loaded(root, make_config)
    assert dataset.labeled.ids == ("p0", "p1", "p2", "p3", "p4")
    assert dataset.val.ids == ("val/p5", "val/p6")
    # p7 has a mask, and no list names it.
    assert sorted(dataset.unlabeled.ids) == ["p7", "p8", "p9"]
    assert any("lists/train.txt (5 images)" in note for note in dataset.notes)
    assert any("1 images with a mask are in no list" in note for note in dataset.notes)


@pytest.mark.parametrize("name", ["{}_list.txt", "list_{}.txt", "{}_ids.txt", "{}set.txt",
                                  "{}_files.lst"])  # fmt: skip
def test_lists_may_say_that_they_are_lists(name, root, make_config):
    text(root / name.format("train"), "".join(f"images/p{n}.png\n" for n in range(5)))
    text(root / name.format("val"), "".join(f"images/p{n}.png\n" for n in range(5, 8)))
    dataset = loaded(root, make_config)
    assert len(dataset.labeled) == 5 and dataset.val.ids == ("val/p5", "val/p6", "val/p7")
    if name == "{}set.txt":
        return
    # A name that is a split and nothing else comes first.
    text(root / "val.txt", "p1\np2\n")
    dataset = loaded(root, make_config)
    assert dataset.val.ids == ("val/p1", "val/p2") and len(dataset.labeled) == 6


def test_lists_in_json_and_yaml(root, make_config):
    text(root / "train_ids.json", json.dumps([f"p{n}" for n in range(5)]))
    text(root / "val_ids.json", json.dumps([f"p{n}" for n in range(5, 8)]))
    assert loaded(root, make_config).val.ids == ("val/p5", "val/p6", "val/p7")
    for split in ("train", "val"):
        (root / f"{split}_ids.json").unlink()
    text(root / "split.yaml", "train:\n- p0\n- p1\n- p2\nval: [p3, p4]\n")
    dataset = loaded(root, make_config)
    assert len(dataset.labeled) == 3 and dataset.val.ids == ("val/p3", "val/p4")


def test_lists_may_name_folders_of_images(tmp_path, make_config):
    """DAVIS: one line for each video."""
    for number, video in enumerate(("bear", "camel", "dog")):
        for frame in range(3):
            photo(tmp_path / f"JPEGImages/480p/{video}/{frame}.png", 3 * number + frame)
            mask(tmp_path / f"Annotations/480p/{video}/{frame}.png", truth())
    text(tmp_path / "ImageSets/2017/train.txt", "bear\ncamel\n")
    text(tmp_path / "ImageSets/2017/val.txt", "dog\n")
    dataset = loaded(tmp_path, make_config)
    assert len(dataset.labeled) == 6
    assert sorted(dataset.val.ids) == [f"val/480p/dog/{frame}" for frame in range(3)]


def test_a_column_may_say_which_images_validate(root, make_config):
    rows = [f"images/p{n}.png,{n >= 5}" for n in range(8)]
    text(root / "data.csv", "\n".join(["image,is_valid", *rows]))
    dataset = loaded(root, make_config)
    assert len(dataset.labeled) == 5 and dataset.val.ids == ("val/p5", "val/p6", "val/p7")


def test_a_list_under_another_name_is_not_passed_over_in_silence(root, make_config):
    text(root / "good_ones.txt", "p1\np2\np3\n")
    text(root / "all.txt", "".join(f"p{n}\n" for n in range(10)))
    text(root / "readme.txt", "Photos of a road.\nDrawn by hand.\n")
    dataset = loaded(root, make_config)
    (warning,) = [w for w in dataset.warnings if "tells no split" in w]
    assert warning.startswith("good_ones.txt: lists a part of the images")


def test_a_list_of_validation_alone(root, make_config):
    text(root / "val.txt", "p1\np2\n")
    dataset = loaded(root, make_config)
    assert dataset.val.ids == ("val/p1", "val/p2") and len(dataset.labeled) == 6


def test_lists_of_the_user_come_first(root, make_config):
    text(root / "val.txt", "p1\np2\n")
    text(root / "mine.txt", "p3\n")
    dataset = loaded(root, make_config, {"val": "mine.txt"}, val="mine.txt")
    assert dataset.val.ids == ("p3",) and "p1" in dataset.labeled.ids


def test_two_lists_for_one_split_are_not_guessed(root, make_config):
    for count in (2, 4):
        text(root / f"{count}/train.txt", "".join(f"p{n}\n" for n in range(count)))
    dataset = loaded(root, make_config)
    assert len(dataset.labeled) + len(dataset.val) == 8
    assert any("2 lists for train are not used: 2/train.txt, 4/train.txt" in w
               for w in dataset.warnings)  # fmt: skip


def test_an_image_in_two_lists_is_an_error(root, make_config):
    text(root / "train.txt", "p1\np2\n")
    text(root / "val.txt", "p2\np3\n")
    with pytest.raises(DataError, match="p2.png: in .*txt and in another list"):
        loaded(root, make_config)


def test_other_text_files_are_no_lists(root, make_config):
    text(root / "train.txt", "trained on Monday\nwith p1\n")
    text(root / "measures.csv", "name,height\np1,3\np2,4\n")
    dataset = loaded(root, make_config)
    assert len(dataset.labeled) + len(dataset.val) == 8
    assert not any("lists" in note for note in dataset.notes)


def test_a_table_pairs_images_and_masks(tmp_path, make_config):
    rows = ["image,mask"]
    for number in range(6):
        photo(tmp_path / f"images/a{number}.png", number)
        mask(tmp_path / f"masks/b{5 - number}.png", np.roll(truth(), number, 1))
        rows.append(f"images/a{number}.png,masks/b{5 - number}.png")
    text(tmp_path / "pairs.csv", "\n".join(rows))
    dataset = loaded(tmp_path, make_config)
    for source in (dataset.labeled, dataset.val):
        for index, name in enumerate(source.ids):
            expected = np.roll(truth(), int(name[-1]), 1)
            np.testing.assert_array_equal(source[index]["mask"], expected)
    assert any("6 images get another mask by these lists" in note for note in dataset.notes)


@pytest.mark.parametrize("lines, names", [
    ("2 dog\n0 none\n1 cat\n", ("none", "cat", "dog")),
    ("0: none\n1: cat\n2: dog\n", ("none", "cat", "dog")),
    ("1 cat\n2 dog\n", ("background", "cat", "dog")),
    ("10 euro\n20 euro\n50 euro\n", ("10 euro", "20 euro", "50 euro")),
])  # fmt: skip
def test_numbers_in_front_of_class_names(lines, names, root):
    text(root / "classes.txt", lines)
    assert describe_folder(str(root))["class_names"] == names


def test_a_number_of_two_classes_is_an_error(root):
    text(root / "classes.txt", "0 none\n1 cat\n1 dog\n")
    with pytest.raises(DataError, match="a number occurs twice"):
        describe_folder(str(root))


def test_lists_whose_lines_name_no_image_are_named(root, make_config):
    text(root / "train.txt", "p1_0\np2_0\n")
    dataset = loaded(root, make_config)
    assert any(
        "train.txt: named like lists of a split, and not used" in w for w in dataset.warnings
    )


def turned_pairs(root):
    """Images a0 … a3 and masks b0 … b3, of which b1 belongs to a0, and b0 to a3."""
    names = []
    for number in range(4):
        photo(root / f"imgs/a{number}.png", number)
        own = np.where(truth() == 1, number + 1, 0)
        mask(root / f"labs/b{(number + 1) % 4}.png", own)
        names.append((f"imgs/a{number}.png", f"labs/b{(number + 1) % 4}.png"))
    return names


@pytest.mark.parametrize("name", ["data.json", "data_groups.json", "metadata.jsonl", "data.csv"])
def test_pairs_that_a_file_states_come_before_names(name, tmp_path, make_config):
    pairs = turned_pairs(tmp_path)
    entries = [{"image": f"./{image}", "label": f"./{mask}"} for image, mask in pairs]
    lines = [f"D:\\data\\{a}; D:\\data\\{b}".replace("/", "\\") for a, b in pairs]
    contents = {"data.json": json.dumps(entries), "data_groups.json": json.dumps({"data": entries}),
                "metadata.jsonl": "\n".join(map(json.dumps, entries)),
                "data.csv": "\n".join(["image; mask", *lines])}  # fmt: skip
    (tmp_path / name).write_text(contents[name])
    dataset = loaded(tmp_path, make_config)
    parts = (dataset.labeled, dataset.val)
    for part in parts:
        for index in range(len(part)):
            assert part[index]["mask"].max() == int(part.ids[index][-1]) + 1
    assert sum(map(len, parts)) == 4


def test_masks_that_a_list_names_and_that_are_not_there(tmp_path, make_config):
    lines = [f"{image} {mask}" for image, mask in turned_pairs(tmp_path)]
    lines[0] = "imgs/a0.png labs/lost.png"
    (tmp_path / "train.txt").write_text("\n".join(lines))
    _, _, found = read_folder(tmp_path, {})
    assert any("1 masks that lists name do not exist" in warning for warning in found.warnings)


@pytest.mark.parametrize("tool", [labelme, cvat_xml, via])
def test_lists_count_next_to_annotations_too(tool, tmp_path, make_config, cache):  # noqa: F811
    tool(tmp_path)
    names = sorted(Path(item.image).stem for item in read_folder(tmp_path, {})[2].items
                   if item.mask is not None)  # fmt: skip
    text(tmp_path / "val.txt", "".join(f"{name}\n" for name in names[:2]))
    dataset = loaded(tmp_path, make_config)
    assert [Path(path).stem for path in dataset.val.image_paths] == names[:2]
    assert [Path(path).stem for path in dataset.labeled.image_paths] == names[2:]


def test_lists_of_voc_folders_may_lie_anywhere(tmp_path, make_config):
    for number in range(6):
        photo(tmp_path / f"JPEGImages/p{number}.png", number)
        mask(tmp_path / f"SegmentationClass/p{number}.png", np.roll(truth(), number, 1))
    line = "JPEGImages/p{0}.png SegmentationClass/p{0}.png\n"
    # UniMatch's names.
    text(tmp_path / "splits/1_4/labeled.txt", "".join(line.format(n) for n in (0, 1)))
    text(tmp_path / "splits/1_4/unlabeled.txt", "".join(line.format(n) for n in (2, 3)))
    text(tmp_path / "splits/val.txt", "".join(line.format(n) for n in (4, 5)))
    dataset = loaded(tmp_path, make_config)
    assert (dataset.labeled.ids, dataset.val.ids) == (("p0", "p1"), ("val/p4", "val/p5"))
    assert sorted(dataset.unlabeled.ids) == ["p2", "p3"]


@pytest.mark.parametrize("told", [False, True])
def test_masks_that_a_list_names_next_to_itself(told, tmp_path, make_config):
    """Hugging Face's imagefolder: the names are relative to metadata.jsonl."""
    for split in ("train", "validation")[: 1 + told]:
        rows = []
        for number in range(4):
            photo(tmp_path / f"{split}/p{number}.jpg", number + 9 * len(split))
            own = f"seg_p{(number + 1) % 4}.png"
            mask(tmp_path / split / own, np.roll(truth(), number, 1))
            rows.append({"file_name": f"p{number}.jpg", "mask_file_name": own})
        text(tmp_path / split / "metadata.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    dataset = loaded(tmp_path, make_config)
    assert not dataset.warnings
    for part in (dataset.labeled, dataset.val):
        for index, path in enumerate(part.image_paths):
            number = int(Path(path).stem[1:])
            assert (part[index]["mask"] == np.roll(truth(), number, 1)).all()


def test_a_list_that_contradicts_the_names_is_an_error(root):
    lines = [f"images/p{n}.png,masks/q{(n + 1) % 8}.png\n" for n in range(8)]
    text(root / "pairs.csv", "image,mask\n" + "".join(lines))
    problems = read_folder(root, {})[2].problems
    assert any("a list names the mask q1.png" in problem for problem in problems)


def test_lists_without_an_ending_and_with_a_column_per_split(root, make_config):
    text(root / "splits/train", "".join(f"p{n}\n" for n in range(5)))
    text(root / "splits/val", "p5\np6\n")
    assert loaded(root, make_config).val.ids == ("val/p5", "val/p6")
    for name in ("train", "val"):
        (root / "splits" / name).unlink()
    text(root / "split.csv", "train,val\np0,p3\np1,p4\np2,\n")
    dataset = loaded(root, make_config)
    assert (dataset.labeled.ids, dataset.val.ids) == (("p0", "p1", "p2"), ("val/p3", "val/p4"))


def test_a_column_of_unknown_splits_is_named(root):
    rows = "".join(f"p{n}.png,{int(n > 5)}\n" for n in range(8))
    text(root / "list.csv", "image_id,fold\n" + rows)
    warnings = read_folder(root, {})[2].warnings
    assert any("list.csv (fold: 0, 1): a column of splits" in line for line in warnings)
