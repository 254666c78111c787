"""A config that is used with a run's networks is compared with the run's own."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.config import load_config, with_own_statistics, write_snapshot
from ipixmatch_jax.config.fit_to_run import check_fits_run
from ipixmatch_jax.errors import ConfigError, DataError

NAMES = "--config.data.class_names=cat,dog"


@pytest.fixture
def run(config_file, tmp_path):
    write_snapshot(load_config(str(config_file), [NAMES]), tmp_path)
    return tmp_path


def check(config_file, run, *words):
    return check_fits_run(load_config(str(config_file), [NAMES, *words]), run)


def test_the_runs_own_config_fits(config_file, run):
    assert check(config_file, run) == []
    assert check(config_file, run, "--config.data.crop_size=(16,16)") == []


@pytest.mark.parametrize("words, message", [
    (["--config.data.class_names=dog,cat"], "same in another order"),
    (["--config.data.class_names=zebra,cat"], "the run has .'cat', 'dog'., now .'zebra', 'cat'"),
    (["--config.data.num_classes=3", "--config.data.class_names=a,b,c"],
     "data.num_classes: the run has 2, now 3"),
    (["--config.data.channels=1"], "data.channels: the run has 3, now 1"),
])  # fmt: skip
def test_other_classes_and_networks_are_refused(words, message, config_file, run):
    with pytest.raises(ConfigError, match=message):
        check(config_file, run, *words)


def test_images_of_another_bit_depth_are_not_measured_anew(config_file, run, folder_data):
    config = load_config(str(config_file), [NAMES])
    assert with_own_statistics(config, run) is config
    for path in (folder_data / "train" / "images").iterdir():
        gray = np.asarray(Image.open(path).convert("L"))
        Image.fromarray(gray.astype(np.uint16) * 17).save(path)
    with pytest.raises(DataError, match="more than 8 bits, and the run in .* on images of 8 bits"):
        with_own_statistics(config, run)


def test_what_changes_the_numbers_is_told(config_file, run):
    (remark,) = check(
        config_file, run, "--config.data.mean=(0.1,0.2,0.3)", "--config.data.std=(1,1,1)"
    )[:1]
    assert "data.mean: the run has (), now (0.1, 0.2, 0.3)" in remark


def test_a_run_without_its_config_is_told(config_file, run):
    config = load_config(str(config_file), [NAMES])
    (run / "checkpoints" / "4").mkdir(parents=True)
    assert write_snapshot(config, run) == []
    (run / "config.json").unlink()
    (note,) = write_snapshot(config, run)
    assert "config.json does not exist: whether the run had the same config before is not" in note
