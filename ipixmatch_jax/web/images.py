"""Images as addresses that hold the whole file (`data:` URLs), for pages of one file."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image


def data_url(image: Image.Image, kind: str, **options: Any) -> str:
    """An image as a `data:` URL; `kind` and `options` are those of `Image.save`."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    encoded = base64.b64encode(stream.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{encoded}"


def thumbnail(image: np.ndarray, longest: int, kind: str = "PNG") -> dict[str, Any]:
    """A small copy of an image uint8 [H, W, 3], as the attributes of an `<img>`.

    The width and height let a browser reserve the space before it has decoded the file. Class maps
    keep their colors exactly (PNG, nearest pixel); photos are JPEG files.

    Args:
        image: the pixels.
        longest: the longer side has at most this many pixels.
        kind: `PNG` or `JPEG`.

    Returns:
        `{'src', 'width', 'height'}`.
    """
    small = Image.fromarray(np.ascontiguousarray(image))
    method = Image.Resampling.NEAREST if kind == "PNG" else Image.Resampling.LANCZOS
    small.thumbnail((longest, longest), method)
    options = {"quality": 85} if kind == "JPEG" else {"optimize": True}
    return {
        "src": data_url(small, kind, **options),
        "width": small.width,
        "height": small.height,
    }
