"""A folder prepared as array_record files by the package's own builder, and read back."""

import subprocess
import sys

import numpy as np
import pytest

from ipixmatch_jax.data import load_dataset
from ipixmatch_jax.data.datasets.tfds import directory
from ipixmatch_jax.data.tfds_builders import BUILDERS
from ipixmatch_jax.errors import DataError


def run(*arguments):
    code = (
        "import sys; from ipixmatch_jax.data.tfds_builders.__main__ import main; code = main(); "
        "assert 'tensorflow' not in sys.modules; sys.exit(code)"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_round_trip_without_tensorflow(folder_root, make_config, tmp_path):
    target = tmp_path / "tfds"
    lists = [f"{name}={name}.txt" for name in ("labeled", "unlabeled", "val")]
    done = run("folder", "--root", folder_root, "--num-classes", 4, "--to", target, "--shards", 2,
               "--set", *lists)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "data.name=tfds:folder_scenes" in done.stdout
    assert len(list(target.rglob("*labeled.array_record-*-of-00002"))) == 4  # and unlabeled
    original = load_dataset(make_config(root=str(folder_root)), 0)
    dataset = load_dataset(
        make_config(name="tfds:folder_scenes", root=str(target), labeled="labeled",
                    unlabeled="unlabeled", val="val", tfds={"id_key": "id"}), 0
    )  # fmt: skip
    for split in ("labeled", "unlabeled", "val"):
        source, expected = getattr(dataset, split), getattr(original, split)
        assert source.ids == expected.ids
        for index in range(len(source)):
            record, wanted = source[index], expected[index]
            assert record.keys() == wanted.keys()
            np.testing.assert_array_equal(record["image"], wanted["image"])
            if split != "unlabeled":
                np.testing.assert_array_equal(record["mask"], wanted["mask"])


def test_problems_are_named_before_anything_is_written(folder_root, make_config, tmp_path):
    (folder_root / "train/masks/l2.png").unlink()
    with pytest.raises(DataError, match="no mask for id 'l2'"):
        BUILDERS["folder"](data=make_config(root=str(folder_root)), data_dir=str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()


def test_buckets_are_named_as_they_are():
    assert directory("gs://bucket/data") == "gs://bucket/data"
    assert not directory("~/data").startswith("~")
