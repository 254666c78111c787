"""--mode eval: the data on which a checkpoint is evaluated, and the file of the result."""

import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.config import load_config, load_snapshot
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.evaluation import evaluate
from ipixmatch_jax.export.model_card import write_card
from ipixmatch_jax.report.runs import read_run
from ipixmatch_jax.run.split import with_split
from ipixmatch_jax.training import train
from ipixmatch_jax.workdir.evaluations import later_rows


def test_a_run_and_what_is_evaluated_of_it_later(
    config_file, folder_data, tmp_path, capsys, monkeypatch
):
    devices = jax.devices()[:1]
    monkeypatch.setattr("ipixmatch_jax.devices.parallel.jax.devices", lambda *_: devices)
    options = ["--config.total_steps=2", "--config.eval_every=1", "--config.pictures=0"]
    options += ["--config.method.name=supervised", "--config.relation.name=none"]
    run = tmp_path / "run"
    with jax.numpy_dtype_promotion("standard"):  # optax.adamw counts steps in int32
        train(load_config(str(config_file), options), run)
    printed = capsys.readouterr().out
    assert printed.count("5 images of one size, compiled once") == 1
    assert "mean of last 2" in printed and "'best' is chosen on split val" in printed
    by_step = [json.loads((run / "eval" / f"{step}.json").read_text()) for step in (1, 2)]
    found = json.loads((run / "eval" / "summary.json").read_text())
    for name in ("student", "teacher"):
        scores = [result[name]["miou"] for result in by_step]
        assert found[name]["last"] == {"step": 2, "miou": scores[1]}
        assert found[name]["mean_of_last"]["miou"] == pytest.approx(sum(scores) / 2)
        assert found[name]["best"]["miou"] == max(scores)
    assert found["best_chosen_on"] == "val" and found["eval"]["mode"] == "whole"

    before = {path.name: path.read_bytes() for path in (run / "eval").iterdir()}
    changes = {
        "mode whole-flip": ["--config.eval.flip=True"],
        "image_size [10, 12]": ["--config.data.image_size=10,12"],
        "root": [f"--config.data.root={copied(folder_data, tmp_path)}"],
    }
    for change, words in changes.items():
        known = set((run / "eval").iterdir())
        evaluate(load_config(str(config_file), [*options, *words]), run, network="student")
        (written,) = set((run / "eval").iterdir()) - known
        row = next(row for row in later_rows(run) if row["file"] == written.name)
        assert change in row["differs"] and written.name.startswith("2-val-whole-"), row
    evaluate(load_config(str(config_file), options), run)
    assert len(list((run / "eval").iterdir())) == len(before) + len(changes)
    assert "the run's own record says the same" in capsys.readouterr().out
    for name, content in before.items():
        assert (run / "eval" / name).read_bytes() == content
    card = write_card(config_file, run, network="student", step=2, usage="")
    text = card.read_text()
    assert text.count("data.image_size [10, 12]") == 1 and "## Evaluated later" in text
    assert read_run(run, load_snapshot(run)).last("student") == by_step[1]["student"]["miou"]
    assert len(read_run(run, load_snapshot(run)).later) == 3


def copied(folder_data, tmp_path):
    """The same ids elsewhere, with other images."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(folder_data, folder)
    for path in (folder / "val" / "images").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    return folder


def test_splits(config_file):
    config = load_config(str(config_file))
    splits = {name: with_split(config, name).val.ids for name in ("val", "labeled", "val.txt")}
    assert len(splits["labeled"]) == 6 and splits["val"] == splits["val.txt"]
    assert not set(splits["labeled"]) & set(splits["val"])
    with pytest.raises(
        DataError, match="--split test: expected val, labeled, test where data.test"
    ):
        with_split(config, "test")


def test_the_test_split(config_file, folder_data):
    shutil.copytree(folder_data / "val", folder_data / "test")
    for path in (folder_data / "test/images").iterdir():
        image = 255 - np.asarray(Image.open(path))
        Image.fromarray(image).save(path)
    config = load_config(str(config_file))
    assert with_split(config, "test").val.ids == tuple(f"test/v{i}" for i in range(5))
    (folder_data / "test.txt").write_text("v1\nval/images/v2.png val/masks/v2.png\n")
    config = load_config(str(config_file), ["--config.data.test=test.txt"])
    test = with_split(config, "test").val
    assert test.ids == ("v1", "val/images/v2")
    np.testing.assert_array_equal(test[0]["image"], Image.open(folder_data / "test/images/v1.png"))
    np.testing.assert_array_equal(test[1]["image"], Image.open(folder_data / "val/images/v2.png"))


def test_bad_values_of_eval_are_named(config_file):
    with pytest.raises(ConfigError, match="eval.mode is 'slide'; expected 'whole', 'sliding'"):
        load_config(str(config_file), ["--config.eval.mode=slide"])
