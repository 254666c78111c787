"""Files that are not read: named, with what to do; and files of annotations in rarer forms."""

import json

import numpy as np
import pytest

from ipixmatch_jax.data import inspect_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.importers.registry import read_folder
from ipixmatch_jax.errors import DataError
from tests.data.importers.test_formats import cache  # noqa: F401  (a fixture)
from tests.data.importers.test_published_layouts import COLORS, check
from tests.references import exports
from tests.references.exports import mask, photo, text, truth


def photos(root, place="images/p{}.jpg", count=4):
    for number in range(count):
        photo(root / place.format(number), number)


@pytest.mark.parametrize("name, content, advice", [
    ("train.tfrecord", "x", "TFRecord files are not read"),
    ("train.record-00000-of-00010", "x", "TFRecord files are not read"),
    ("masks/0001.roi", "Iout", "regions of ImageJ"),
    ("p0_RoiSet.zip", "PK", "regions of ImageJ"),
    ("masks.tar.xz", "x", "an archive is not read.*unpack it"),
    ("masks/p0.psd", "8BPS", "pictures of layers.*export the layer"),
    ("masks/p0.svg", "<svg/>", "vector graphics"),
    ("labels/a.shp", "x", "shapes on maps.*gdal_rasterize"),
    ("slide.svs", "II", "slide scanners"),
    ("clip.mp4", "x", "videos are not read.*ffmpeg"),
    ("masks.pkl", "x", "Python objects"),
    ("scan/IM0001", "\0" * 128 + "DICM", "DICOM"),
    ("a.json", {"image": {}, "annotations": [{"polygon": {"path": []}}]}, "Darwin JSON"),
    ("a.json", {"dataset": {"task_type": "segmentation-bitmap", "samples": []}}, "Segments.ai"),
    ("p0.json", {"image_width": 9, "image_height": 9, "objects": [{"label": "a"}]}, "RectLabel"),
    ("p0.json", {"features": {"xy": [{"wkt": "POLYGON ((1 1, 2 1, 1 1))"}]}}, "xBD"),
    ("p0.json", {"item1": {"segmentation": [], "category_name": "skirt"}}, "DeepFashion2"),
])  # fmt: skip
def test_files_of_other_kinds_are_named(name, content, advice, tmp_path):
    photos(tmp_path)
    text(tmp_path / name, content)
    with pytest.raises(DataError, match=advice):
        read_folder(tmp_path, {})


def test_an_export_is_named_before_files_for_other_purposes(tmp_path):
    photos(tmp_path)
    text(tmp_path / "report.pdf", "x")
    text(tmp_path / "a.json", {"item": {"slots": []}, "annotations": []})
    with pytest.raises(DataError, match="Darwin JSON"):
        read_folder(tmp_path, {})


def test_images_alone_are_called_so(tmp_path):
    photos(tmp_path, "p{}.jpg")
    with pytest.raises(DataError, match="images, and no masks"):
        read_folder(tmp_path, {})


def test_entries_by_number_in_coco(tmp_path, make_config):
    """LIVECell's annotations of single cells are {number: annotation}."""
    exports.coco(tmp_path)
    (path,) = tmp_path.rglob("*.json")
    content = json.loads(path.read_text())
    content["annotations"] = {str(one["id"]): one for one in content["annotations"]}
    text(path, content)
    check(tmp_path, make_config, names=("background", "cat", "dog"))


