"""The one door for decoding: bounded sizes, known formats, and every failure a DataError."""

import contextlib
import io
import logging
import os
import stat
import warnings
from collections.abc import Iterator
from typing import BinaryIO

from PIL import (
    AvifImagePlugin,  # noqa: F401  (each import registers its format in Image.OPEN)
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    MpoImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    PpmImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import fetched

File = str | os.PathLike | bytes

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif",
    ".npy", ".jfif", ".jpe", ".ppm", ".pgm",
)  # fmt: skip
# Pillow's own bound against decompression bombs; data.max_pixels replaces it.
MAX_PIXELS = 178_956_970
# Bands of one file, as a multiple of max_pixels: a 13-band image may have fewer pixels.
_MAX_BANDS = 4
_MAX_BYTES = 8 * 2**30
_HEAD = 64
_MOST_SCANS = 100
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"P5", "PPM"),
    (b"P6", "PPM"),
    (b"\x93NUMPY", "NPY"),
    (b"MATLAB ", "MAT"),
)

# Decoders log and warn about odd tags of files that they read well; what fails is raised here.
for _decoder in ("PIL", "tifffile"):
    logging.getLogger(_decoder).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=rf"{_decoder}(\.|$)")


def gone(name: str) -> DataError:
    """The error for a file that does not exist."""
    return DataError(f"{name}: the file is gone; put it back or remove its id from the list")


# First bytes of files that stand in place of pictures -> what they are, and what to do.
_STAND_INS = {
    b"version https://git-lfs": (
        "a pointer of Git LFS, not the file itself", "run: git lfs pull"
    ),
    b"<!doctype html": ("a web page, not a picture", "download the file again"),
    b"<html": ("a web page, not a picture", "download the file again"),
}  # fmt: skip


def unknown_format(stream: BinaryIO, name: str) -> DataError:
    """The error for a file of no known format; pointers of Git LFS and web pages are named."""
    stream.seek(0)
    start = stream.read(64).lstrip().lower()
    if not start:
        return DataError(
            f"{name}: cannot be read: an empty file, of 0 bytes; expected an image; copy it again"
        )
    for text, (what, fix) in _STAND_INS.items():
        if start.startswith(text):
            return DataError(f"{name}: {what}; expected an image; {fix}")
    return unreadable(name, "unknown file format")


def unreadable(name: str, error: Exception | str) -> DataError:
    """The error for a file that is damaged or of no known format."""
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    fix = "replace the file or remove its id from the list"
    if "imagecodecs" in reason:
        fix = "run: pip install 'ipixmatch-jax[tiff]'"
    return DataError(
        f"{name}: cannot be read as an image ({reason}); expected a whole "
        f"{', '.join(suffix[1:].upper() for suffix in IMAGE_SUFFIXES)} file; {fix}"
    )


@contextlib.contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turns whatever a decoder raises into a DataError that names the file.

    Damaged files make decoders raise nearly any exception (struct.error, zlib.error, OverflowError,
    MemoryError, exceptions of their own), so none is listed.

    Raises:
        DataError: anything failed.
    """
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError:
        raise gone(name) from None
    except Exception as error:
        raise unreadable(name, error) from None


def fetch(file: File, name: str) -> File:
    """Download a file from an object store as bytes; return other files unchanged.

    Raises:
        DataError: the file does not exist or cannot be read.
    """
    with decoding(name):
        return fetched(file)


def check_regular(file: File, name: str) -> None:
    """Raise a DataError for a local pipe, socket or device: opening one may wait forever."""
    if isinstance(file, bytes):
        return
    mode = os.stat(file).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise unreadable(name, "a pipe, socket or device, not a file")


@contextlib.contextmanager
def opened(file: File, name: str) -> Iterator[tuple[BinaryIO, str]]:
    """A file open for reading, and its format by its first bytes ('' if unknown).

    Raises:
        DataError: the file does not exist, cannot be opened, or is too long; or the block raised.
    """
    with decoding(name):
        file = fetched(file)
        check_regular(file, name)
        stream = io.BytesIO(file) if isinstance(file, bytes) else open(file, "rb")
        with stream:
            length = stream.seek(0, io.SEEK_END)
            if length > _MAX_BYTES:
                raise DataError(
                    f"{name}: {length / 2**30:.1f} GiB; expected at most {_MAX_BYTES / 2**30:.0f}; "
                    "cut the image into tiles"
                )
            stream.seek(0)
            head = stream.read(_HEAD)
            stream.seek(0)
            yield stream, format_of(head)


def format_of(head: bytes) -> str:
    """The format of a file by its first 64 bytes; '' if it is none that is read."""
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        brands = [head[8:12], *(head[i : i + 4] for i in range(16, len(head) - 3, 4))]
        if any(brand in (b"avif", b"avis") for brand in brands):
            return "AVIF"
        if any(brand in _HEIF_BRANDS for brand in brands):
            return "HEIF"
    return ""


def open_picture(stream: BinaryIO, kind: str, name: str, max_pixels: int) -> Image.Image:
    """The Pillow image of an open file of a known format; its pixels are not decoded yet.

    The plugin of the format is called directly: no other format is tried, and the bound on pixels
    is the user's, not Pillow's.

    Raises:
        DataError: unknown format, or more pixels than `max_pixels`.
    """
    if kind == "HEIF":
        _register_heif(name)
    if kind not in Image.OPEN or kind in ("NPY", "MAT", ""):
        raise unknown_format(stream, name)
    factory, _ = Image.OPEN[kind]
    # Without the file's name, by which Pillow would map the file into memory: it maps the rows of a
    # TIFF that its orientation turns by 90 degrees with the width of the turned picture.
    picture = factory(stream, "")
    check_pixels(picture.height, picture.width, 1, name, max_pixels)
    if kind == "JPEG" and picture.info.get("progressive"):
        _check_scans(stream, name)
    if kind in ("GIF", "WEBP", "PNG", "AVIF") and getattr(picture, "is_animated", False):
        raise DataError(
            f"{name}: an animated {kind}; expected a single picture; save the frame that is meant"
        )
    return picture


def _check_scans(stream: BinaryIO, name: str) -> None:
    # A scan of 80 bytes costs as much as decoding the whole image; encoders write about ten.
    before = stream.tell()
    stream.seek(0)
    scans = stream.read().count(b"\xff\xda")
    stream.seek(before)
    if scans > _MOST_SCANS:
        raise DataError(f"{name}: a JPEG of {scans} scans; expected at most {_MOST_SCANS}")


def _register_heif(name: str) -> None:
    try:
        import pillow_heif
    except ImportError:
        raise DataError(
            f"{name}: a HEIC photo; reading it needs pillow-heif; run: pip install "
            "'ipixmatch-jax[heif]', or convert it to JPEG"
        ) from None
    if "HEIF" not in Image.OPEN:
        pillow_heif.register_heif_opener()


class TooLarge(DataError):
    """An image above a limit."""


def check_pixels(height: int, width: int, bands: int, name: str, max_pixels: int) -> None:
    """Raise TooLarge if an image is too large to be decoded, a DataError if it has no pixels."""
    if height < 1 or width < 1 or bands < 1:
        raise unreadable(name, f"{width}x{height} pixels")
    if height * width > max_pixels or height * width * bands > _MAX_BANDS * max_pixels:
        raise TooLarge(
            f"{name}: {width}x{height} (width x height) pixels"
            + (f" in {bands} bands" if bands > 1 else "")
            + f"; expected at most data.max_pixels={max_pixels}; set data.max_pixels higher if the "
            "memory suffices, or cut the image into tiles"
        )
