"""More layouts of published data sets, in miniature: read right."""

import numpy as np

from ipixmatch_jax.data.importers import read_folder
from tests.data.importers.test_formats import cache, loaded  # noqa: F401  (a fixture)
from tests.data.importers.test_published_layouts import check
from tests.references.exports import mask, photo, text, truth


def test_masks_of_supervisely_for_machines_and_people(tmp_path, make_config):
    for number in range(4):
        photo(tmp_path / f"ds/img/{number}.jpg", number)
        mask(tmp_path / f"ds/masks_machine/{number}.png", truth())
        photo(tmp_path / f"ds/masks_human/{number}.png", number + 50)
    check(tmp_path, make_config)
    *_, found = read_folder(tmp_path, {})
    assert "ds/masks_machine holds the masks; not used: ds/masks_human" in found.notes


def test_categories_next_to_ids_of_people(tmp_path, make_config):
    """CIHP: Images, Category_ids, Human_ids and Instance_ids."""
    for split, seed in (("Training", 0), ("Validation", 50)):
        for number in range(3):
            photo(tmp_path / f"{split}/Images/{number}.jpg", seed + number)
            mask(tmp_path / f"{split}/Category_ids/{number}.png", truth())
            for folder in ("Human_ids", "Instance_ids"):
                mask(tmp_path / f"{split}/{folder}/{number}.png", truth() > 0)
    assert len(check(tmp_path, make_config, count=6).val) == 3


def test_folders_of_images_and_masks_with_numbers_of_their_own(tmp_path, make_config):
    """TNBC: Slide_01/01_1.png and GT_01/01_1.png; every name is unique."""
    for slide in range(1, 4):
        for number in (1, 2):
            photo(tmp_path / f"Slide_{slide:02}/{slide:02}_{number}.png", 10 * slide + number)
            mask(tmp_path / f"GT_{slide:02}/{slide:02}_{number}.png", truth())
    check(tmp_path, make_config, count=6)


def test_black_and_white_masks_as_jpeg_and_png(tmp_path, make_config):
    """Kvasir-SEG has masks in JPEG; read with a notice."""
    ids = (np.kron(truth(), np.ones((4, 4))) > 0).astype(np.uint8)
    for number in range(4):
        ending = "jpg" if number else "png"
        noise = np.random.default_rng(number).integers(0, 256, (*ids.shape, 3), np.uint8)
        mask(tmp_path / f"images/{number}.jpg", noise)
        mask(tmp_path / f"masks/{number}.{ending}", ids * 255)
    text(tmp_path / "bboxes.json", {"0": {"bbox": []}})
    dataset = check(tmp_path, make_config, expected=ids)
    assert any("masks are read by brightness" in note for note in dataset.notes)


def test_numbers_of_matlab_are_rows_and_no_names(tmp_path):
    """Image Labeler: the second image of gTruth is image_10, not image_2."""
    for number in range(1, 12):
        photo(tmp_path / f"images/image_{number}.jpg", number)
        mask(tmp_path / f"PixelLabelData/Label_{number}.png", truth())
    problems = read_folder(tmp_path, {})[2].problems
    assert len(problems) == 1 and "image_10.jpg is image 2 in the order" in problems[0]


def test_numbers_of_matlab_that_are_rows_and_names(tmp_path):
    for number in range(1, 12):
        photo(tmp_path / f"images/image_{number:02}.jpg", number)
        if number % 3:
            mask(tmp_path / f"PixelLabelData/Label_{number}.png", truth())
    *_, found = read_folder(tmp_path, {})
    assert not found.problems
    masks = {item.id: item.mask.rpartition("_")[2] for item in found.items if item.mask}
    assert masks == {f"image_{n:02}": f"{n}.png" for n in range(1, 12) if n % 3}
