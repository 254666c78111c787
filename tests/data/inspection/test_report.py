"""Inspection reports every kind of damage in a clean data set, with the name of the file."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.config import default_config
from ipixmatch_jax.data import inspect_dataset, load_dataset
from ipixmatch_jax.data.inspection.page import page
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.inspect_data import inspect_data
from tests.references.damages import (
    CLASSES,
    DAMAGES,
    MASK,
    PALETTE,
    TEST_DAMAGES,
    change,
    city_label_ids,
    scene,
)


def config_of(root, make_config, **changes):
    return make_config(root=str(root), num_classes=CLASSES, palette=PALETTE, **changes)


def test_no_false_alarm(clean, make_config):
    report = inspect_dataset(config_of(clean, make_config), 0)
    assert report.findings == [] and "nothing wrong was found" in report.text()
    labeled = report.splits["labeled"]
    masks = np.stack([scene(seed)[1] for seed in range(6)])
    np.testing.assert_array_equal(labeled.pixels, np.bincount(masks.ravel(), minlength=256))
    assert labeled.images_with[3] == 6 and labeled.sizes == {(24, 32): 6}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_with_its_file(root, make_config, name):
    damage, severity, kind, file, message = DAMAGES[name]
    damage(root)
    config = config_of(root, make_config)
    report = inspect_dataset(config, 0)
    matching = [f for f in report.findings if f.kind == kind and message in f.message]
    assert matching, report.text()
    finding = matching[0]
    assert finding.severity == severity
    assert finding.file == str(root / file), finding
    assert str(root / file) in finding.message or kind == "list"
    # Nothing is reported except consequences of the damage.
    consequences = {kind, "absent-class"} | ({"same-mask"} if "picture in val" in name else set())
    assert {f.kind for f in report.findings} <= consequences, report.text()
    assert "<img" in page(report)
    if severity == "warning":
        load_dataset(config, 0)
        return
    # A run ends with one message, or reads no broken file before it starts.
    try:
        dataset = load_dataset(config, 0)
    except DataError as error:
        assert message in str(error) or kind == "overlap"
    else:
        assert name == "text as unlabeled image"
        assert len(dataset.labeled) == 6


def test_reason_of_cityscapes_label_ids(root, make_config):
    change(MASK, city_label_ids)(root)
    config = config_of(root, make_config)
    config.num_classes, config.palette, config.class_names = 19, (), ()
    report = inspect_dataset(config, 0)
    assert any("likely Cityscapes labelIds in place of trainIds" in f.message
               for f in report.errors)  # fmt: skip


def test_missing_root_and_lists_are_findings(tmp_path, make_config, clean):
    report = inspect_dataset(config_of(tmp_path / "nowhere", make_config), 0)
    assert len(report.errors) == 1 and "data.root" in report.errors[0].message
    assert "<h1>" in page(report)
    report = inspect_dataset(
        config_of(clean, make_config, labeled="a.txt", unlabeled="b.txt", val="c.txt"), 0
    )
    assert [f.file for f in report.errors] == [str(clean / name) for name in
                                               ("a.txt", "c.txt", "b.txt")]  # fmt: skip


def whole(data):
    config = default_config()
    config.data = data
    return config


def test_files_that_inspect_writes(root, make_config, tmp_path, capsys):
    config = config_of(root, make_config, class_names=("ground", "<a>", "b", "c", "d"))
    inspect_data(whole(config), tmp_path / "out")
    content = json.loads((tmp_path / "out/data.json").read_text())
    assert content["usable"] and content["findings"] == []
    assert content["splits"]["labeled"]["sizes"] == {"24x32": 6}
    assert content["splits"]["val"]["classes"]["(ignore)"]["images"] == 5
    text = (tmp_path / "out/data.html").read_text()
    assert "&lt;a&gt;" in text and "<a>" not in text and text.count("<img") == 5 * 2 + 6 * 2 + 6
    assert "http" not in text and "src='data:image/jpeg;base64," in text
    assert "ground" in capsys.readouterr().out
    # Six unlabeled and six labeled images, and batches of eight.
    assert "<h2>Before training</h2><ul><li>6 unlabeled images are fewer than" in text
    assert [line.split(" are ")[0] for line in content["training_needs"]] == [
        "6 unlabeled images",
        "6 labeled images",
    ]
    DAMAGES["cut mask"][0](root)
    with pytest.raises(DataError, match=r"1 problem\(s\), listed above; first: .*l1\.png"):
        inspect_data(whole(config), tmp_path / "out")
    assert not json.loads((tmp_path / "out/data.json").read_text())["usable"]
    assert "1 error:" in capsys.readouterr().out


def add_test_split(root):
    """Five more scenes under test/, listed in test.txt."""
    for kind in ("images", "masks"):
        (root / "test" / kind).mkdir(parents=True)
    for number in range(5):
        image, mask = scene(100 + number)
        Image.fromarray(image).save(root / f"test/images/s{number}.png")
        Image.fromarray(mask).save(root / f"test/masks/s{number}.png")
    (root / "test.txt").write_text("".join(f"s{number}\n" for number in range(5)))


@pytest.mark.parametrize("name", TEST_DAMAGES)
def test_damage_of_the_test_split(root, make_config, name):
    add_test_split(root)
    config = config_of(root, make_config, test="test.txt")
    clean = inspect_dataset(config, 0)
    assert clean.findings == [] and clean.splits["test"].images_with[3] == 5
    assert "test           5 images" in clean.text() and "test pixels, images" in clean.text()
    damage, severity, kind, file, message = TEST_DAMAGES[name]
    damage(root)
    report = inspect_dataset(config, 0)
    matching = [f for f in report.findings if f.kind == kind and message in f.message]
    assert matching, report.text()
    assert (matching[0].severity, matching[0].file) == (severity, str(root / file))
    assert {f.kind for f in report.findings} <= {kind, "same-mask", "absent-class"}, report.text()
    assert "<h2>test</h2>" in page(report)
    if kind == "list" or name == "labeled file":
        with pytest.raises(DataError):
            load_dataset(config, 0)


def test_photos_of_a_test_without_masks_are_no_split(root, make_config):
    add_test_split(root)
    assert load_dataset(config_of(root, make_config), 0).test.ids == tuple(
        f"test/s{number}" for number in range(5)
    )
    shutil.rmtree(root / "test/masks")
    assert len(load_dataset(config_of(root, make_config), 0).test) == 0
