"""Class names of another encoding, and names that do not count the background."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data import inspect_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.inspection.class_names import unreadable_names


@pytest.mark.parametrize("name", ["围墙", "水桶"])
def test_names_in_gbk_that_are_valid_utf_8(name):
    read = name.encode("gbk").decode("utf-8")
    (finding,) = unreadable_names(["background", read])
    assert f"{name!r} in gb2312" in finding.message and "save the file" in finding.message


@pytest.mark.parametrize("name", ["Straße", "forêt", "вода"])
def test_utf_8_that_was_read_as_latin(name):
    read = name.encode().decode("latin-1")
    (finding,) = unreadable_names([read, "b"])
    assert "1 of 2 class names" in finding.message and repr(name) in finding.message


@pytest.mark.parametrize("name", ["a\x00b", "caf\ufffd", "\ue000"])
def test_names_that_cannot_be_printed(name):
    assert "cannot be printed" in unreadable_names(["x", name])[0].message


@pytest.mark.parametrize(
    "name",
    ["Straße", "été", "forêt", "NÃO", "Œuf", "вода", "ё", "νερό", "β-cell", "5 µm", "Ødegård",
     "道路", "とまと", "トマト畑", "사과", "चावल", "ماء", "מים", "đường phố", "ñ 1", "x²", "☂", "Å",
     "soil/Erde", "cafe\u0301", "#ff0000"],
)  # fmt: skip
def test_names_of_any_language_are_fine(name):
    assert not unreadable_names(["background", name])


@pytest.mark.parametrize(
    ("names", "ground", "found"),
    [
        (["cat", "dog", "bird"], 0, True),
        (["background", "dog", "bird"], 0, False),
        (["soil", "crop", "weed"], 0, False),
        (["cat", "ground", "bird"], 1, False),
    ],
)
def test_names_without_background(names, ground, found, tmp_path, make_config):
    rng = np.random.default_rng(0)
    for number in range(8):
        ids = np.full((40, 48), ground, np.uint8)
        y, x = rng.integers(2, 12, 2)
        ids[y : y + 9, x : x + 12], ids[y + 14 : y + 22, x + 16 : x + 28] = 1 - ground, 2
        for kind in ("images", "masks"):
            (tmp_path / kind).mkdir(exist_ok=True)
        photo = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(photo).save(tmp_path / f"images/{number}.png")
        Image.fromarray(ids).save(tmp_path / f"masks/{number}.png")
    (tmp_path / "classes.txt").write_text("\n".join(names))
    config = make_config(
        **{"labeled": "", "unlabeled": "", "val": "", **describe_folder(str(tmp_path))}
    )
    messages = [f.message for f in inspect_dataset(config, 0).findings if f.kind == "class-names"]
    assert len(messages) == found
    assert all("put a line `background` in front" in message for message in messages)
