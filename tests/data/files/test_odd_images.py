"""Images of unusual kinds: turned, of 16 bits with opacity, and TIFF files of every sort."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data.files.images import (
    Pixels,
    image_size,
    read_bands,
    read_image,
    stored_channels,
)
from ipixmatch_jax.data.files.orientation import upright

ROWS, COLUMNS = np.mgrid[:20, :28]
GRAY = (ROWS * 5 + COLUMNS * 3).astype(np.uint8)
RGB = np.stack([GRAY, 255 - GRAY, (ROWS * 9).astype(np.uint8)], -1)


def deep_gray_alpha(path, gray, alpha, before=b""):
    """A PNG file of 16-bit gray with opacity."""

    def chunk(kind, data):
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    samples = np.stack([gray, alpha], -1).astype(">u2")
    lines = b"".join(b"\0" + line.tobytes() for line in samples)
    head = struct.pack(">IIBBBBB", gray.shape[1], gray.shape[0], 16, 4, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before
        + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "RGB"])
def test_uncompressed_tiff_files_are_turned(tmp_path, mode):
    picture = Image.fromarray(RGB).convert(mode)
    path = tmp_path / "a.tif"
    for orientation in (3, 5, 6, 8):
        picture.save(path, tiffinfo={0x0112: orientation})
        want = upright(np.asarray(picture.convert("RGB")), orientation)
        np.testing.assert_array_equal(read_image(path), want)
        assert image_size(path, "a") == want.shape[:2]


def test_16_bit_gray_png_is_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = GRAY.astype(np.uint16) * 100
    Image.fromarray(deep).save(tmp_path / "a.png", exif=exif)
    read = read_bands(tmp_path / "a.png", "a", 1)[..., 0]
    np.testing.assert_array_equal(read, upright(deep, 6))
    assert image_size(tmp_path / "a.png", "a") == read.shape


def test_16_bit_gray_png_with_opacity_keeps_16_bits(tmp_path):
    path = tmp_path / "a.png"
    deep_gray_alpha(path, GRAY.astype(np.uint16) * 15 + 7, np.full(GRAY.shape, 65535))
    read = read_bands(path, "a", 1)[..., 0]
    np.testing.assert_array_equal(read, GRAY.astype(np.uint16) * 15 + 7)
    assert stored_channels(str(path)) == 1
    read = read_image(path, pixels=Pixels(3, ((7.0, 7 + 15 * 255.0),)))
    np.testing.assert_array_equal(read, np.repeat(GRAY[..., None], 3, -1))
