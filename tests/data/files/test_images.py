"""Image files of every usual kind are read, and faults are reported."""

import io

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data.files.images import image_size, read_image
from ipixmatch_jax.data.files.masks import check_mask, check_same_size, read_class_ids
from ipixmatch_jax.errors import DataError

COLORS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def encoded(image, file_format="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def test_rgb_png_from_path_and_from_bytes(tmp_path):
    Image.fromarray(COLORS).save(tmp_path / "a.png")
    for file in (tmp_path / "a.png", (tmp_path / "a.png").read_bytes()):
        np.testing.assert_array_equal(read_image(file, "a"), COLORS)
        assert image_size(file, "a") == (6, 9)


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "RGBA"])
def test_other_modes_become_rgb(mode):
    image = Image.fromarray(COLORS).convert(mode)
    read = read_image(encoded(image), "a")
    assert read.shape == (6, 9, 3) and read.dtype == np.uint8
    if mode == "RGBA":
        np.testing.assert_array_equal(read, COLORS)
    if mode in ("L", "LA"):
        gray = np.asarray(Image.fromarray(COLORS).convert("L"))
        np.testing.assert_array_equal(read, np.repeat(gray[..., None], 3, -1))


def test_exif_orientation_turns_the_photograph():
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = 255
    # Orientation 6: the camera was turned, a viewer rotates the stored picture clockwise.
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = encoded(stored, "JPEG", quality=100, exif=exif)
    read = read_image(file, "a")
    assert read.shape == (16, 32, 3) and image_size(file, "a") == (16, 32)
    assert np.abs(read.astype(int) - upright).max() < 30


@pytest.mark.parametrize("content", [b"", b"no image", encoded(Image.fromarray(COLORS))[:80]])
@pytest.mark.parametrize("read", [read_image, read_class_ids])
def test_broken_files_are_named(content, read):
    with pytest.raises(DataError, match=r"somewhere/a\.png"):
        read(content, "somewhere/a.png")


def test_messages_call_a_file_by_its_path(tmp_path):
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=f"{tmp_path}/a.png"):
        read_image(tmp_path / "a.png")


def test_lost_file(tmp_path):
    with pytest.raises(DataError, match="gone"):
        image_size(tmp_path / "a.png", "a.png")


def test_sixteen_bits_are_refused():
    deep = encoded(Image.fromarray(np.full((4, 4), 40000, np.uint16)))
    for read in (read_image, read_class_ids):
        with pytest.raises(DataError, match="8"):
            read(deep, "a.png")


def test_masks_are_indices_with_any_colors():
    ids = np.random.default_rng(1).integers(0, 5, (6, 9), dtype=np.uint8)
    ids[0, 0] = 255
    gray = Image.fromarray(ids)
    palette = Image.fromarray(ids)
    palette.putpalette([(7 * i + 13) % 256 for i in range(768)])
    for image in (gray, palette):
        read = read_class_ids(encoded(image), "m")
        np.testing.assert_array_equal(read, ids)
        assert read.dtype == np.uint8
    bits = read_class_ids(encoded(Image.fromarray(ids > 2)), "m")
    np.testing.assert_array_equal(bits, (ids > 2).astype(np.uint8))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colored_masks_are_refused(mode):
    with pytest.raises(DataError, match=r"m\.png: pixel format.*one 8-bit channel"):
        read_class_ids(encoded(Image.fromarray(COLORS).convert(mode)), "m.png")


def test_mask_values():
    mask = np.array([[0, 1, 2], [255, 2, 2]], np.uint8)
    check_mask(mask, 3, "m.png")
    with pytest.raises(DataError, match=r"m\.png: mask value 2 in 50\.0 %.*0\.\.1 or 255"):
        check_mask(mask, 2, "m.png")
    with pytest.raises(DataError, match="mask value 254"):
        check_mask(np.full((2, 2), 254, np.uint8), 254, "m.png")


def test_sizes_of_image_and_mask():
    check_same_size((4, 6), (4, 6), "i.png", "m.png")
    with pytest.raises(DataError, match=r"m\.png: mask is 5x4 .* i\.png is 6x4"):
        check_same_size((4, 6), (4, 5), "i.png", "m.png")
    with pytest.raises(DataError, match="EXIF"):
        check_same_size((4, 6), (6, 4), "i.png", "m.png")
