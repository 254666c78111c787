"""The header of a TIFF file, read without any library: size, samples, pages and no-data value."""

import struct
from dataclasses import dataclass
from typing import BinaryIO

# Tag numbers of the TIFF 6.0 specification, and GDAL's for missing data.
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_ORIENTATION, _SAMPLES, _PLANAR, _EXTRA, _FORMAT, _NODATA = 274, 277, 284, 338, 339, 42113
# GeoTIFF's directory of keys: the file knows where on Earth it lies.
_GEO_KEYS = 34735
# Photometric interpretations whose bands are no colors of a screen; readers return them as stored.
_CIELAB = (8, 9, 10)
_REDUCED_OR_MASK = 0b101
# Pillow's TIFF reader refuses more pixels, whatever its caller has checked.
_PILLOW_PIXELS = 178_956_970
_MOST_PAGES, _MOST_ENTRIES, _MOST_VALUES = 4096, 4096, 65536
# TIFF's number types as struct codes: bytes, text, 16 and 32 bits, signed ones, BigTIFF's 64 bits.
_CODES = {1: "B", 2: "s", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q", 17: "q"}
# 34712 is JPEG 2000, 50001 WebP, 50000 zstd, 34925 LZMA: Pillow's own libtiff may lack them.
_OF_PILLOW = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946})
# Values of ExtraSamples: opacity by which the colors are multiplied, and opacity alone.
_PREMULTIPLIED, _OPACITY = 1, 2


@dataclass(frozen=True)
class TiffTags:
    """Facts of a TIFF file's first page.

    Attributes:
        height, width: pixels.
        bits: bits of each sample.
        samples: samples of a pixel.
        photometric: 0 WhiteIsZero, 1 BlackIsZero, 2 RGB, 3 palette, …
        compression: number of the compression scheme.
        planar: 2 if every band lies in a plane of its own.
        extra: kinds of the samples beyond gray or colors: 0 unspecified, 1 or 2 opacity.
        sample_format: 1 unsigned, 2 signed, 3 float.
        orientation: 1 to 8, as in EXIF.
        pages: pages that are neither overviews nor masks of others.
        preview_first: the first page is an overview or a mask of another one.
        nodata: GDAL's value for missing data, or None.
        georeferenced: the file has coordinates on Earth.
    """

    height: int
    width: int
    bits: tuple[int, ...] = (1,)
    samples: int = 1
    photometric: int = 1
    compression: int = 1
    planar: int = 1
    extra: tuple[int, ...] = ()
    sample_format: int = 1
    orientation: int = 1
    pages: int = 1
    preview_first: bool = False
    nodata: float | None = None
    georeferenced: bool = False

    @property
    def plain(self) -> bool:
        """True if Pillow returns the pixels of an image as it should."""
        return (
            max(self.bits) <= 8
            and self.samples <= 4
            and self.pages == 1
            and not self.preview_first
            and self.height * self.width <= _PILLOW_PIXELS
            and self.sample_format == 1
            and self.compression in _OF_PILLOW
            # Of gray, Pillow knows one band and one with opacity; GDAL writes any number of them.
            and (self.photometric in (2, 3, 5, 6) or self.photometric < 2 and self.samples < 3)
            and self._plain_extra()
        )

    def _plain_extra(self) -> bool:
        """True if further bands are opacity. Pillow leaves out those of an unknown kind."""
        if self.photometric > 2 or self.samples == (3 if self.photometric == 2 else 1):
            return True
        return self.extra in ((), (_OPACITY,)) or (
            self.extra == (_PREMULTIPLIED,) and self.planar == 1
        )


