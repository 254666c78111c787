"""Polygons of formats that state no size, on photos that EXIF turns by a quarter."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data import inspect_dataset
from ipixmatch_jax.data.catalog import data_defaults, load_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.files.orientation import upright
from ipixmatch_jax.errors import DataError
from tests.data.files.test_orientation import scene
from tests.references.exports import text


def box(mask):
    rows, columns = np.nonzero(mask)
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def write(root, kind, orientation, drawn):
    """Photos stored with an orientation, and shapes on their stored or upright pixels."""
    entries = {}
    for number in range(6):
        image, mask = scene(number, (48, 64))
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = root / f"images/{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path, quality=95, exif=exif)
        mask = mask if drawn == "stored" else upright(mask, orientation)
        points = box(mask)
        shares = " ".join(f"{x / mask.shape[1]:.6f} {y / mask.shape[0]:.6f}" for x, y in points)
        xs, ys = ([int(point[axis]) for point in points] for axis in (0, 1))
        shape = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
        region = {"shape_attributes": shape, "region_attributes": {"kind": "cat"}}
        entries[path.name] = {"filename": path.name, "size": 1, "regions": [region]}
        if kind == "yolo":
            text(root / f"labels/{number}.txt", f"0 {shares}\n")
    if kind == "via":
        text(root / "via.json", entries)


def config_of(root, **given):
    found = describe_folder(str(root), given)
    config = data_defaults()
    for key, value in found.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    for key, value in given.items():
        config.folder[key.removeprefix("folder.")] = value
    config.folder.holdout = 0.34
    return config


@pytest.mark.parametrize("kind", ["yolo", "via"])
@pytest.mark.parametrize("orientation", [6, 8])
def test_shapes_on_stored_pixels_are_asked_about(kind, orientation, tmp_path):
    write(tmp_path, kind, orientation, "stored")
    with pytest.raises(DataError, match="data.folder.exif=stored"):
        load_dataset(config_of(tmp_path), 0)
    # With the answer, they are read right.
    config = config_of(tmp_path, **{"folder.exif": "stored"})
    assert not [f for f in inspect_dataset(config, 0).findings if f.kind == "orientation"]
    for record in (load_dataset(config, 0).labeled[index] for index in range(3)):
        red = record["image"][..., 0] > 140
        assert (red == record["mask"]).mean() > 0.9


@pytest.mark.parametrize("kind", ["yolo", "via"])
@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_shapes_on_upright_pixels_are_fine(kind, orientation, tmp_path):
    write(tmp_path, kind, orientation, "upright")
    record = load_dataset(config_of(tmp_path), 0).labeled[0]
    assert ((record["image"][..., 0] > 140) == record["mask"]).mean() > 0.9
