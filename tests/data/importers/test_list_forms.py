"""Lists of splits as NumPy arrays, tables of other columns, and numbers without zeros."""

import json

import numpy as np
import pytest

from ipixmatch_jax.data import inspect_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.importers import read_folder
from tests.data.importers.test_formats import cache, loaded  # noqa: F401  (a fixture)
from tests.references.exports import mask, photo, text, truth

VAL = tuple(f"val/p{number:04d}" for number in range(5, 8))


@pytest.fixture
def root(tmp_path):
    """Eight images with masks, p0000 to p0007."""
    for number in range(8):
        photo(tmp_path / f"images/p{number:04d}.png", number)
        mask(tmp_path / f"masks/p{number:04d}.png", np.roll(truth(), number, 1))
    return tmp_path


def splits(root, write):
    for split, numbers in (("train", range(5)), ("val", range(5, 8))):
        write(root / split, [f"p{number:04d}" for number in numbers])


FORMS = {
    "array": lambda path, names: np.save(f"{path}.npy", np.array(names)),
    "column": lambda path, names: np.save(f"{path}.npy", np.array([[n] for n in names], "S9")),
    "csv": lambda path, names: text(
        path.with_suffix(".csv"),
        "file;width;label\n" + "".join(f"images/{name}.png;32;cat\n" for name in names),
    ),
    "csv without a heading": lambda path, names: text(
        path.with_suffix(".csv"), "".join(f"{n},{name},32\n" for n, name in enumerate(names))
    ),
    "numbers": lambda path, names: text(
        path.with_suffix(".txt"), "".join(f"p{int(name[1:])}\n" for name in names)
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_lists_of_any_form_decide_the_split(form, root, make_config):
    splits(root, FORMS[form])
    dataset = loaded(root, make_config)
    assert dataset.val.ids == VAL and len(dataset.labeled) == 5
    assert not dataset.warnings
    assert any("zero padding" in note for note in dataset.notes) == (form == "numbers")


def test_arrays_that_list_nothing(root, make_config):
    np.save(root / "train_images.npy", np.zeros((3, 4, 4, 3)))
    np.save(root / "val_ids.npy", np.arange(4.0))
    dataset = loaded(root, make_config)
    assert len(dataset.labeled) + len(dataset.val) == 8 and not dataset.warnings


def test_numbers_that_fit_two_images(root, make_config):
    photo(root / "images/p07.png", 30)
    splits(root, FORMS["numbers"])
    assert any("val.txt: named like lists" in text for text in loaded(root, make_config).warnings)


def test_numbered_splits_are_a_question(root, make_config):
    rows = "".join(f"p{n:04d}.png,{int(n > 4)}\n" for n in range(8))
    text(root / "list.csv", "image_id,partition\n" + rows)
    found = describe_folder(str(root))
    config = make_config(**{"labeled": "", "unlabeled": "", "val": "", **found})
    (error,) = inspect_dataset(config, 0).errors
    assert "list.csv: the column partition: 0, 1 numbers the splits" in error.message
    # Folds are no splits, and lists of the user's own decide.
    assert not read_folder(root, {"own_lists": True})[2].problems
    text(root / "list.csv", "image_id,fold\n" + rows)
    assert not read_folder(root, {})[2].problems


def test_lists_in_unknown_forms_are_named(root):
    (root / "train.pkl").write_bytes(b"\x80")
    assert any("a form that is not read" in text for text in read_folder(root, {})[2].warnings)


def test_lists_in_spreadsheets_are_refused(root):
    (root / "splits").mkdir()
    (root / "splits/val.xlsx").write_bytes(b"PK")
    (root / "notes.xlsx").write_bytes(b"PK")
    (problem,) = read_folder(root, {})[2].problems
    assert "splits/val.xlsx: a list of a split in a spreadsheet" in problem
    assert "save it as CSV" in problem
    assert not read_folder(root, {"own_lists": True})[2].problems


@pytest.mark.parametrize("form", ["txt", "csv", "json"])
def test_lines_that_name_no_image_are_told(form, root, make_config):
    """An image of val with a misspelt name trains."""
    for number in range(8, 20):
        photo(root / f"images/p{number:04d}.png", number)
        mask(root / f"masks/p{number:04d}.png", np.roll(truth(), number, 1))
    val = [f"p{number:04d}.png" for number in range(8, 19)] + ["P0019.png"]
    content = {
        "txt": "".join(f"{name}\n" for name in val),
        "csv": "file,split\n" + "".join(f"{name},val\n" for name in val),
        "json": json.dumps({"val": val}),
    }[form]
    text(root / ("val.txt" if form == "txt" else f"splits.{form}"), content)
    dataset = loaded(root, make_config)
    assert len(dataset.val) == 11 and "p0019" in dataset.labeled.ids
    (warning,) = dataset.warnings
    assert "1 lines name no image here: P0019.png; an image whose name is misspelt" in warning


def test_a_heading_is_no_misspelt_name(root, make_config):
    names = "".join(f"p{number:04d}.png\n" for number in range(5, 8))
    text(root / "val.txt", f"image_name\n{names}")
    dataset = loaded(root, make_config)
    assert dataset.val.ids == VAL and not dataset.warnings
