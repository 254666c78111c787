"""The configs of data sets: they load, and their numbers are the peers'."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.config import load_config
from ipixmatch_jax.errors import ConfigError
from tests.references import ROOT

CONFIGS = ROOT / "configs"


# Steps of an epoch are floor(|U| / 8); epochs, crops and confidences as the peers publish them.
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
    with pytest.raises(ConfigError, match=f"configs/{name}.py"):
        load_config(f"{CONFIGS / name}.py{argument}")


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
