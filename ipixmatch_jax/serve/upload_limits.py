"""Limits of uploaded photos, checked before any pixel is decoded."""

import dataclasses
import warnings

from PIL import Image

from ipixmatch_jax.data.files import multiband
from ipixmatch_jax.data.files.decoding import TooLarge
from ipixmatch_jax.data.files.images import image_size
from ipixmatch_jax.errors import ConfigError, DataError

__all__ = ["NAME", "Limits", "TooLarge", "checked_size", "limits_of"]

NAME = "the photo"
_BEGINNINGS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
KINDS = ("PNG", "JPEG", "TIFF", "WebP")
# The marker of a scan of JPEG. Every scan costs a pass over all pixels, however few bytes it has;
# photos have one to twelve.
_SCAN = b"\xff\xda"
_MOST_SCANS = 100
# Of megabytes and megapixels: no file of images is larger.
_MOST = 100_000
# Sides are rounded to multiples, because every size is compiled once.
_FINE, _COARSE, _COARSE_FROM = 32, 64, 256


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits for an uploaded photo.

    Attributes:
        bytes: size of the file.
        pixels: number of pixels of the photo, with all pages of a TIFF.
        side: larger photos are shrunk to this longer side in pixels; a multiple of 64.
        seconds: time for decoding.
    """

    bytes: int = 32_000_000
    pixels: int = 64_000_000
    side: int = 1024
    seconds: float = 20.0


def limits_of(megabytes: float, megapixels: float, side: int) -> Limits:
    """The limits from their flags.

    Raises:
        ConfigError: an impossible limit, with its flag.
    """
    for flag, value in (("--max-megabytes", megabytes), ("--max-megapixels", megapixels)):
        if not 0 < value <= _MOST:
            raise ConfigError(f"{flag} is {value:g}; expected more than 0 and at most {_MOST:g}")
    if side < 64 or side % 64:
        raise ConfigError(f"--max-side is {side}; expected a multiple of 64, as 1024")
    return Limits(bytes=int(megabytes * 1e6), pixels=int(megapixels * 1e6), side=side)


def checked_size(data: bytes, limits: Limits) -> tuple[int, int]:
    """(H, W) of a photo from its header, without decoding its pixels.

    Raises:
        DataError: an empty or damaged file, or one that is not of `KINDS`.
        TooLarge: more pixels or scans than allowed.
    """
    if not data:
        raise DataError("the file is empty; expected a photo")
    kind = kind_of(data)
    if kind is None:
        raise DataError(f"the file is not a photo; expected {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    if kind == "JPEG" and data.count(_SCAN) > _MOST_SCANS:
        raise TooLarge(
            f"the photo has {data.count(_SCAN)} scans; at most {_MOST_SCANS} are accepted; save it "
            "again"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        size = image_size(data, NAME)
    stored = size[0] * size[1]
    if multiband.is_raw(data):
        # A small TIFF can hold many pages.
        stored = max(stored, multiband.read(data, NAME, shape_only=True).nbytes // 8)
    if stored > limits.pixels:
        raise TooLarge(
            f"the photo has {stored / 1e6:.0f} megapixels ({in_words(size)}); at most "
            f"{limits.pixels / 1e6:g} are accepted; shrink it, or use --mode predict"
        )
    return size


def kind_of(data: bytes) -> str | None:
    """The kind of a file by its first bytes, one of `KINDS`; None for others."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    return next((kind for start, kind in _BEGINNINGS.items() if data.startswith(start)), None)


def predicted_size(size: tuple[int, int], longest: int, rounded: bool = True) -> tuple[int, int]:
    """(H, W) at which a photo is predicted.

    Args:
        size: size of the photo.
        longest: maximal side in pixels.
        rounded: round sides to multiples of 32 pixels below 256, and of 64 above.
    """
    shrink = min(1.0, longest / max(size))
    height, width = (max(1, round(side * shrink)) for side in size)
    return (_round(height), _round(width)) if rounded else (height, width)


def _round(side: int) -> int:
    step = _FINE if side < _COARSE_FROM else _COARSE
    return max(1, int(side / step + 0.5)) * step


def in_words(size: tuple[int, int]) -> str:
    """(H, W) as 'W × H'."""
    return f"{size[1]} × {size[0]}"
