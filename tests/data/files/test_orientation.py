"""Photos with an EXIF orientation, and masks drawn on stored or on upright pixels."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from ipixmatch_jax.data.catalog import assemble, data_defaults, load_dataset
from ipixmatch_jax.data.files.exif_agreement import orientation_problems
from ipixmatch_jax.data.files.images import image_orientation, image_size, read_image
from ipixmatch_jax.data.files.orientation import upright
from ipixmatch_jax.data.inspection.report import inspect_dataset
from ipixmatch_jax.errors import DataError


def scene(seed, size):
    rng = np.random.default_rng(seed)
    mask = np.zeros(size, np.uint8)
    y, x = rng.integers(2, size[0] // 2), rng.integers(2, size[1] // 2)
    mask[y : y + size[0] // 4, x : x + size[1] // 3] = 1
    shade = np.array([(60, 120, 60), (210, 60, 60)])[mask] + rng.integers(-25, 25, (*size, 3))
    return shade.clip(0, 255).astype(np.uint8), mask


def folder(root, orientation, size=(48, 64), drawn="stored", blank=False):
    """Photos stored with an orientation, and masks drawn on stored or upright pixels."""
    for number in range(6):
        image, mask = scene(number, size)
        mask = mask * (not blank)
        exif = Image.Exif()
        exif[0x0112] = orientation
        for part in ("images", "masks"):
            (root / part).mkdir(exist_ok=True, parents=True)
        Image.fromarray(image).save(root / f"images/{number}.jpg", quality=95, exif=exif)
        mask = mask if drawn == "stored" else upright(mask, orientation)
        Image.fromarray(mask).save(root / f"masks/{number}.png")
    config = data_defaults()
    config.root, config.folder.holdout = str(root), 0.34
    config.folder.train_images, config.folder.train_masks = "images", "masks"
    return config


def agreement(source, index):
    record = source[index]
    red = record["image"][..., 0] > 140
    return (red == record["mask"]).mean()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_what_pillow_does(orientation):
    image, _ = scene(0, (6, 9))
    picture = Image.fromarray(image)
    picture.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(
        upright(image, orientation), np.asarray(ImageOps.exif_transpose(picture))
    )


@pytest.mark.parametrize("orientation", [2, 3, 4])
@pytest.mark.parametrize("size", [(48, 64), (56, 56)])
def test_masks_on_stored_pixels_are_noticed(tmp_path, orientation, size):
    config = folder(tmp_path, orientation, size)
    with pytest.raises(DataError, match="fit the stored pixels.*data.folder.exif=stored"):
        load_dataset(config, 0)
    kinds = [finding.kind for finding in inspect_dataset(config, 0).errors]
    assert kinds and set(kinds) == {"orientation"}
    config.folder.exif = "stored"
    dataset = load_dataset(config, 0)
    assert min(agreement(dataset.labeled, i) for i in range(len(dataset.labeled))) > 0.97


@pytest.mark.parametrize("orientation", [3, 6])
def test_masks_on_upright_pixels_are_no_question(tmp_path, orientation):
    size = (48, 64) if orientation == 3 else (56, 56)
    config = folder(tmp_path, orientation, size, drawn="upright")
    dataset = load_dataset(config, 0)
    assert min(agreement(dataset.labeled, i) for i in range(len(dataset.labeled))) > 0.97


@pytest.mark.parametrize("drawn", ["stored", "upright"])
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_sizes_tell_for_quarter_turns(tmp_path, orientation, drawn):
    dataset, _ = assemble(folder(tmp_path, orientation, drawn=drawn), 0)
    assert orientation_problems(dataset.labeled) == []
    assert dataset.labeled.size(0) == (64, 48)
    assert min(agreement(dataset.labeled, i) for i in range(len(dataset.labeled))) > 0.97


def test_what_pixels_cannot_tell_is_asked(tmp_path):
    config = folder(tmp_path, 3)
    for number, path in enumerate((tmp_path / "images").iterdir()):
        flat = Image.fromarray(np.full((48, 64, 3), 90 + number, np.uint8))
        flat.save(path, exif=Image.open(path).getexif())
    with pytest.raises(DataError, match="not clear.*exif=stored or data.folder.exif=upright"):
        load_dataset(config, 0)
    config.folder.exif = "upright"
    load_dataset(config, 0)


@pytest.mark.parametrize("ending", [".png", ".webp", ".tif", ".avif", ".jpg"])
def test_every_format_is_turned(tmp_path, ending):
    image, _ = scene(0, (48, 64))
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"a{ending}"
    options = {"tiffinfo": {274: 6}} if ending == ".tif" else {"exif": exif}
    Image.fromarray(image).save(path, quality=95, **options)
    read = read_image(path)
    assert image_size(path, "a") == read.shape[:2] == (64, 48)
    assert np.abs(read.astype(int) - np.rot90(image, -1)).mean() < 12
    assert image_orientation(path, "a") == 6


def test_orientation_that_is_text(tmp_path):
    image, _ = scene(0, (8, 12))
    head = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + b"\x01\x12\0\x02\0\0\0\x04abc\0" + b"\0" * 4
    Image.fromarray(image).save(tmp_path / "a.jpg", exif=head)
    assert Image.open(tmp_path / "a.jpg").getexif()[0x0112] == "abc"
    assert read_image(tmp_path / "a.jpg").shape == (8, 12, 3)
