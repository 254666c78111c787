"""Images of unusual kinds: turned, of 16 bits with opacity, and TIFF files of every sort."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from ipixmatch_jax.data.files.images import (
    Pixels,
    image_size,
    read_bands,
    read_image,
    read_valid_bands,
    stored_channels,
)
from ipixmatch_jax.data.files.orientation import upright
from ipixmatch_jax.data.files.stored_masks import read_stored
from ipixmatch_jax.errors import DataError

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


def test_an_orientation_after_the_pixels_turns_no_png(tmp_path):
    """The header alone tells the size, so nothing that lies behind the pixels counts."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for dtype in (np.uint8, np.uint16):
        Image.fromarray(GRAY.astype(dtype)).save(tmp_path / "a.png")
        content = (tmp_path / "a.png").read_bytes()
        data = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
        late = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
        (tmp_path / "a.png").write_bytes(content[:-12] + late + content[-12:])
        read = read_bands(tmp_path / "a.png", "a", 1)
        assert read.shape[:2] == image_size(tmp_path / "a.png", "a") == GRAY.shape
        np.testing.assert_array_equal(read_stored(str(tmp_path / "a.png"), "a").gray, GRAY)


def test_16_bit_gray_png_with_opacity_keeps_16_bits(tmp_path):
    path = tmp_path / "a.png"
    deep_gray_alpha(path, GRAY.astype(np.uint16) * 15 + 7, np.full(GRAY.shape, 65535))
    read = read_bands(path, "a", 1)[..., 0]
    np.testing.assert_array_equal(read, GRAY.astype(np.uint16) * 15 + 7)
    assert stored_channels(str(path)) == 1
    read = read_image(path, pixels=Pixels(3, ((7.0, 7 + 15 * 255.0),)))
    np.testing.assert_array_equal(read, np.repeat(GRAY[..., None], 3, -1))


def packed(path, samples, bits, photometric):
    """A TIFF file of one strip with samples of any number of bits."""
    lines = [
        np.packbits(np.unpackbits(row.astype(">u2").view(np.uint8)).reshape(-1, 16)[:, 16 - bits :])
        for row in samples
    ]
    content = b"".join(line.tobytes() for line in lines)
    content += b"\0" * (len(content) % 2)
    height, width = samples.shape
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1,
            278: height, 279: len(content)}  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<I", 8 + len(content))
    path.write_bytes(head + content + struct.pack("<H", len(tags)) + entries + bytes(4))


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_white_is_zero_reverses_the_bits_that_there_are(tmp_path, bits):
    values = np.round(GRAY / 255 * (2**bits - 1)).astype(np.uint16)
    packed(tmp_path / "a.tif", 2**bits - 1 - values, bits, 0)
    packed(tmp_path / "b.tif", values, bits, 1)
    for name in ("a.tif", "b.tif"):
        np.testing.assert_array_equal(read_bands(tmp_path / name, name, 1)[..., 0], values)


def test_a_fourth_band_of_unknown_kind_is_kept(tmp_path):
    bands = np.dstack([RGB, GRAY[::-1]])
    for planes in (False, True):
        path = tmp_path / "a.tif"
        options = {"photometric": "rgb", "extrasamples": ["unspecified"]}
        array = np.moveaxis(bands, -1, 0) if planes else bands
        tifffile.imwrite(path, array, planarconfig="separate" if planes else "contig", **options)
        np.testing.assert_array_equal(read_bands(path, "a", 4), bands)
        np.testing.assert_array_equal(read_image(path), RGB)
        assert stored_channels(str(path)) == 4


def test_two_bands_are_not_one_and_its_opacity(tmp_path):
    bands = np.dstack([GRAY, GRAY[::-1]])
    tifffile.imwrite(tmp_path / "a.tif", bands, photometric="minisblack", planarconfig="contig")
    np.testing.assert_array_equal(read_bands(tmp_path / "a.tif", "a", 2), bands)
    for channels in (1, 3):
        with pytest.raises(DataError, match="2 band"):
            read_bands(tmp_path / "a.tif", "a", channels)
    tifffile.imwrite(tmp_path / "b.tif", bands, photometric="minisblack", planarconfig="contig",
                     extrasamples=["unassalpha"])  # fmt: skip
    np.testing.assert_array_equal(read_bands(tmp_path / "b.tif", "b", 1)[..., 0], GRAY)


