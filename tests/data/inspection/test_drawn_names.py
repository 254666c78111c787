"""Findings about masks that were drawn name the annotation file and the image, not the cache."""

import numpy as np
from PIL import Image

from ipixmatch_jax.data import inspect_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.files.mask_checks import likely_reason
from tests.references.exports import coco, labelme, photo


def messages(root, make_config):
    cache = {"cache": str(root / ".cache")}
    found = describe_folder(str(root), {"folder.cache": str(root / ".cache")})
    found["folder"] |= cache
    config = make_config(**{"labeled": "", "unlabeled": "", "val": "", **found})
    messages = [finding.message for finding in inspect_dataset(config, 0).findings]
    assert not any(".cache" in message for message in messages)
    return messages


def test_labelme_of_a_photo_of_another_size(tmp_path, make_config):
    labelme(tmp_path)
    Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(tmp_path / "p2.png")
    (message,) = [one for one in messages(tmp_path, make_config) if "expected the same size" in one]
    assert message.startswith(f"{tmp_path / 'p2.json'}, image p2.png: mask is 32x24")
    assert "use the photo that was annotated" in message


def test_coco_without_pixels_of_a_class(tmp_path, make_config):
    coco(tmp_path)
    photo(tmp_path / "images/p9.jpg", 9)
    (file,) = tmp_path.glob("annotations/*.json")
    file.write_text(file.read_text().replace('{"id": 50,', '{"id": 55, "name": "eel"}, {"id": 50,'))
    found = [one for one in messages(tmp_path, make_config) if "no pixel is of class eel" in one]
    assert found and found[0].startswith(f"{file}, image images/p")


def test_masks_of_one_file_per_object(tmp_path, make_config):
    for number in range(8):
        photo(tmp_path / f"s{number}/images/s{number}.png", number)
        for part in range(2):
            path = tmp_path / f"s{number}/masks/{number}{part}.png"
            path.parent.mkdir(exist_ok=True)
            ids = np.zeros((24, 32), np.uint8)
            ids[2:9, 3 + 8 * part : 8 + 8 * part] = 255 * (number > 3)
            Image.fromarray(ids).save(path)
    found = [one for one in messages(tmp_path, make_config) if "alone" in one]
    assert found and found[0].startswith(f"{tmp_path}/s") and ".png (its mask), and" in found[0]


def test_19_in_train_ids_is_void():
    values = np.array([3, 19])
    assert "data.ignore_values=(19,)" in likely_reason(values, 19, (), "a/b_labelTrainIds.png")
    assert "use the labelTrainIds files" in likely_reason(
        values, 19, (), "a/trainId/b_labelIds.png"
    )
