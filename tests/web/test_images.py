"""Images inside pages."""

import base64
import io

import numpy as np
from PIL import Image

from ipixmatch_jax.web.images import thumbnail


def opened(attributes):
    data = base64.b64decode(attributes["src"].partition(",")[2])
    return Image.open(io.BytesIO(data))


def test_thumbnails_of_class_maps_keep_their_colors():
    rng = np.random.default_rng(0)
    colors = np.uint8([[10, 20, 30], [200, 0, 0], [0, 200, 0]])
    found = thumbnail(colors[rng.integers(0, 3, (90, 60))], 30)
    image = opened(found)
    assert image.format == "PNG" and image.size == (found["width"], found["height"]) == (20, 30)
    seen = {tuple(color) for color in np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()}
    assert seen == set(map(tuple, colors.tolist()))


def test_thumbnails_of_photos_are_jpeg_and_never_enlarged():
    found = thumbnail(np.full((8, 12, 3), 90, np.uint8), 30, "JPEG")
    image = opened(found)
    assert image.format == "JPEG" and image.size == (found["width"], found["height"]) == (12, 8)