@pytest.mark.parametrize("write", [
    {"photometric": "separated", "compression": "zstd"}, {"photometric": "separated", "deep": True},
    {"photometric": "ycbcr", "compression": "zstd", "subsampling": (1, 1)},
])  # fmt: skip
def test_inks_are_not_taken_for_red_green_and_blue(tmp_path, write):
    options = dict(write)
    picture = Image.fromarray(RGB).convert("YCbCr" if "subsampling" in options else "CMYK")
    array = np.asarray(picture)
    array = array.astype(np.uint16) * 257 if options.pop("deep", False) else array
    tifffile.imwrite(tmp_path / "a.tif", array, **options)
    with pytest.raises(DataError, match="convert it to RGB"):
        read_image(tmp_path / "a.tif")


def test_pages_are_no_opacity_and_previews_no_picture(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.stack([GRAY] * 4), photometric="minisblack", planarconfig=None)
    with pytest.raises(DataError, match="4 band.*expected 3"):
        read_image(path)
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(RGB[::2, ::2], photometric="rgb", subfiletype=1)
        tiff.write(RGB, photometric="rgb")
    for read in (read_image, lambda path: image_size(path, "a")):
        with pytest.raises(DataError, match="first page is a preview"):
            read(path)


@pytest.mark.parametrize(("dtype", "stated", "value"), [
    (np.uint16, "-9999", 55537), (np.uint16, "-1", 65535), (np.int16, "0.5", 0),
    (np.uint16, "1e+20", 0),
])  # fmt: skip
def test_a_no_data_value_that_the_type_cannot_hold_marks_nothing(tmp_path, dtype, stated, value):
    array = GRAY.astype(dtype) + dtype(1)
    array[:3] = value
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack",
                     extratags=[(42113, "s", 0, stated, True)])  # fmt: skip
    read, valid = read_valid_bands(tmp_path / "a.tif", "a", Pixels(1))
    assert valid is None and read.dtype == dtype
    np.testing.assert_array_equal(read[..., 0], array)


@pytest.mark.parametrize(("magic", "white"), [("P5", 65535), ("P6", 65535), ("P6", 4095)])
def test_pgm_and_ppm_keep_16_bits(tmp_path, magic, white):
    samples = RGB if magic == "P6" else GRAY[..., None]
    deep = samples.astype(np.uint16) * 16
    head = f"{magic}\n# a comment\n28 20\n{white}\n".encode()
    (tmp_path / "a.ppm").write_bytes(head + deep.astype(">u2").tobytes())
    read = read_bands(tmp_path / "a.ppm", "a", samples.shape[-1])
    np.testing.assert_array_equal(read, np.round(deep * (65535 / white)).astype(np.uint16))
    assert read.dtype == np.uint16
    (tmp_path / "a.ppm").write_bytes(head + deep.astype(">u2").tobytes()[:-1])
    with pytest.raises(DataError, match="cut short"):
        read_bands(tmp_path / "a.ppm", "a", samples.shape[-1])


def test_the_order_of_bytes_does_not_matter(tmp_path):
    np.save(tmp_path / "a.npy", (RGB.astype(np.uint16) * 257).astype(">u2"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy"), RGB)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK"])
def test_no_fourth_band_is_invented(tmp_path, mode):
    Image.fromarray(RGB).convert(mode).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="no fourth band or opacity; expected images of 4 channels"):
        read_image(tmp_path / "a.tif", pixels=Pixels(4))
    faded = Image.fromarray(np.dstack([GRAY, GRAY[::-1]]), "LA")
    faded.save(tmp_path / "b.png")
    read = read_image(tmp_path / "b.png", pixels=Pixels(4))
    np.testing.assert_array_equal(read, np.asarray(faded.convert("RGBA")))