def test_yolo_with_commas(tmp_path, make_config):
    exports.yolo(tmp_path)
    for path in tmp_path.rglob("labels/**/*.txt"):
        text(path, path.read_text().replace(" ", ","))
    check(tmp_path, make_config, count=6, names=("background", "cat", "dog"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_cvat_in_utf_16(encoding, tmp_path, make_config):
    exports.cvat_xml(tmp_path)
    (path,) = tmp_path.rglob("*.xml")
    content = path.read_text()
    start = "" if content.startswith("<?xml") else '<?xml version="1.0"?>'
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    path.write_bytes(mark + (start + content).encode(encoding))
    check(tmp_path, make_config, names=("background", "cat", "dog"))


def panoptic(root, change):
    for number in range(4):
        photo(root / f"images/p{number}.jpg", number)
        mask(root / f"panoptic_train/p{number}.png", change(truth() * 20))
    height, width = truth().shape
    text(root / "panoptic_train.json", {
        "images": [{"id": n, "file_name": f"p{n}.jpg", "height": height, "width": width}
                   for n in range(4)],
        "annotations": [{"image_id": n, "file_name": f"p{n}.png", "segments_info": [
            {"id": 20, "category_id": 1}, {"id": 40, "category_id": 2}]} for n in range(4)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    })  # fmt: skip


def test_gray_files_of_panoptic_segments(tmp_path, make_config):
    panoptic(tmp_path, lambda ids: ids)
    expected = np.where(truth() == 0, 255, truth() - 1).astype(np.uint8)
    check(tmp_path, make_config, names=("cat", "dog"), expected=expected)


def test_gray_copies_of_panoptic_segments_are_refused(tmp_path):
    """The brightness of a color is not the number of its segment."""
    panoptic(tmp_path, lambda ids: (ids * 0.299).astype(np.uint8))
    with pytest.raises(DataError, match="gray, and its values are not the segments"):
        describe_folder(str(tmp_path))


def test_classes_of_nuclei_in_matlab_files(tmp_path, make_config):
    """CoNSeP: inst_map numbers the nuclei, and type_map holds their classes."""
    import scipy.io

    photos(tmp_path, "Train/Images/train_{}.png")
    (tmp_path / "Train/Labels").mkdir(parents=True)
    for number in range(4):
        maps = {"inst_map": truth() * 3.0, "type_map": truth() * 1.0, "inst_type": [[1.0], [2.0]]}
        scipy.io.savemat(tmp_path / f"Train/Labels/train_{number}.mat", maps)
    check(tmp_path, make_config)


def test_lists_that_contradict_folders_are_told(tmp_path, make_config):
    """DeepFish: images of fish lie in a folder `valid`."""
    for number in range(8):
        part = "valid" if number % 2 else "empty"
        photo(tmp_path / f"images/{part}/p{number}.jpg", number)
        mask(tmp_path / f"masks/{part}/p{number}.png", truth())
    text(tmp_path / "train.csv", "ID,labels\nempty/p0,0\nvalid/p1,1\nempty/p2,0\nvalid/p3,1\n")
    text(tmp_path / "val.csv", "ID,labels\nvalid/p5,0\nvalid/p7,1\n")
    warnings = read_folder(tmp_path, {})[2].warnings
    (warning,) = [line for line in warnings if "another split" in line]
    assert warning.startswith("train.csv: a list of train names 2 images")
    # Lists of several sizes are choices for data.labeled.
    (tmp_path / "4").mkdir()
    (tmp_path / "train.csv").rename(tmp_path / "4/train.csv")
    text(tmp_path / "2/train.csv", "ID,labels\nempty/p0,0\nvalid/p1,1\n")
    assert not any("another split" in line for line in read_folder(tmp_path, {})[2].warnings)


def test_a_list_of_one_image(tmp_path, make_config):
    photos(tmp_path)
    for number in range(4):
        mask(tmp_path / f"masks/p{number}.png", truth())
    text(tmp_path / "train.txt", "p0\np1\np2\n")
    text(tmp_path / "val.txt", "p3\n")
    splits = {item.id: item.split for item in read_folder(tmp_path, {})[2].items}
    assert splits["val/p3"] == "val" and splits["p0"] == "train"


def test_an_empty_text_is_no_list(tmp_path):
    photos(tmp_path)
    for number in range(4):
        mask(tmp_path / f"masks/p{number}.png", truth())
    text(tmp_path / "todo.txt", "")
    assert not any("todo" in line for line in read_folder(tmp_path, {})[2].notes)


def test_masks_of_two_tails_in_two_folders_are_a_question(tmp_path):
    """Potsdam: X_label in 5_Labels_all, X_label_noBoundary in 5_Labels_all_noBoundary."""
    for number in range(4):
        photo(tmp_path / f"2_Ortho_RGB/top_{number}_RGB.png", number)
        for folder, tail in (("5_Labels", "label"), ("5_Labels_nB", "label_noBoundary")):
            mask(tmp_path / folder / f"top_{number}_{tail}.png", truth())
    with pytest.raises(DataError, match="2 folders of masks for the same images: 5_Labels, "):
        read_folder(tmp_path, {})


def test_colored_copies_next_to_the_data_set(tmp_path, make_config):
    for split, first in (("train", 0), ("val", 4)):
        for number in range(first, first + 4):
            photo(tmp_path / f"FloodNet/{split}/{split}-org-img/{number}.jpg", number)
            mask(tmp_path / f"FloodNet/{split}/{split}-label-img/{number}_lab.png", truth())
            mask(tmp_path / f"ColorMasks/{split.title()}Set/{number}_lab.png", COLORS[truth()])
    check(tmp_path, make_config, count=8)
    notes = read_folder(tmp_path, {})[2].notes
    assert any("masks in color, with the names of others" in note for note in notes)


def bordered(wide):
    """Three colors with black lines between them, or black in half of the mask."""
    ids = np.zeros((48, 64), np.uint8)
    ids[:24], ids[24:, 32:] = 1, 2
    colors = np.array([[0, 0, 255], [0, 255, 0], [255, 0, 0]], np.uint8)[ids]
    colors[22:26] = colors[24:, 30:34] = 0
    if wide:
        colors[30:] = 0
    return colors


@pytest.mark.parametrize("wide", [False, True])
def test_lines_of_a_color_without_a_name_are_told(wide, tmp_path, make_config):
    rng = np.random.default_rng(0)
    for number in range(4):
        image = rng.integers(0, 256, (48, 64, 3))
        mask(tmp_path / f"images/p{number}.png", image)
        mask(tmp_path / f"masks/p{number}.png", bordered(wide))
    found = describe_folder(str(tmp_path))
    config = make_config(**{"labeled": "", "unlabeled": "", "val": "", **found})
    kinds = [finding.kind for finding in inspect_dataset(config, 0).findings]
    assert ("border-color" in kinds) is not wide


def split_folders(root, count=6):
    for number in range(count):
        part = "train" if number < count - 2 else "test"
        photo(root / f"{part}/images/p{number}.jpg", number)
        mask(root / f"{part}/masks/p{number}.png", truth())


def test_a_list_of_a_split_without_a_folder_counts(tmp_path):
    split_folders(tmp_path)
    text(tmp_path / "val.txt", "p3\n")
    found = read_folder(tmp_path, {})[2]
    splits = [item.split for item in sorted(found.items, key=lambda item: item.image[-6:])]
    assert splits == ["train"] * 3 + ["val", "test", "test"]
    assert any("val.txt (1 images" in note for note in found.notes) and not found.warnings


def test_a_list_of_a_few_training_images_next_to_folders_is_told(tmp_path):
    split_folders(tmp_path)
    text(tmp_path / "labeled.txt", "p0\np1\n")
    (warning,) = read_folder(tmp_path, {})[2].warnings
    assert warning.startswith("labeled.txt: names 2 of the 4 training images with a mask")
    text(tmp_path / "labeled.txt", "p0\np1\np2\np3\n")
    assert not read_folder(tmp_path, {})[2].warnings


def test_masks_in_folders_without_a_name_are_not_called_images(tmp_path):
    """ISTD: train_B holds the masks, and both train_A and train_C fit them."""
    for number in range(4):
        for folder in ("train_A", "train_C"):
            photo(tmp_path / f"train/{folder}/{number}.png", number)
        mask(tmp_path / f"train/train_B/{number}.png", truth() * 100)
    with pytest.raises(DataError) as error:
        read_folder(tmp_path, {})
    assert "and no masks (see" not in str(error.value)
