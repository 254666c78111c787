"""Values that are no sensible ones: refused with the key and what it takes."""

import pytest

from ipixmatch_jax.config import load_config
from ipixmatch_jax.data import load_dataset
from ipixmatch_jax.errors import ConfigError, DataError


@pytest.mark.parametrize("override, message", [
    ("data.flip=" + "1" * 400, "data.flip is 1111"),
    ("data.transform=../..", "data.transform is '../..'"),
    ("data.mean=(123.7,116.3,103.5)", "data.mean is .*from 0 to 1"),
    ("data.std=(58.4,57.1,57.4)", "data.std is .*above 0 and at most 1"),
])  # fmt: skip
def test_values_are_refused(override, message, config_file):
    with pytest.raises(ConfigError, match=message):
        load_config(str(config_file), [f"--config.{override}"])


def test_a_pattern_of_groups_that_matches_no_image(config_file):
    words = ["data.val=", "data.folder.val_images=none", "data.folder.group=atuo"]
    config = load_config(str(config_file), [f"--config.{word}" for word in words])
    with pytest.raises(ConfigError, match="'atuo' matches no id .*did you mean 'auto'"):
        load_dataset(config.data, config.seed)


@pytest.mark.parametrize("pair", ["(1,0)", "(5,5)"])
def test_a_range_that_is_empty_or_reversed(pair, config_file):
    with pytest.raises(ConfigError, match="data.value_range is .*low < high"):
        load_config(str(config_file), [f"--config.data.value_range=({pair},)"])


def test_a_relative_folder_that_is_not_here(config_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config(str(config_file), ["--config.data.root=photos"])
    with pytest.raises(DataError, match=f"'photos' is not a folder .it is relative to {tmp_path}"):
        load_dataset(config.data, config.seed)


def test_a_key_that_is_given_twice_is_told(config_file, capsys):
    words = ["--config.batch_size=4", "--config.batch_size=2", "--config.seed=1", "--config.seed=1"]
    assert load_config(str(config_file), words).batch_size == 2
    found = capsys.readouterr()
    printed = found.out + found.err
    assert "batch_size is given 2 times, as 4, 2: the last counts" in printed
    assert "seed is given" not in printed


def test_what_is_no_config_file_names_the_way(tmp_path):
    with pytest.raises(ConfigError, match=f"is a folder; .* --config folder:{tmp_path}"):
        load_config(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="no Python file; expected one that defines get_config"):
        load_config(str(tmp_path / "config.json"))
