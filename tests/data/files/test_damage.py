"""Damaged files of every format end in a DataError with their name, or in an array."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image

from ipixmatch_jax.data.files.decoding import format_of
from ipixmatch_jax.data.files.images import Pixels, image_size, read_image, stored_channels
from ipixmatch_jax.data.files.mask_facts import mask_facts
from ipixmatch_jax.data.files.masks import Masks
from ipixmatch_jax.errors import DataError

SIZE = (22, 30)
PIXELS = Pixels(3, ((0.0, 255.0),), max_pixels=10**6)


def picture():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def pillow(file_format, mode="RGB", **options):
    def make():
        stream = io.BytesIO()
        Image.fromarray(picture()).convert(mode).save(stream, file_format, **options)
        return stream.getvalue()

    return make


def tiff(dtype=np.uint16, bands=5, **options):
    def make():
        stream = io.BytesIO()
        image = np.random.default_rng(0).integers(0, 200, (*SIZE, bands)).astype(dtype)
        plane = {"planarconfig": "contig"} if bands > 1 else {}
        tifffile.imwrite(stream, image, photometric="minisblack", **plane, **options)
        return stream.getvalue()

    return make


def npy():
    stream = io.BytesIO()
    np.save(stream, picture())
    return stream.getvalue()


def mat(compressed):
    def make():
        stream = io.BytesIO()
        ids = {"mask": picture()[..., 0] % 3}
        scipy.io.savemat(stream, ids, do_compression=compressed)
        return stream.getvalue()

    return make


def heic():
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    return pillow("HEIF")()


EXIF = Image.Exif()
EXIF[0x0112] = 6
KINDS = {
    "gray.png": pillow("PNG", "L"),
    "palette.png": pillow("PNG", "P"),
    "rgb.png": pillow("PNG"),
    "rgba.png": pillow("PNG", "RGBA"),
    "a.jpg": pillow("JPEG", exif=EXIF),
    "progressive.jpg": pillow("JPEG", progressive=True),
    "a.webp": pillow("WEBP"),
    "lossless.webp": pillow("WEBP", lossless=True),
    "a.gif": pillow("GIF", "P"),
    "a.bmp": pillow("BMP"),
    "a.avif": pillow("AVIF"),
    "a.heic": heic,
    "lzw.tif": pillow("TIFF", compression="tiff_lzw"),
    "jpeg.tif": pillow("TIFF", compression="jpeg"),
    "group4.tif": pillow("TIFF", "1", compression="group4"),
    "bands.tif": tiff(),
    "deflate.tif": tiff(compression="deflate", predictor=True),
    "zstd.tif": tiff(compression="zstd"),
    "float.tif": tiff(np.float32, 1, tile=(16, 16)),
    "big.tif": tiff(bigtiff=True),
    "a.npy": npy,
    "a.mat": mat(False),
    "packed.mat": mat(True),
}


def readers(name, path, content):
    yield lambda: read_image(path, pixels=PIXELS)
    yield lambda: image_size(path, name)
    yield lambda: read_image(content, name, PIXELS)
    yield lambda: stored_channels(path)
    for style in ("ids", "binary", "alpha", "colors"):
        colors = (((0, 0, 0), 0), ((255, 0, 0), 1))
        yield lambda style=style, colors=colors: Masks(
            255, style=style, colors=colors if style == "colors" else None, max_pixels=10**6
        ).read(path, name)
    yield lambda: mask_facts(path, 10**6)


def survives(path, content):
    """Number of readers that read the file; only a DataError with its name may be raised."""
    path.write_bytes(content)
    whole = 0
    for reader in readers(path.name, str(path), content):
        try:
            reader()
            whole += 1
        except DataError as error:
            assert path.name in str(error), str(error)
    return whole


@pytest.mark.parametrize("name", KINDS)
def test_whole_files_are_read(tmp_path, name):
    assert survives(tmp_path / name, KINDS[name]()) > 0


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_are_named(tmp_path, name):
    whole, chance = KINDS[name](), random.Random(name)
    damaged = [b"", whole[:1], whole[: len(whole) // 2], whole[:-1], whole + b"tail", whole[::-1]]
    for _ in range(6):
        damaged.append(whole[: chance.randrange(len(whole))])
    for number in range(24):
        changed = bytearray(whole)
        # Half of the changes hit the header.
        end = min(len(whole), 160) if number % 2 else len(whole)
        for _ in range(chance.choice((1, 1, 4, 30))):
            changed[chance.randrange(end)] = chance.choice((0, 1, 127, 128, 255, 65))
        damaged.append(bytes(changed))
    for content in damaged:
        survives(tmp_path / name, content)


def png_of(width, height, content=b""):
    def chunk(name, data):
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(content))
            + chunk(b"IEND", b""))  # fmt: skip


def npy_of(shape, dtype="|u1", order=False):
    header = str({"descr": dtype, "fortran_order": order, "shape": shape}).encode()
    header += b" " * (118 - len(header)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 64


def tiff_of(**tags):
    """A TIFF of one page with these tag numbers and values, and no pixels."""
    entries = sorted((int(key[1:]), value) for key, value in tags.items())
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + b"\0" * 4


LIES = {
    "huge.png": png_of(2**31 - 1, 2**31 - 1),
    "wide.png": png_of(2**30, 1),
    "empty.png": png_of(9, 9),
    "none.png": png_of(0, 9),
    "lie.npy": npy_of((10**9, 10**9)),
    "negative.npy": npy_of((-1, 5)),
    "overflow.npy": npy_of((2**62, 4)),
    "objects.npy": npy_of((2, 2), "|O"),
    "text.npy": npy_of((2, 2), "<U4"),
    "zero.npy": npy_of((0, 5)),
    "one.npy": npy_of((5,)),
    "zip.npy": b"PK\x03\x04" + b"\0" * 60,
    "four.tif": b"II*\0",
    "tile.tif": tiff_of(t256=30, t257=22, t258=8, t322=0, t323=0, t324=8, t325=9),
    "huge.tif": tiff_of(t256=2**31, t257=2**31, t258=8, t273=8, t279=9),
    "circle.tif": b"II*\0" + struct.pack("<IHI", 8, 0, 8),
    "bands.tif": tiff_of(t256=900, t257=900, t258=8, t277=65535, t273=8, t279=9),
    "short.mat": b"MATLAB 5.0",
    "hdf.mat": b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\x02IM" + b"\0" * 64,
    "empty.mat": b"",
    "packed.mat": b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\x01IM"
    + struct.pack("<II", 15, 9) + b"not zlib!",
    "eps.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "text.jpg": b"<html>not found</html>",
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_headers_that_lie(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(LIES[name])
    with pytest.raises(DataError, match=name):
        read_image(path, pixels=PIXELS)
    with pytest.raises(DataError, match=name):
        mask_facts(str(path), 10**6)
    survives(path, LIES[name])


def test_folders_and_lost_files(tmp_path):
    for reader in readers("a.png", str(tmp_path), b""):
        with pytest.raises(DataError):
            reader()
    with pytest.raises(DataError, match="the file is gone"):
        read_image(tmp_path / "lost.png")


def test_empty_files_are_called_empty(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    for read in (mask_facts, read_image):
        with pytest.raises(DataError, match=r"a\.png: cannot be read: an empty file"):
            read(str(tmp_path / "a.png"))


def test_a_truncated_colored_mask(tmp_path):
    path = tmp_path / "m.png"
    path.write_bytes(KINDS["rgb.png"]()[:400])
    with pytest.raises(DataError, match=r"m\.png: cannot be read"):
        Masks(2, colors=(((0, 0, 0), 0), ((1, 1, 1), 1))).read(str(path), str(path))


def test_compressed_bombs_are_not_unpacked(tmp_path):
    stream = io.BytesIO()
    inner = struct.pack("<II", 14, 2**32 - 9)
    packed = zlib.compress(inner + b"\0" * 1000)
    stream.write(b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\x01IM")
    stream.write(struct.pack("<II", 15, len(packed)) + packed)
    (tmp_path / "a.mat").write_bytes(stream.getvalue())
    with pytest.raises(DataError, match=r"a\.mat: its variables take 4\d{9} bytes"):
        mask_facts(str(tmp_path / "a.mat"))


def test_too_many_scans(tmp_path):
    whole = KINDS["progressive.jpg"]()
    start = whole.rindex(b"\xff\xda")
    scan = whole[start:-2]
    (tmp_path / "a.jpg").write_bytes(whole[:-2] + scan * 200 + whole[-2:])
    with pytest.raises(DataError, match="scans; expected at most 100"):
        read_image(tmp_path / "a.jpg")


def test_formats_are_detected_by_their_first_bytes():
    named = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP",
             "avif": "AVIF", "tif": "TIFF", "npy": "NPY", "mat": "MAT", "heic": "HEIF"}  # fmt: skip
    for name, make in KINDS.items():
        assert format_of(make()[:64]) == named[name.rpartition(".")[2]], name
    assert format_of(b"") == format_of(LIES["eps.png"]) == ""
