"""PNG files as they are stored: bit depth, and 16-bit samples that Pillow reduces to 8 bits."""

import io
from typing import BinaryIO

import numpy as np
from PIL import ImageOps, PngImagePlugin

from ipixmatch_jax.data.files.orientation import orientation_of, upright

GRAY, COLOR, PALETTE, GRAY_ALPHA, COLOR_ALPHA = 0, 2, 3, 4, 6
_IHDR_END = 26
# Pillow's raw modes that keep the first and the second byte of each 16-bit sample.
_RAW_MODES = {"RGB": ("RGB;16B", "RGB;16L"), "RGBA": ("RGBA;16B", "RGBA;16L")}


def header(stream: BinaryIO) -> tuple[int, int]:
    """(bits per sample, color type) of an open PNG file; the position is kept."""
    before = stream.tell()
    stream.seek(0)
    head = stream.read(_IHDR_END)
    stream.seek(before)
    return (head[24], head[25]) if len(head) == _IHDR_END else (8, COLOR)


def is_deep_color(stream: BinaryIO) -> bool:
    """True for colors of 16 bits per sample."""
    bits, kind = header(stream)
    return bits == 16 and kind in (COLOR, COLOR_ALPHA)


def is_deep_gray_alpha(stream: BinaryIO) -> bool:
    """True for gray with opacity, of 16 bits per sample."""
    return header(stream) == (16, GRAY_ALPHA)


def read_deep_gray(stream: BinaryIO) -> np.ndarray:
    """The gray values of an open PNG file of 16-bit gray with opacity, upright: uint16 [H,W].

    Pillow has no mode for them either. A pixel has four bytes, which are decoded as four bands.
    """
    stream.seek(0)
    picture = PngImagePlugin.PngImageFile(io.BytesIO(stream.read()))
    orientation = orientation_of(picture)
    picture._mode = "RGBA"
    picture.tile = [tile._replace(args="RGBA") for tile in picture.tile]
    high, low = np.moveaxis(np.asarray(picture)[..., :2], -1, 0)
    return upright((high.astype(np.uint16) << 8) | low, orientation)


def read_deep_color(stream: BinaryIO) -> np.ndarray:
    """The 16-bit colors of an open PNG file, upright: uint16 [H,W,3] or [H,W,4].

    Pillow has no mode for them, so the file is decoded twice, once for each byte of a sample.
    """
    stream.seek(0)
    content = stream.read()
    high, low = (_decoded(content, which) for which in (0, 1))
    return (high.astype(np.uint16) << 8) | low


def _decoded(content: bytes, which: int) -> np.ndarray:
    picture = PngImagePlugin.PngImageFile(io.BytesIO(content))
    raw_mode = _RAW_MODES[picture.mode][which]
    picture.tile = [tile._replace(args=raw_mode) for tile in picture.tile]
    orientation = orientation_of(picture)
    return np.asarray(ImageOps.exif_transpose(picture) if orientation != 1 else picture)
