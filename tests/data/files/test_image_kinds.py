"""Images that cameras, satellites and editors write: depth, bands, missing data and size."""

import numpy as np
import pytest
import tifffile
from ml_collections import ConfigDict
from PIL import Image

from ipixmatch_jax.data.catalog import data_defaults, load_dataset
from ipixmatch_jax.data.files.images import Pixels, image_size, read_bands, read_image
from ipixmatch_jax.data.pipeline import train_batches
from ipixmatch_jax.data.statistics import measure, with_statistics
from ipixmatch_jax.errors import DataError
from tests.data.files.test_mask_values import deep_colors

RNG = np.random.default_rng(0)
NODATA = 42113


def folder(root, write, count=6, size=(24, 30)):
    """`write(stem, number)` writes an image; masks have two classes."""
    for part in ("images", "masks"):
        (root / part).mkdir()
    for number in range(count):
        write(root / f"images/{number}", number)
        mask = np.zeros(size, np.uint8)
        mask[4:10, 5 : 12 + number] = 1
        Image.fromarray(mask).save(root / f"masks/{number}.png")
    config = data_defaults()
    config.root, config.folder.train_images, config.folder.train_masks = (
        str(root),
        "images",
        "masks",
    )
    return config


def scaled(config):
    return with_statistics(ConfigDict({"data": config, "seed": 0})).data


def bordered(number, dtype, value, bands=3):
    image = (np.random.default_rng(number).random((24, 30, bands)) * 200 + 20).astype(dtype)
    image[:5] = value
    return image


@pytest.mark.parametrize("dtype, value, tagged", [
    (np.float32, -9999, True), (np.float32, np.nan, False), (np.int16, -9999, True),
    (np.uint16, 0, True), (np.uint8, 0, True),
])  # fmt: skip
def test_missing_data_is_not_valid(tmp_path, dtype, value, tagged):
    def write(stem, number):
        tags = [(NODATA, "s", 0, str(value), True)] if tagged else []
        image = bordered(number, dtype, value)
        tifffile.imwrite(f"{stem}.tif", image, photometric="rgb", extratags=tags)

    config = folder(tmp_path, write)
    config.crop_size, config.scale_range, config.flip = (24, 30), (1.0, 1.0), 0.0
    config.statistics = "measure"
    config = scaled(config)
    if dtype != np.uint8:
        assert all(15 < low < 40 and 200 < high < 225 for low, high in config.value_range)
    assert all(0.4 < mean < 0.6 for mean in config.mean)
    dataset = load_dataset(config, 0)
    record = dataset.labeled[0]
    assert not record["valid"][:5].any() and record["valid"][5:].all()
    assert (record["mask"][:5] == 255).all() and (record["mask"][5:] < 2).all()
    assert record["image"][5:].std() > 30
    batches = train_batches(dataset, config, batch_size=2, unlabeled_batch_size=0, seed=0)
    valid = next(batches)["labeled"]["valid"]
    batches.close()
    assert not valid[:, :5].any() and valid[:, 5:].all()


def test_missing_data_without_a_tag_is_asked_about(tmp_path):
    config = folder(tmp_path, lambda stem, n: np.save(stem, bordered(n, np.float32, -9999)))
    with pytest.raises(DataError, match=r"-9999.*no data; set data.nodata=\(-9999,\)"):
        measure(config, 0)
    config.nodata = (-9999.0,)
    assert all(low > 0 for low, _ in measure(config, 0)["value_range"])


def test_a_value_shared_by_some_bands_is_data(tmp_path):
    image = np.full((6, 8, 3), 1000, np.uint16)
    image[0, :, 1] = 0
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb",
                     extratags=[(NODATA, "s", 0, "0", True)])  # fmt: skip
    read = read_bands(tmp_path / "a.tif", "a", 3)
    assert read.dtype == np.uint16 and (read[0, :, 1] == 0).all()