def read_tags(stream: BinaryIO) -> TiffTags:
    """Read the tags of an open TIFF file, classic or BigTIFF.

    Raises:
        ValueError: not a TIFF, or a broken header.
    """
    order = {b"II": "<", b"MM": ">"}.get(stream.read(2))
    if order is None:
        raise ValueError("no TIFF header")
    big = _unpack(stream, order + "H") == 43
    if big:
        stream.read(4)
    at = _unpack(stream, order + ("Q" if big else "I"))
    first, pages, seen = None, 0, set()
    while at and len(seen) < _MOST_PAGES:
        if at in seen:
            raise ValueError("pages in a circle")
        seen.add(at)
        tags, at = _directory(stream, at, order, big)
        first = first or tags
        pages += not tags.get(_SUBFILE, (0,))[0] & _REDUCED_OR_MASK
    if at:
        raise ValueError(f"more than {_MOST_PAGES} pages")
    secondary = bool((first or {}).get(_SUBFILE, (0,))[0] & _REDUCED_OR_MASK)
    return _facts(first or {}, max(pages, 1), preview_first=secondary and pages > 0)


def _unpack(stream: BinaryIO, code: str) -> int:
    raw = stream.read(struct.calcsize(code))
    if len(raw) < struct.calcsize(code):
        raise ValueError("the header is cut short")
    return struct.unpack(code, raw)[0]


def _directory(stream: BinaryIO, at: int, order: str, big: bool) -> tuple[dict, int]:
    """The tags of a page by number, and the offset of the next page."""
    stream.seek(at)
    count = _unpack(stream, order + ("Q" if big else "H"))
    if count > _MOST_ENTRIES:
        raise ValueError(f"{count} tags in a page")
    entry = 20 if big else 12
    raw = stream.read(count * entry)
    following = _unpack(stream, order + ("Q" if big else "I"))
    if len(raw) < count * entry:
        raise ValueError("the header is cut short")
    tags = {}
    for start in range(0, len(raw), entry):
        values = _values(stream, raw[start : start + entry], order, big)
        if values:
            tags[struct.unpack_from(order + "H", raw, start)[0]] = values
    return tags, following


def _values(stream: BinaryIO, entry: bytes, order: str, big: bool) -> tuple:
    tag, kind = struct.unpack_from(order + "HH", entry)
    count = struct.unpack_from(order + ("Q" if big else "I"), entry, 4)[0]
    code = _CODES.get(kind)
    known = (_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES,
             _PLANAR, _EXTRA, _FORMAT, _NODATA, _GEO_KEYS)  # fmt: skip
    if tag not in known or code is None or not 0 < count <= _MOST_VALUES:
        return ()
    length = struct.calcsize(f"{order}{count}{code}")
    inline = entry[12:] if big else entry[8:]
    if length > len(inline):
        stream.seek(struct.unpack(order + ("Q" if big else "I"), inline)[0])
        inline = stream.read(length)
    if len(inline) < length:
        raise ValueError("the header is cut short")
    return struct.unpack_from(f"{order}{count}{code}", inline)


def _facts(tags: dict, pages: int, preview_first: bool) -> TiffTags:
    def one(tag: int, default: int) -> int:
        return int(tags.get(tag, (default,))[0])

    if _WIDTH not in tags or _HEIGHT not in tags:
        raise ValueError("no image size in the header")
    if one(_PHOTOMETRIC, 1) in _CIELAB:
        raise ValueError("CIELab colors; save it in RGB")
    orientation = one(_ORIENTATION, 1)
    return TiffTags(
        height=one(_HEIGHT, 0),
        width=one(_WIDTH, 0),
        bits=tuple(int(bits) for bits in tags.get(_BITS, (1,))),
        samples=one(_SAMPLES, 1),
        photometric=one(_PHOTOMETRIC, 1),
        compression=one(_COMPRESSION, 1),
        planar=one(_PLANAR, 1),
        extra=tuple(int(kind) for kind in tags.get(_EXTRA, ())),
        sample_format=one(_FORMAT, 1),
        orientation=orientation if 1 <= orientation <= 8 else 1,
        pages=pages,
        preview_first=preview_first,
        nodata=_number(tags.get(_NODATA, (b"",))[0]),
        georeferenced=_GEO_KEYS in tags,
    )


def _number(text: bytes) -> float | None:
    try:
        return float(text.split(b"\0")[0].decode("ascii").strip())
    except (ValueError, AttributeError):
        return None
