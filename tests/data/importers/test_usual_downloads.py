"""Folders of well-known data sets as they are downloaded, and what people keep next to them."""

import numpy as np
import pytest

from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.importers.registry import read_folder
from ipixmatch_jax.errors import DataError
from tests.data.importers.test_formats import all_masks, cache, loaded  # noqa: F401  (a fixture)
from tests.data.importers.test_published_layouts import COLORS, check
from tests.references.exports import mask, photo, text, truth


def pairs(root, image="images/{}.png", own="masks/{}.png", count=4, first=0, ids=None):
    for number in range(first, first + count):
        photo(root / image.format(number), number)
        mask(root / own.format(number), truth() if ids is None else ids)


def refusal(root):
    with pytest.raises(DataError) as error:
        describe_folder(str(root))
    return str(error.value)


def test_colored_copies_in_a_folder_of_their_own(tmp_path, make_config):
    """FloodNet with ColorMasks, which lie in another folder under the same names."""
    for part, name in (("train", "Train"), ("val", "Val")):
        first = 10 * len(part)
        pairs(tmp_path, f"{part}/{part}-org-img/{{}}.jpg", f"{part}/{part}-label-img/{{}}_lab.png",
              first=first)  # fmt: skip
        for number in range(first, first + 4):
            mask(tmp_path / f"ColorMasks/ColorMasks-{name}Set/{number}_lab.png", COLORS[truth()])
    dataset = loaded(tmp_path, make_config)
    assert len(dataset.labeled) == len(dataset.val) == 4
    for found in all_masks(dataset):
        np.testing.assert_array_equal(found, truth())


def test_texts_in_labels_that_name_no_image_are_no_yolo_labels(tmp_path, make_config):
    """Stanford Background: labels/X.regions.txt, and colors in labels_colored/X.png."""
    pairs(tmp_path, "images/{}.jpg", "labels_colored/{}.png", ids=COLORS[truth()])
    for number in range(4):
        rows = "\n".join(" ".join(map(str, row)) for row in truth().tolist())
        text(tmp_path / f"labels/{number}.regions.txt", rows)
    text(tmp_path / "labels_class_dict.csv", "class_names,r,g,b\nsky,0,0,0\ncat,255,0,0\n"
         "dog,0,0,255\n")  # fmt: skip
    check(tmp_path, make_config, names=("sky", "cat", "dog"))


def test_masks_of_edges_are_not_read(tmp_path, make_config):
    """COD10K: GT_Edge and GT_Object next to Image."""
    pairs(tmp_path, "Train/Image/{}.jpg", "Train/GT_Object/{}.png", ids=(truth() > 0) * 255)
    for number in range(4):
        edges = truth() > 0
        edges[3:-3, 4:-4] = False
        mask(tmp_path / f"Train/GT_Edge/{number}.png", edges * 255)
    check(tmp_path, make_config, expected=(truth() > 0).astype(np.uint8))
    notes = read_folder(tmp_path, {})[2].notes
    assert any("masks of edges" in note and "GT_Edge" in note for note in notes)


def test_masks_of_several_people_for_each_case(tmp_path):
    """LIDC-IDRI: four masks in every nodule's folder."""
    for case in range(3):
        pairs(tmp_path, f"P{case}/images/slice-{{}}.png", f"P{case}/mask-0/slice-{{}}.png",
              first=10 * case)  # fmt: skip
        for number in range(10 * case, 10 * case + 4):
            mask(tmp_path / f"P{case}/mask-1/slice-{number}.png", truth())
    said = refusal(tmp_path)
    assert "P0/mask-0, P0/mask-1; expected one; in 2 other folders it is the same; move" in said


def test_masks_of_test_images_fit_no_training_images(tmp_path):
    """MVTec AD, several objects: only images of the test split have masks."""
    for number, thing in enumerate(("bottle", "cable", "grid")):
        for index in range(4):
            seed = 100 * number + index
            photo(tmp_path / f"{thing}/train/good/{index:03d}.png", seed)
            photo(tmp_path / f"{thing}/test/bent/{index:03d}.png", seed + 50)
            own = tmp_path / f"{thing}/ground_truth/bent/{index:03d}_mask.png"
            mask(own, (truth() > 0) * 255)
    said = refusal(tmp_path)
    assert "12 masks, all of test images such as" in said and "data.labeled" in said


def test_bands_in_folders_of_their_own_are_named(tmp_path):
    """38-Cloud: train_red/red_patch_1.TIF and train_gt/gt_patch_1.TIF."""
    for number in range(4):
        for band in ("red", "green", "blue", "nir"):
            photo(tmp_path / f"train_{band}/{band}_patch_{number}.tif", number)
        mask(tmp_path / f"train_gt/gt_patch_{number}.tif", (truth() > 0) * 255)
    assert "the bands of one image: join them in one TIFF or NPY file" in refusal(tmp_path)


@pytest.mark.parametrize("head", ["id,class,segmentation", "ImageId,ClassId,EncodedPixels"])
def test_run_lengths_in_a_table_are_named(head, tmp_path):
    """UW-Madison GI Tract, Severstal; the table of the submission comes last."""
    for number in range(4):
        photo(tmp_path / f"train/slice_{number}.png", number)
    text(tmp_path / "sample_submission.csv", f"{head}\nslice_9,1,1 1\n")
    rows = [f"slice_{number},1,{'28094 3 28358 7' if number else ''}" for number in range(4)]
    text(tmp_path / "train.csv", "\n".join([head, *rows]))
    said = refusal(tmp_path)
    assert "train.csv: a CSV of run lengths (Kaggle) is not read" in said
    assert "save masks/NAME.png" in said


def test_tables_of_data_frames_are_lists(tmp_path, make_config):
    """train_df.csv of pandas, with paths of a notebook of Kaggle."""
    pairs(tmp_path, count=8)
    for part, numbers in (("train", range(5)), ("val", range(5, 8))):
        rows = [f"{n},/kaggle/input/mine/images/{n}.png,/kaggle/input/mine/masks/{n}.png"
                for n in numbers]  # fmt: skip
        text(tmp_path / f"{part}_df.csv", "\n".join(["id,image_path,mask_path", *rows]))
    dataset = loaded(tmp_path, make_config)
    assert sorted(dataset.val.ids) == ["val/5", "val/6", "val/7"]
    assert len(dataset.labeled) == 5


def test_ids_and_names_without_a_heading(tmp_path, make_config):
    pairs(tmp_path)
    text(tmp_path / "labels.csv", "0,null\n2,dog\n1,cat\n")
    check(tmp_path, make_config, names=("null", "cat", "dog"))