def test_16_bit_rgb_png_keeps_16_bits(tmp_path):
    colors = RNG.integers(0, 4096, (7, 9, 3)).astype(np.uint16)
    deep_colors(tmp_path / "a.png", colors)
    np.testing.assert_array_equal(read_bands(tmp_path / "a.png", "a", 3), colors)
    read = read_image(tmp_path / "a.png", pixels=Pixels(3, ((0.0, 4095.0),)))
    np.testing.assert_array_equal(read, (colors / 4095.0 * 255).round())


def test_mixed_bit_depths_in_one_set(tmp_path):
    def write(stem, number):
        image = RNG.integers(0, 256, (24, 30, 3)).astype(np.uint8)
        if number % 2:
            Image.fromarray(image).save(f"{stem}.png")
        else:
            tifffile.imwrite(f"{stem}.tif", image.astype(np.uint16) * 16, photometric="rgb")

    config = folder(tmp_path, write)
    config.statistics = "measure"
    config = scaled(config)
    assert all(low < 20 and 4000 < high <= 4080 for low, high in config.value_range)
    assert all(0.45 < mean < 0.55 for mean in config.mean)
    dataset = load_dataset(config, 0)
    assert all(100 < dataset.labeled[i]["image"].mean() < 155 for i in range(len(dataset.labeled)))


def test_16_bits_made_from_8_are_8_bits_again(tmp_path):
    image = RNG.integers(0, 256, (24, 30)).astype(np.uint8)
    Image.fromarray(image.astype(np.uint16) * 257).save(tmp_path / "wide.png")
    found = read_image(str(tmp_path / "wide.png"), pixels=Pixels(1))
    np.testing.assert_array_equal(found[..., 0], image)
    Image.fromarray(image.astype(np.uint16) * 16).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"deep.png: uint16 .*value_range=\(\(0, 4095\),\)"):
        read_image(str(tmp_path / "deep.png"), pixels=Pixels(1))
    found = read_image(str(tmp_path / "deep.png"), pixels=Pixels(1, ((0, 4080),)))
    np.testing.assert_array_equal(found[..., 0], image)


@pytest.mark.parametrize("factor, expected", [(257, ((0.0, 65535.0),)), (16, None)])
def test_labeled_images_of_mixed_depth(factor, expected, tmp_path):
    """Certain only if the 16-bit images were made from 8 bits; else the user is asked."""

    def write(stem, number):
        image = RNG.integers(0, 256, (24, 30)).astype(np.uint8)
        Image.fromarray(image if number % 2 else image.astype(np.uint16) * factor).save(
            f"{stem}.png"
        )

    config = folder(tmp_path, write)
    config.channels = 1
    if expected is None:
        with pytest.raises(DataError, match=r"uint16 .* other labeled images have 8 bits.*set da"):
            scaled(config)
        return
    config = scaled(config)
    assert tuple(config.value_range) == expected
    dataset = load_dataset(config, 0)
    assert all(100 < dataset.labeled[i]["image"].mean() < 155 for i in range(len(dataset.labeled)))


@pytest.mark.parametrize("options", [
    {"planarconfig": "separate"}, {"compression": "deflate"}, {"compression": "lzw"},
    {"compression": "deflate", "predictor": True}, {"compression": "zstd"},
    {"compression": "lzw", "predictor": True, "tile": (16, 16)}, {"bigtiff": True},
    {"byteorder": ">"},
])  # fmt: skip
@pytest.mark.parametrize("bands", [3, 12])
def test_tiff_of_many_kinds(tmp_path, options, bands, capfd):
    image = RNG.integers(0, 60000, (24, 30, bands)).astype(np.uint16)
    planes = options.get("planarconfig") == "separate"
    tifffile.imwrite(
        tmp_path / "a.tif", np.moveaxis(image, -1, 0) if planes else image,
        photometric="minisblack", **{"planarconfig": "contig", **options},
    )  # fmt: skip
    np.testing.assert_array_equal(read_bands(tmp_path / "a.tif", "a", bands), image)
    assert image_size(tmp_path / "a.tif", "a") == (24, 30)
    # Decoders say nothing of their own.
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("bands", [3, 4])
def test_tiff_of_8_bits_whose_bands_have_no_colors(tmp_path, bands):
    # GDAL writes so if it does not know that the bands are red, green and blue.
    image = RNG.integers(0, 256, (24, 30, bands)).astype(np.uint8)
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", image, extrasamples=[0] * (bands - 1), **options)
    np.testing.assert_array_equal(read_bands(tmp_path / "a.tif", "a", bands), image)


