"""Label Studio's upload prefix: photos with and without it are found if one alone fits."""

import json
import re

import numpy as np
import pytest

from ipixmatch_jax.data import load_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.errors import DataError
from tests.references import exports

PLAIN = [f"p{number}.jpg" for number in range(4)]
UPLOADED = [f"{number}abcdefa-p{number}.jpg" for number in range(4)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IPIXMATCH_CACHE", str(tmp_path / "cache"))


def export(root, photos, names):
    """A JSON export whose tasks name `names`, next to `photos`."""
    exports.label_studio(root)
    for path in (root / "images").iterdir():
        path.unlink()
    for number, photo in enumerate(photos):
        exports.photo(root / "images" / photo, number)
    tasks = json.loads((root / "result.json").read_text())
    for task, name in zip(tasks, names, strict=True):
        task["data"]["image"] = f"/data/upload/1/{name}"
    (root / "result.json").write_text(json.dumps(tasks))


def loaded(root, make_config):
    empty = {"labeled": "", "unlabeled": "", "val": ""}
    return load_dataset(make_config(**{**empty, **describe_folder(str(root))}), 0)


@pytest.mark.parametrize("photos, names", [(PLAIN, UPLOADED), (UPLOADED, PLAIN)])
def test_a_prefix_on_one_side_is_removed_and_noted(photos, names, tmp_path, make_config):
    export(tmp_path / "data", photos, names)
    dataset = loaded(tmp_path / "data", make_config)
    records = [part[i] for part in (dataset.labeled, dataset.val) for i in range(len(part))]
    assert sorted(record["id"] for record in records) == [name[:-4] for name in photos]
    for record in records:
        np.testing.assert_array_equal(record["mask"], exports.truth())
    expected = f"4 images found by names without.*{names[0]} -> images/{photos[0]}"
    assert any(re.match(expected, note) for note in dataset.notes)


def test_the_photo_of_the_full_name_comes_first(tmp_path, make_config):
    export(tmp_path / "data", [*UPLOADED, *PLAIN], UPLOADED)
    dataset = loaded(tmp_path / "data", make_config)
    assert sorted((*dataset.labeled.ids, *dataset.val.ids)) == [name[:-4] for name in UPLOADED]
    assert sorted(dataset.unlabeled.ids) == [name[:-4] for name in PLAIN]
    assert not any("upload prefix" in note for note in dataset.notes)


def test_several_fitting_names_are_refused(tmp_path, make_config):
    export(tmp_path / "a", ["x/p0.jpg", "y/p0.jpg", *PLAIN[1:]], UPLOADED)
    with pytest.raises(DataError, match="fit '0abcdefa-p0.jpg'.*x/p0.jpg, images/y/p0.jpg"):
        loaded(tmp_path / "a", make_config)
    export(tmp_path / "b", [*UPLOADED, "ffffffff-p0.jpg"], PLAIN)
    with pytest.raises(DataError, match="fit 'p0.jpg'.*0abcdefa-p0.jpg, images/ffffffff-p0.jpg"):
        loaded(tmp_path / "b", make_config)
    export(tmp_path / "c", PLAIN, [*UPLOADED[:3], "ffffffff-p0.jpg"])
    with pytest.raises(DataError, match="twice, as 0abcdefa-p0.jpg and as ffffffff-p0.jpg"):
        loaded(tmp_path / "c", make_config)
