"""EXIF orientation: turned pixels, and whether masks were drawn on turned or on stored ones."""

import numpy as np
from PIL import Image

_TAG = 0x0112
# Transformations of an array [H,W,...] from stored to upright, by EXIF orientation (CIPA DC-008).
_UPRIGHT = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def orientation_of(picture: Image.Image) -> int:
    """The EXIF orientation 1 to 8 of an open picture; 1 if it has none, or one that is damaged.

    Only what lies before the pixels counts, so that the header alone tells the size. TIFF and HEIC
    are turned by their readers.
    """
    if picture.format in ("TIFF", "HEIF") or not picture.info.keys() & {"exif", "xmp"}:
        return 1
    try:
        value = picture.getexif().get(_TAG, 1)
    except Exception:
        # Damaged EXIF data; the pixels may be whole.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels [H,W] or [H,W,C] turned as an EXIF orientation says."""
    turn = _UPRIGHT.get(orientation)
    return np.ascontiguousarray(turn(array)) if turn else array


def turned_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(H, W) after turning stored pixels of (H, W)."""
    return size[::-1] if orientation >= 5 else size


def edge_agreement(image: np.ndarray, mask: np.ndarray) -> float:
    """Mean standardized image gradient at the mask's edges: about 0 if the two do not belong.

    Args:
        image: uint8 [H,W,C].
        mask: uint8 [H,W].
    """
    return gradient_agreement(gradient_of(image), mask)


def gradient_of(image: np.ndarray) -> np.ndarray:
    """Differences to the pixels on the left and above, over all bands: float32 [H,W].

    Objects may differ from what is around them in color alone.

    Args:
        image: uint8 [H,W,C].
    """
    bands = image.astype(np.float32)
    gradient = np.zeros(bands.shape[:2], np.float32)
    gradient[:, 1:] += np.abs(np.diff(bands, axis=1)).mean(-1)
    gradient[1:] += np.abs(np.diff(bands, axis=0)).mean(-1)
    return gradient


def gradient_agreement(gradient: np.ndarray, mask: np.ndarray) -> float:
    """`edge_agreement` by the gradient [H,W] of the image."""
    edges = mask_edges(mask)
    spread = float(gradient.std())
    if not edges.any() or spread == 0:
        return 0.0
    return float((gradient[edges].mean() - gradient.mean()) / spread)


def mask_edges(mask: np.ndarray) -> np.ndarray:
    """True on both sides of the edges of a mask [H,W], and one pixel further: bool [H,W]."""
    edges = np.zeros(mask.shape, bool)
    edges[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    edges[1:] |= mask[1:] != mask[:-1]
    # Masks are drawn by hand: an edge of the image one pixel away counts as well.
    edges[:, :-1] |= edges[:, 1:]
    edges[:-1] |= edges[1:]
    return edges
