"""Classes of another folder than a run's: the same ids must mean the same classes."""

import json

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.config import default_config
from ipixmatch_jax.data.catalog import assemble
from ipixmatch_jax.data.datasets.class_order import other_classes, renamed_classes
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.errors import DataError


def photo(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([seed, *path.name.encode()])
    Image.fromarray(noise.integers(0, 256, (24, 30, 3), dtype=np.uint8)).save(path)


def labelme(root, labels, order=None, count=3):
    """Photos with one polygon of each label."""
    for number in range(count):
        photo(root / f"p{number}.png")
        shapes = [
            {"label": label, "shape_type": "polygon", "group_id": None, "flags": {},
             "points": [[2 + 8 * at, 2], [8 + 8 * at, 2], [8 + 8 * at, 20 + at], [2 + 8 * at, 15]]}
            for at, label in enumerate(labels)
        ]  # fmt: skip
        (root / f"p{number}.json").write_text(json.dumps({
            "version": "5.0", "flags": {}, "shapes": shapes, "imagePath": f"p{number}.png",
            "imageData": None, "imageHeight": 24, "imageWidth": 30,
        }))  # fmt: skip
    if order:
        (root / "labels.txt").write_text("\n".join(order) + "\n")
    return root


def masks(root, names, values=(0, 1, 2)):
    for number in range(3):
        photo(root / "images" / f"p{number}.png")
        mask = np.full((24, 30), values[0], np.uint8)
        mask[2:10, 2:12], mask[12:20, 14:25] = values[1], values[2]
        path = root / "masks" / f"p{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    (root / "classes.txt").write_text("\n".join(names) + "\n")
    return root


def data_of(root, cache, **changes):
    data = default_config().data
    found = describe_folder(str(root), {"folder.cache": str(cache)})
    data.folder.update(found.pop("folder"))
    data.update(found)
    data.folder.cache = str(cache)
    for key, value in changes.items():
        data[key] = str(value)
    return data


@pytest.mark.parametrize("labels", [["dog"], ["dog", "zebra"], ["ant", "cat", "dog"]])
def test_annotations_that_number_the_classes_otherwise_are_refused(labels, tmp_path):
    data = data_of(labelme(tmp_path / "own", ["cat", "dog"]), tmp_path / "cache")
    assert assemble(data, 0)[1] == []
    data.root = str(labelme(tmp_path / "other", labels))
    message = "\n".join(assemble(data, 0)[1])
    assert "dog (" in message and "and data.class_names is background, cat, dog" in message


def test_a_list_of_the_classes_in_the_order_of_the_run_helps(tmp_path):
    data = data_of(labelme(tmp_path / "own", ["cat", "dog"]), tmp_path / "cache")
    names = ("background", "cat", "dog")
    data.root = str(labelme(tmp_path / "other", ["dog"], order=names))
    dataset, problems = assemble(data, 0)
    assert problems == []
    assert set(np.unique(dataset.val[0]["mask"])) == {0, 2}


def test_masks_of_another_order_of_classes_are_refused(tmp_path):
    own = masks(tmp_path / "own", ["bg", "cat", "dog"])
    data = data_of(own, tmp_path / "cache")
    assert other_classes(data) == renamed_classes(data) == []
    data.root = str(masks(tmp_path / "other", ["bg", "dog", "cat"]))
    with pytest.raises(DataError, match=r"dog \(1 there, 2 here\), cat \(2 there, 1 here\)"):
        other_classes(data)
    data.root = str(masks(tmp_path / "renamed", ["bg", "car", "tree"]))
    (remark,) = other_classes(data)
    assert "'car' is 'cat' in the run, 'tree' is 'dog' in the run" in remark
    unnamed = masks(tmp_path / "unnamed", [])
    (unnamed / "classes.txt").unlink()
    data.root = str(unnamed)
    assert other_classes(data) == []


def test_a_class_file_that_changed_since_training_is_told(tmp_path):
    own = masks(tmp_path / "own", ["bg", "cat", "dog"])
    data = data_of(own, tmp_path / "cache")
    (own / "classes.txt").write_text("bg\nsheep\ncow\n")
    (remark,) = renamed_classes(data)
    assert "classes.txt names the classes bg, sheep, cow; those of the run, bg, cat" in remark
