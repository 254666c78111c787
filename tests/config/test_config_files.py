"""The configs of data sets load, and their numbers are those of other implementations."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.config import flatten, load_config
from ipixmatch_jax.config.loading import packaged_configs
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.main import main
from tests.references import ROOT

CONFIGS = ROOT / "configs"


# Steps per epoch are floor(|U| / 8); epochs, crops and confidences are the published ones.
@pytest.mark.parametrize("spec, steps, crop, confidence, classes", [
    ("voc.py:fine-92", 80 * 1311, 321, 0.95, 21),
    ("voc.py:priority-1_8", 80 * 1157, 513, 0.95, 21),
    ("cityscapes.py:1_16", 240 * 348, 801, 0.0, 19),
    ("coco.py:1_512", 30 * 14756, 513, 0.95, 81),
    ("ade20k.py:1_16", 60 * 2368, 518, 0.95, 150),
    ("pet.py:50", 4000, 321, 0.95, 2),
])  # fmt: skip
def test_benchmark_configs(spec, steps, crop, confidence, classes):
    config = load_config(str(CONFIGS / spec))
    assert config.total_steps == steps and config.data.crop_size == (crop, crop)
    assert config.method.confidence == confidence and config.data.num_classes == classes


@pytest.mark.parametrize("name", ["voc", "cityscapes", "coco", "ade20k", "folder"])
def test_arguments_that_no_config_knows(name, tmp_path):
    argument = "" if name == "folder" else ":1_3"
    with pytest.raises(ConfigError, match=f"--config {name}"):
        load_config(f"{name}{argument}")


@pytest.mark.parametrize("spec", ["demo", "demo:all", "voc:fine-92", "camvid:23", "pet"])
def test_packaged_configs_have_names(spec, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    name, colon, arg = spec.partition(":")
    by_name, by_file = load_config(spec), load_config(f"{CONFIGS / name}.py{colon}{arg}")
    assert dict(flatten(by_name)) == dict(flatten(by_file))


def test_every_packaged_config_has_a_file():
    assert packaged_configs() == sorted(path.stem for path in CONFIGS.glob("*.py"))


def test_an_unknown_config_names_the_packaged_ones():
    with pytest.raises(ConfigError, match="neither a file .*did you mean 'demo'.*camvid.*voc"):
        load_config("configs/dmo.py")


@pytest.mark.parametrize("spec, overrides", [
    ("demo", ["--config.method.options.distance=mse"]),
    ("camvid:23", []),
    ("voc:fine-92/u2pl", ["--config.relation.more=({'name': 'affinity', 'distance': 'mse'},)"]),
])  # fmt: skip
def test_a_starting_file_gives_the_same_config(spec, overrides, tmp_path, capsys):
    path = tmp_path / "mine.py"
    command = ["--mode", "new-config", "--config", spec, "--output", str(path), *overrides]
    assert main(command) == 0
    assert dict(flatten(load_config(str(path)))) == dict(flatten(load_config(spec, overrides)))
    assert max(map(len, path.read_text().splitlines())) <= 100
    assert main(command) == 2 and "exists; choose another" in capsys.readouterr().err


def test_a_starting_file_of_the_defaults_is_printed(capsys, tmp_path):
    assert main(["--mode", "new-config", "--config.data.root=pics"]) == 0
    path = tmp_path / "mine.py"
    path.write_text(capsys.readouterr().out)
    config = load_config(str(path))
    assert config.data.root == "pics" and 'config.data.root = "pics"' in path.read_text()


def test_the_package_is_a_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ipixmatch_jax", "--mode", "config", "teacher", "--config", "demo"],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0 and "decay=0.996  (set to 0.99)" in done.stdout, done.stderr


def test_folder_config_describes_the_folder(tmp_path):
    for number in range(3):
        for kind, array in (("images", np.zeros((5, 6, 7), np.uint16)),):
            (tmp_path / kind).mkdir(exist_ok=True)
            np.save(tmp_path / kind / f"{number}.npy", array)
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(np.full((5, 6), 2 * number, np.uint8)).save(
            tmp_path / f"masks/{number}.png"
        )
    config = load_config(f"{CONFIGS / 'folder.py'}:{tmp_path}", ["--config.data.threads=1"])
    assert config.data.num_classes == 5 and config.data.channels == 7
    assert config.data.root == str(tmp_path) and config.data.folder.train_masks == "masks"


@pytest.mark.parametrize("change, message", [
    ("data.on_error=ignore", "data.on_error is 'ignore'; expected 'raise' or 'skip'"),
    ("data.statistics=all", "data.statistics is 'all'"),
    ("data.masks=rgb", "data.masks is 'rgb'"),
    ("data.mean=(0.5,)", "data.mean has 1 values; expected data.channels=3"),
    ("data.channels=0", "data.channels is 0; expected a whole number from 1"),
])  # fmt: skip
def test_data_keys_are_checked(change, message):
    with pytest.raises(ConfigError, match=message):
        load_config(str(CONFIGS / "camvid.py"), [f"--config.{change}"])
