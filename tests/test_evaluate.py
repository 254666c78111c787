"""--mode eval: what a restored checkpoint is evaluated on, and where the result goes."""

import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.config import load_config
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.evaluate import _evaluates_as_trained, evaluate, with_split
from ipixmatch_jax.train import train


def test_a_run_and_what_is_evaluated_of_it_later(config_file, tmp_path, capsys, monkeypatch):
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

    # Of a run from before there was a key, the default is the run's own way.
    snapshot = json.loads((run / "config.json").read_text())
    del snapshot["eval"]["pad_to"]
    (run / "config.json").write_text(json.dumps(snapshot))
    assert _evaluates_as_trained(load_config(str(config_file), options), run)
    flipped = load_config(str(config_file), [*options, "--config.eval.flip=True"])
    before = (run / "eval" / "2.json").read_text()
    evaluate(flipped, run, network="student")
    written = {path.name for path in (run / "eval").iterdir()}
    assert written == {"1.json", "2.json", "summary.json", "2-val-whole-flip-skip.json"}
    assert (run / "eval" / "2.json").read_text() == before


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
