"""Masks of numbered cells, as Cellpose and the Cell Tracking Challenge store them."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.importers import read_folder
from ipixmatch_jax.errors import DataError
from tests.data.importers.test_formats import all_masks, loaded
from tests.data.importers.test_left_by_people import cache  # noqa: F401  (a fixture)
from tests.references.exports import SIZE, mask, photo, text


def cells(count, first=1):
    """uint16 [24,32] with cells of 2x3 pixels, numbered from `first` on."""
    ids = np.zeros(SIZE, np.uint16)
    for i in range(count):
        top, left = 2 + 3 * (i // 7), 2 + 4 * (i % 7)
        ids[top : top + 2, left : left + 3] = first + i
    return ids


def save(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids).save(path)


def by_id(dataset):
    return {record["id"]: record["mask"] for part in (dataset.labeled, dataset.val)
            for record in (part[i] for i in range(len(part)))}  # fmt: skip


@pytest.mark.parametrize("place", ["{}", "masks/{}"])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_cells_of_cellpose_are_one_class(ending, place, tmp_path, make_config):
    """Numbers beyond 255, among them 255 itself and 65535, are cells."""
    for n in range(5):
        photo(tmp_path / f"im{n}.png", n)
        save(tmp_path / place.format(f"im{n}_cp_masks.{ending}"), cells(5 + n, 251 + n))
        save(tmp_path / f"im{n}_flows_cp_masks.tif", cells(9))
        photo(tmp_path / f"im{n}_cp_output_cp_masks.png", 90 + n)
        photo(tmp_path / f"im{n}_flows.tif", 80 + n)
        text(tmp_path / f"im{n}_cp_outlines.txt", "1,2,3,4\n")
        np.save(tmp_path / f"im{n}_seg.npy", {"masks": cells(3)}, allow_pickle=True)
    save(tmp_path / place.format(f"im0_cp_masks.{ending}"), cells(5, 65531))
    photo(tmp_path / "further_seg.png", 50)
    dataset = loaded(tmp_path, make_config)
    assert dataset.class_names == ("background", "cell")
    assert dataset.unlabeled.ids == ("further_seg",)
    found = by_id(dataset)
    assert sorted(found) == [f"im{n}" for n in range(5)]
    for n in range(5):
        np.testing.assert_array_equal(found[f"im{n}"], cells(5 + n) > 0)


def test_results_of_cellpose_as_python_objects_are_refused(tmp_path):
    for n in range(4):
        photo(tmp_path / f"im{n}.tif", n)
        np.save(tmp_path / f"im{n}_seg.npy", {"masks": cells(3)}, allow_pickle=True)
    with pytest.raises(DataError, match="Python objects, which are not read; .*Save masks as PNG"):
        describe_folder(str(tmp_path))


def test_two_masks_for_an_image_of_cellpose_are_refused(tmp_path):
    for n in range(4):
        photo(tmp_path / f"im{n}.png", n)
        save(tmp_path / f"im{n}_cp_masks.png", cells(5 + n))
        save(tmp_path / f"im{n}_masks.png", cells(4 + n))
    with pytest.raises(DataError, match="two masks for an image; .*data.folder.mask_tail"):
        describe_folder(str(tmp_path))


@pytest.mark.parametrize("images, masks", [
    ("images/{}.tif", "masks/{}.tif"), ("{}.tif", "{}_labels.tif"), ("{}_img.png", "{}_masks.png"),
])  # fmt: skip
def test_numbers_without_the_name_of_a_tool_name_the_key(images, masks, tmp_path, make_config):
    """StarDist's and napari's labels, and Cellpose's own data set."""
    for n in range(6):
        photo(tmp_path / images.format(f"c{n}"), n)
        save(tmp_path / masks.format(f"c{n}"), cells(5 + n))
    with pytest.raises(DataError, match="set data.masks=objects to read every object as class 1"):
        describe_folder(str(tmp_path))
    dataset = loaded(tmp_path, make_config, {"masks": "objects"})
    areas = sorted(int(found.sum()) for found in all_masks(dataset))
    assert areas == [6 * (5 + n) for n in range(6)]


def sequence(root, name, *, gold=(), silver=(), markers=(0, 1, 2, 3)):
    for n in range(4):
        photo(root / f"{name}/t00{n}.tif", n + 10 * int(name))
    for frame, count in gold:
        save(root / f"{name}_GT/SEG/man_seg00{frame}.tif", cells(count))
    for frame, count in silver:
        save(root / f"{name}_ST/SEG/man_seg00{frame}.tif", cells(count, 3))
    for frame in markers:
        save(root / f"{name}_GT/TRA/man_track00{frame}.tif", cells(6))
    text(root / f"{name}_GT/TRA/man_track.txt", "1 0 3 0\n")


def test_gold_masks_of_all_cells_are_read_and_others_are_not(tmp_path, make_config):
    """Frame 1 of the gold truth shows some of the cells: silver is read; frame 3 has neither."""
    root = tmp_path / "Fluo-N2DL-HeLa"
    sequence(root, "01", gold=[(0, 6), (1, 2), (3, 5)], silver=[(0, 5), (1, 6), (2, 6)])
    sequence(root, "02", gold=[(n, 6) for n in range(4)])
    dataset = loaded(tmp_path, make_config)
    assert dataset.class_names == ("background", "cell")
    found = by_id(dataset)
    known = [*(f"01/t00{n}" for n in range(3)), *(f"02/t00{n}" for n in range(4))]
    assert sorted(found) == [f"Fluo-N2DL-HeLa/{name}" for name in known]
    for drawn in found.values():
        np.testing.assert_array_equal(drawn, cells(6) > 0)
    assert dataset.unlabeled.ids == ("Fluo-N2DL-HeLa/01/t003",)
    remarks = read_folder(tmp_path, {})[2]
    assert "masks: 5 gold (GT), 2 silver (ST)" in "\n".join(remarks.notes)
    assert "2 gold masks lack cells that GT/TRA marks" in "\n".join(remarks.warnings)


def test_silver_masks_that_lack_cells_are_named(tmp_path):
    sequence(tmp_path, "01", silver=[(n, 6 - (n == 2)) for n in range(4)])
    remarks = read_folder(tmp_path, {})[2]
    assert any("1 silver masks lack some of the cells" in line for line in remarks.warnings)


def test_gold_masks_without_markers_are_a_problem(tmp_path, make_config):
    sequence(tmp_path, "01", gold=[(n, 6) for n in range(4)], markers=())
    with pytest.raises(DataError, match="no markers in GT/TRA, which tell whether"):
        loaded(tmp_path, make_config)


def test_folders_of_two_digits_are_no_sequences(tmp_path, make_config):
    for n in range(4):
        photo(tmp_path / f"images/01/t00{n}.png", n)
        mask(tmp_path / f"masks/01/t00{n}.png", cells(2) > 0)
    assert len(all_masks(loaded(tmp_path, make_config))) == 4
