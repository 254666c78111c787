"""Photos of every kind are read as in training, or refused."""

import io
import struct

import jax.numpy as jnp
import numpy as np
import pytest
import tifffile
from PIL import Image

from ipixmatch_jax.data import Pixels, read_image
from ipixmatch_jax.data.files.images import image_size
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.photo_reader import read_photo, read_valid_photo

RGB, GRAY, DEEP = Pixels(), Pixels(1), Pixels(4, ((0.0, 4000.0),))


def image_of(*shape, dtype=np.uint8, seed=0):
    high = 256 if dtype == np.uint8 else 4000
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def saved(path, mode, orientation=None):
    size = (6, 8) if mode in ("1", "L", "P") else (6, 8, len(mode))
    image = Image.fromarray(image_of(*size[:2]) if len(size) == 2 else image_of(*size))
    image = image.convert(mode)
    options = {}
    if orientation:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"exif": exif, "quality": 95}
    image.save(path, **options)
    return path


@pytest.mark.parametrize("pixels", [RGB, GRAY])
@pytest.mark.parametrize(
    ("name", "mode", "orientation"),
    [
        ("a.png", "RGB", None), ("a.png", "RGBA", None), ("a.png", "L", None), ("a.png", "P", None),
        ("a.png", "1", None), ("a.jpg", "RGB", 6), ("a.jpg", "RGB", 3), ("a.jpg", "L", 8),
    ],
)  # fmt: skip
def test_paths_bytes_and_pillow_images_are_read_as_training_reads_them(
    tmp_path, pixels, name, mode, orientation
):
    path = saved(tmp_path / name, mode, orientation)
    want = read_image(path, pixels=pixels)
    for photo in (path, str(path), path.read_bytes(), Image.open(path)):
        np.testing.assert_array_equal(read_photo(photo, pixels), want)
    copy = Image.open(path).convert("RGB")  # loses its format, not its EXIF tag
    assert read_photo(copy, pixels).shape == want.shape


def test_arrays_are_taken_as_a_file_would_be():
    image = image_of(6, 8, 4)
    np.testing.assert_array_equal(read_photo(image, RGB), image[..., :3])
    gray = image[..., 0]
    np.testing.assert_array_equal(read_photo(gray, RGB), np.repeat(gray[..., None], 3, -1))
    np.testing.assert_array_equal(read_photo(gray, GRAY), gray[..., None])


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "bfloat16", "int32", "int64", "uint32", "uint64"]
)
def test_arrays_of_every_number_type_mean_the_same_photo(dtype):
    image = image_of(6, 8, 3)
    array = jnp.asarray(image) if dtype == "bfloat16" else image
    wide = array.astype(dtype)
    if dtype in ("float16", "float32", "float64", "bfloat16"):
        wide = wide / 255
    found = read_photo(wide, RGB).astype(int)
    assert found.shape == image.shape
    # bfloat16 has 8 bits of precision: steps of 1/256 near 1.
    np.testing.assert_allclose(found, image, rtol=0, atol=1 if dtype == "bfloat16" else 0)


def test_true_is_white():
    mask = np.eye(4, dtype=bool)
    np.testing.assert_array_equal(read_photo(mask, GRAY)[..., 0], 255 * np.eye(4))
    with pytest.raises(DataError, match="uint8 pixels; the network takes images of 4"):
        read_photo(np.repeat(mask[..., None], 4, -1), DEEP)


def test_deep_images_use_the_range_of_the_training_images(tmp_path):
    image = image_of(6, 8, 4, dtype=np.uint16)
    np.save(tmp_path / "a.npy", image)
    want = read_image(tmp_path / "a.npy", pixels=DEEP)
    for photo in (tmp_path / "a.npy", image):
        np.testing.assert_array_equal(read_photo(photo, DEEP), want)
    assert want.max() > 200


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_network_of_deep_bands_refuses_eight_bit_photos(tmp_path, mode):
    path = saved(tmp_path / "a.png", mode)
    for photo in (path, Image.open(path)):
        with pytest.raises(DataError, match="takes images of 4 channels with more than 8"):
            read_photo(photo, DEEP)
    if mode == "RGBA":
        with pytest.raises(DataError, match="uint8 pixels"):
            read_photo(np.asarray(Image.open(path)), DEEP)


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_no_fourth_channel_is_invented(tmp_path, mode):
    stream = io.BytesIO()
    Image.fromarray(image_of(6, 8, 3)).convert(mode).save(stream, "TIFF")
    with pytest.raises(DataError, match=f"channel.*{mode}.*the network takes images of 4 channels"):
        read_photo(stream.getvalue(), Pixels(4))
    assert read_photo(image_of(6, 8, 4), Pixels(4)).shape == (6, 8, 4)


