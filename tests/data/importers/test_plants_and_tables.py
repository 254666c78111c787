"""CVPPP and CWFID, bands in files of their own, and class names of label maps and color tables."""

import json

import numpy as np
import pytest

from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.importers import read_folder
from ipixmatch_jax.errors import DataError
from tests.data.importers.test_formats import all_masks, cache, loaded  # noqa: F401  (a fixture)
from tests.references.exports import mask, photo, text, truth


def leaves(count):
    ids = np.zeros((24, 32), np.uint8)
    for number in range(count):
        ids[2:20, 3 * number : 3 * number + 2] = number + 1
    return ids


@pytest.mark.parametrize("plants", [True, False])
def test_cvppp(plants, tmp_path, make_config):
    for number in range(6):
        stem = tmp_path / f"A1/plant{number:03d}"
        photo(stem.with_name(f"{stem.name}_rgb.png"), number)
        mask(stem.with_name(f"{stem.name}_label.png"), leaves(3 + number))
        mask(stem.with_name(f"{stem.name}_centers.png"), np.eye(24, 32))
        if plants:
            mask(stem.with_name(f"{stem.name}_fg.png"), (leaves(3 + number) > 0) * 255)
    dataset = loaded(tmp_path, make_config)
    assert dataset.class_names == ("background", "plant") and not dataset.unlabeled.ids
    shares = sorted(float(found.mean()) for found in all_masks(dataset))
    assert np.allclose(shares, [(leaves(3 + n) > 0).mean() for n in range(6)])
    # With a tail, another mask is never taken for the photo.
    if plants:
        with pytest.raises(DataError, match="none with a mask"):
            describe_folder(str(tmp_path), {"folder.mask_tail": "_fg"})


COLORS = np.array([(0, 0, 0), (0, 255, 0), (255, 0, 0)], np.uint8)


def test_cwfid(tmp_path, make_config):
    for number in range(1, 7):
        photo(tmp_path / f"images/{number:03d}_image.png", number)
        mask(tmp_path / f"annotations/{number:03d}_annotation.png", COLORS[truth()])
        mask(tmp_path / f"masks/{number:03d}_mask.png", (truth() > 0) * 255)
    text(tmp_path / "train_test_split.yaml", "train: [1, 2, 3, 4]\ntest: [5, 6]\n")
    dataset = loaded(tmp_path, make_config)
    assert dataset.class_names == ("soil", "crop", "weed")
    assert dataset.test.ids == ("test/005", "test/006")
    np.testing.assert_array_equal(dataset.test[0]["mask"], truth())
    text(tmp_path / "train_test_split.yaml", "train: [1, 2, 3, 4]\n")
    with pytest.raises(DataError, match="expected the lists train and test"):
        read_folder(tmp_path, {})


def test_the_names_of_cwfid_in_another_data_set(tmp_path):
    for number in range(1, 7):
        photo(tmp_path / f"images/{number:03d}_image.png", number)
        mask(tmp_path / f"annotations/{number:03d}_annotation.png", truth())
    assert read_folder(tmp_path, {})[0].name == "folders"


def test_bands_in_files_of_their_own(tmp_path):
    for number in range(6):
        photo(tmp_path / f"images/f{number}_rgb.png", number)
        photo(tmp_path / f"images/f{number}_nir.png", 50 + number)
        mask(tmp_path / f"masks/f{number}.png", truth())
    with pytest.raises(DataError, match="_nir, _rgb: every mask has .* join the channels"):
        describe_folder(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("annotations.jsonl", {"image_url": "a.jpg", "image_details": {}, "label": []}),
        ("output.manifest", {"source-ref": "s3://b/a.jpg", "seg-ref": "s3://b/a.png"}),
    ],
)
def test_lines_of_cloud_services_are_refused(name, content, tmp_path):
    photo(tmp_path / "images/a.jpg")
    text(tmp_path / name, json.dumps(content) + "\n")
    with pytest.raises(DataError, match="Azure ML|SageMaker"):
        describe_folder(str(tmp_path))


COLOR_MAP = {str(n): {"class-name": name} for n, name in enumerate(("ground", "cat", "dog"))}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("label_map.pbtxt", 'item {\n  id: 1\n  name: "cat"\n}\nitem { name: \'dog\' id: 2 }\n'),
        ("labels.ctbl", "# Table\n0 ground 0 0 0 0\n1 cat 221 130 101 255\n2 dog 9 8 7 255\n"),
        ("output.manifest",
         json.dumps({"a": "s3://x", "seg-ref-metadata": {"internal-color-map": COLOR_MAP}})),
    ],
)  # fmt: skip
def test_class_names_of_tables(name, content, tmp_path, make_config):
    for number in range(4):
        photo(tmp_path / f"images/p{number}.png", number)
        mask(tmp_path / f"masks/p{number}.png", truth())
    text(tmp_path / name, content)
    text(tmp_path / f"graph{name[name.index('.') :]}", "<?xml version='1.0'?>\n")
    if not name.endswith("ctbl"):
        assert loaded(tmp_path, make_config).class_names[1:] == ("cat", "dog")
    (tmp_path / f"graph{name[name.index('.') :]}").unlink()
    assert loaded(tmp_path, make_config).class_names[1:] == ("cat", "dog")
