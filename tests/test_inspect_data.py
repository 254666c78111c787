"""`--mode inspect` writes its files for any names of photos."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.config import default_config
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.inspect_data import inspect_data


def test_names_that_are_not_utf8(tmp_path):
    for number in range(5):
        name = os.fsdecode(b"p\xe4%d" % number)
        mask = np.zeros((20, 24), np.uint8)
        mask[4:9, 3 : 9 + number] = 1
        picture = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        for part, array in (("images", picture), ("masks", mask)):
            (tmp_path / part).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / part / f"{name}.png")
    # A fault names a file, in both reports.
    (tmp_path / "images" / os.fsdecode(b"p\xe49.png")).write_bytes(b"nothing")
    config = default_config()
    found = describe_folder(str(tmp_path))
    config.data.folder.update(found.pop("folder"))
    config.data.update(found)
    config.data.unlabeled = ""
    with pytest.raises(DataError, match="cannot be read"):
        inspect_data(config, tmp_path / "report")
    page = (tmp_path / "report/data.html").read_bytes().decode("utf-8")
    assert "\\udce49.png" in page
    findings = json.loads((tmp_path / "report/data.json").read_text())["findings"]
    assert any("cannot be read" in finding["message"] for finding in findings)