def test_an_orientation_that_is_text_turns_nothing(tmp_path):
    # The tag as text of four bytes.
    tag = struct.pack("<HHI4s", 0x0112, 2, 4, b"abc\0")
    exif = b"Exif\0\0" + b"II*\0" + struct.pack("<IH", 8, 1) + tag + bytes(4)
    Image.fromarray(image_of(6, 8, 3)).save(tmp_path / "a.jpg", exif=exif)
    assert Image.open(tmp_path / "a.jpg").getexif()[0x0112] == "abc"
    assert read_photo(tmp_path / "a.jpg", RGB).shape == (6, 8, 3)
    assert image_size(tmp_path / "a.jpg", "a") == (6, 8)


def test_missing_data_is_what_training_makes_of_it(tmp_path):
    pixels = Pixels(4, ((0.0, 4000.0),), nodata=(65535.0,))
    image = image_of(6, 8, 4, dtype=np.uint16)
    image[:2] = 65535
    np.save(tmp_path / "a.npy", image)
    want = read_image(tmp_path / "a.npy", pixels=pixels)
    assert not want[:2].any() and want[2:].any()
    for photo in (tmp_path / "a.npy", (tmp_path / "a.npy").read_bytes(), image):
        np.testing.assert_array_equal(read_photo(photo, pixels), want)
        valid = read_valid_photo(photo, pixels)[1]
        assert not valid[:2].any() and valid[2:].all()
    gray = Pixels(1, ((0.0, 4000.0),), nodata=(65535.0,))
    picture = Image.fromarray(image[..., 0])
    np.testing.assert_array_equal(read_photo(picture, gray)[..., 0], want[..., 0])


def test_the_limit_of_pixels_is_that_of_the_data_set(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", "RGB")
    with pytest.raises(DataError, match="8x6 .* data.max_pixels=40; set data.max_pixels higher"):
        read_photo(path, Pixels(max_pixels=40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert read_photo(path, Pixels(max_pixels=48)).shape == (6, 8, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_made_from_eight_are_read_as_training_reads_them(channels, tmp_path):
    image = image_of(6, 8, channels)
    wide = image.astype(np.uint16) * 257
    np.save(tmp_path / "a.npy", wide)
    pixels = Pixels(channels=channels)
    for photo in (tmp_path / "a.npy", wide):
        np.testing.assert_array_equal(read_photo(photo, pixels), image)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.npy", pixels),
                                  read_image(tmp_path / "a.npy", pixels=pixels))  # fmt: skip
    with pytest.raises(DataError, match="uint16"):
        read_photo(wide + np.uint16(1), pixels)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.avif", "a.jpg"])
def test_pillow_images_of_every_format_are_turned(tmp_path, name):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image_of(6, 8, 3)).save(tmp_path / name, exif=exif)
    want = read_image(tmp_path / name)
    assert want.shape == (8, 6, 3)
    loaded = Image.open(tmp_path / name)
    loaded.load()
    for picture in (Image.open(tmp_path / name), loaded, Image.open(tmp_path / name).copy()):
        np.testing.assert_array_equal(read_photo(picture, RGB), want)


def test_pillow_images_are_read_from_their_files(tmp_path):
    """Pillow reads the first of several pages alone, and does not reverse deep WhiteIsZero."""
    bands = image_of(6, 8, 4, dtype=np.uint16)
    pages = np.moveaxis(bands, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack", planarconfig=None)
    want = read_image(tmp_path / "a.tif", pixels=DEEP)
    np.testing.assert_array_equal(read_photo(Image.open(tmp_path / "a.tif"), DEEP), want)
    gray = Pixels(1, ((0.0, 65535.0),))
    tifffile.imwrite(tmp_path / "b.tif", bands[..., 0], photometric="miniswhite")
    want = read_image(tmp_path / "b.tif", pixels=gray)
    picture = Image.open(tmp_path / "b.tif")
    np.testing.assert_array_equal(read_photo(picture, gray), want)
    picture.load()  # the image is as before
    assert picture.size == (8, 6)


def test_photos_of_another_scale_are_refused(tmp_path):
    """The network would see black, or white, and predict one class without a word."""
    deep = Pixels(3, ((3.0, 4000.0),))
    np.save(tmp_path / "a.npy", image_of(6, 8, 3) / np.float32(255))
    for photo in (tmp_path / "a.npy", image_of(6, 8, 3) / 255):
        with pytest.raises(DataError, match="values up to 1; .* of about 3 to 4000.*scale of the"):
            read_photo(photo, deep)
    with pytest.raises(DataError, match="values up to .*; .*values of about 0 to 1"):
        read_photo(image_of(6, 8, 3, dtype=np.uint16), Pixels(3, ((0.0, 1.0),)))
    lake = np.full((6, 8, 1), 0.8, np.float32)
    assert read_photo(lake, Pixels(1, ((0.0, 300.0),))).max() == 1
    # Night, and measurements with a sign.
    for array in (np.zeros((6, 8, 3), np.uint16), np.full((6, 8, 3), -0.9, np.float32)):
        assert not read_photo(array, deep).any()


@pytest.mark.parametrize("mode", ["HSV", "LAB", "RGBa", "F"])
def test_bytes_of_other_color_models_are_not_taken_for_rgb(mode):
    with pytest.raises(DataError, match="the photo: .*images of 3 channels with 8 bits"):
        read_photo(Image.new(mode, (8, 6)), RGB)
