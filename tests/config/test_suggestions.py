"""For an unknown key, the error suggests the most similar one."""

import json

import pytest

from ipixmatch_jax.config import load_config, load_snapshot, write_snapshot
from ipixmatch_jax.config.groups import all_keys
from ipixmatch_jax.config.suggestions import _WORDS, did_you_mean
from ipixmatch_jax.errors import ConfigError


@pytest.mark.parametrize("key, meant", [
    ("optimizer.lr", "optimizer.learning_rate"), ("lr", "optimizer.learning_rate"),
    ("learning_rate", "optimizer.learning_rate"), ("epochs", "total_steps"),
    ("model.encoder", "model.backbone"), ("data.classes", "data.num_classes"),
    ("ema_decay", "teacher.decay"), ("optimiser.name", "optimizer.name"),
    ("data.num_class", "data.num_classes"), ("optimizer.learning_rat", "optimizer.learning_rate"),
])  # fmt: skip
def test_near_misses_suggest_what_is_meant(key, meant):
    assert did_you_mean(key, all_keys()) == f" (did you mean {meant!r}?)"


@pytest.mark.parametrize("key, meant", [
    ("method.distance", "method.options.distance"), ("method.confidense", "method.confidence"),
])  # fmt: skip
def test_an_option_without_its_group_is_suggested(key, meant):
    with pytest.raises(ConfigError, match=rf"no config key '{key}' .did you mean '{meant}'"):
        load_config("demo", [f"--config.{key}=kl"])


def test_a_key_that_is_gone_says_what_took_its_place():
    with pytest.raises(ConfigError, match="'eval.pad_to'; it is gone: .*eval.shapes"):
        load_config("demo", ["--config.eval.pad_to=64"])


def test_an_older_run_with_a_key_that_is_gone_still_loads(config_file, tmp_path):
    config = load_config(str(config_file))
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    write_snapshot(config, tmp_path)
    path = tmp_path / "config.json"
    saved = json.loads(path.read_text())
    saved["eval"]["pad_to"] = 64
    del saved["eval"]["shapes"]
    path.write_text(json.dumps(saved))
    loaded = load_snapshot(tmp_path)
    assert "pad_to" not in loaded.eval and loaded.eval.shapes == 4
    assert write_snapshot(config, tmp_path) == []  # the run can be resumed


def test_suggested_keys_exist():
    assert set(_WORDS) <= set(all_keys())
