"""PGM and PPM files of more than 8 bits, which Pillow reduces to 8 bits if they are colored."""

from typing import BinaryIO

import numpy as np
from PIL import Image

_WHITE = 65535


def white_of(picture: Image.Image) -> int:
    """The value that means white in an open PGM or PPM file."""
    arguments = picture.tile[0].args
    if arguments == "I;16B":
        return _WHITE
    return int(arguments[1]) if isinstance(arguments, tuple) else 255


def read_deep(picture: Image.Image, stream: BinaryIO) -> np.ndarray:
    """The samples of an open PGM or PPM file of more than 8 bits, with 65535 for white.

    Returns:
        uint16 [H,W,1] or [H,W,3].

    Raises:
        ValueError: the file is cut short.
    """
    white, bands = white_of(picture), 3 if picture.mode == "RGB" else 1
    count = picture.height * picture.width * bands
    stream.seek(picture.tile[0].offset)
    content = stream.read(2 * count)
    if len(content) < 2 * count:
        raise ValueError("the file is cut short")
    samples = np.frombuffer(content, ">u2").astype(np.uint16)
    if white != _WHITE:
        scaled = np.minimum(samples, white) * (_WHITE / white)
        samples = scaled.round().astype(np.uint16)
    return samples.reshape(picture.height, picture.width, bands)
