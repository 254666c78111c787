"""Shapes that were drawn on images of another size, or in shares of a size, are refused."""

import json

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data.importers import read_folder
from ipixmatch_jax.errors import DataError
from tests.references import exports


def resized(root, factor):
    """Resizes all photos; the sizes that the annotations state follow, and the points do not."""
    for path in root.rglob("*.jpg"):
        with Image.open(path) as picture:
            small = picture.resize([int(side * factor) for side in picture.size])
        small.save(path)

    def scaled(content):
        for key in ("height", "width", "imageHeight", "imageWidth"):
            if key in content:
                content[key] = int(content[key] * factor)
        return content

    for path in root.rglob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text(), object_hook=scaled)))


@pytest.mark.parametrize("name", ["coco", "labelme", "via"])
def test_shapes_of_larger_images(name, tmp_path):
    getattr(exports, name)(tmp_path)
    assert not read_folder(tmp_path, {})[2].problems
    if name == "via":
        # Points of VIA have no size; the photo itself tells.
        for path in tmp_path.rglob("*.jpg"):
            Image.fromarray(np.full((6, 8, 3), 90, np.uint8)).save(path)
    else:
        resized(tmp_path, 0.25)
    with pytest.raises(DataError, match="shapes lie beyond their images: .*another size"):
        read_folder(tmp_path, {})


def test_points_in_shares_of_the_size(tmp_path):
    exports.coco(tmp_path)
    path = tmp_path / "annotations/instances_default.json"
    content = json.loads(path.read_text())
    for one in content["annotations"]:
        if isinstance(one["segmentation"], list):
            share = np.reshape(one["segmentation"], (-1, 2)) / [32, 24]
            one["segmentation"] = [share.ravel().tolist()]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="lie between 0 and 1.*YOLO"):
        read_folder(tmp_path, {})