def test_arrays_with_the_bands_first_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 24, 30), np.uint8))
    with pytest.raises(DataError, match=r"bands first, .*transpose\(1, 2, 0\)"):
        read_bands(tmp_path / "a.npy", "a", 3)
    np.save(tmp_path / "b.npy", np.zeros((24, 30, 12), np.uint8))
    assert read_bands(tmp_path / "b.npy", "b", 12).shape == (24, 30, 12)


def test_cmyk_heic_avif_and_gif(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    image = np.full((24, 30, 3), (200, 60, 30), np.uint8)
    picture = Image.fromarray(image)
    for name, options in {"a.heic": {}, "a.avif": {}, "a.gif": {}, "a.tif": {"mode": "CMYK"},
                          "a.jpg": {"mode": "CMYK"}}.items():  # fmt: skip
        picture.convert(options.get("mode", "RGB")).save(tmp_path / name, quality=95)
        read = read_image(tmp_path / name)
        assert read.shape == image.shape and np.abs(read.astype(int) - image).max() < 12, name
    # The name does not matter.
    (tmp_path / "a.heic").rename(tmp_path / "b.jpg")
    assert read_image(tmp_path / "b.jpg").shape == image.shape


def test_animated_pictures_are_refused(tmp_path):
    frames = [Image.fromarray(np.full((8, 9, 3), 90 * n, np.uint8)) for n in range(3)]
    for name in ("a.gif", "a.webp", "a.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(DataError, match=rf"{name}: an animated"):
            read_image(tmp_path / name)


def test_tiff_photos_with_a_preview_in_a_second_page_are_refused(tmp_path):
    path, photo = str(tmp_path / "a.tif"), Image.new("RGB", (40, 30), (9, 90, 200))
    for other in (photo, photo.resize((8, 6))):
        photo.save(path, save_all=True, append_images=[other])
        for read in (read_image, lambda file, name: image_size(file, name)):
            with pytest.raises(DataError, match="a TIFF of 2 pages of 3 bands; expected one"):
                read(path, path)


def test_a_bound_that_the_user_can_raise(tmp_path):
    Image.new("1", (400, 300)).save(tmp_path / "a.tif")
    Image.new("L", (400, 300)).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", np.zeros((300, 400), np.uint8))
    for name in ("a.tif", "a.png", "a.npy"):
        with pytest.raises(DataError, match=rf"{name}: 400x300.*data.max_pixels=100000"):
            read_image(tmp_path / name, pixels=Pixels(3, max_pixels=100_000))
        assert read_image(tmp_path / name, pixels=Pixels(3, max_pixels=120_000)).any() in (0, 1)
        assert image_size(tmp_path / name, name) == (300, 400)


def test_larger_than_pillow_allows(tmp_path):
    Image.new("1", (20_000, 10_000)).save(tmp_path / "a.tif", compression="group4")
    with pytest.raises(DataError, match="set data.max_pixels higher"):
        read_image(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif", pixels=Pixels(1, max_pixels=2 * 10**8)).shape == (
        10_000, 20_000, 1
    )  # fmt: skip


def test_names_that_are_not_utf8(tmp_path):
    import os

    path = os.fsdecode(os.fsencode(str(tmp_path)) + b"/p\xe4.png")
    Image.new("RGB", (9, 8)).save(path)
    assert read_image(path).shape == (8, 9, 3)
    with open(path, "wb") as file:
        file.write(b"nothing")
    with pytest.raises(DataError, match="cannot be read"):
        read_image(path)


def test_cielab_is_refused(tmp_path):
    """Its three bands are no red, green and blue."""
    image = Image.fromarray(RNG.integers(0, 256, (24, 30, 3), dtype=np.uint8)).convert("LAB")
    image.save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"CIELab colors; save it in RGB"):
        read_image(tmp_path / "a.tif")
