"""The reference of config keys is complete, and docs/config.md is what it generates."""

import subprocess
import sys

import pytest

from ipixmatch_jax.build import view_defaults
from ipixmatch_jax.config import default_config, flatten
from ipixmatch_jax.config.groups import VIEWS, all_keys
from ipixmatch_jax.config.reference import printed
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.main import main
from tests.references import ROOT


def test_every_key_is_documented_once():
    keys = all_keys()
    assert set(keys) == set(dict(flatten(default_config())))
    assert set(VIEWS) == set(view_defaults())
    without = [name for name, key in keys.items() if not key.help]
    assert not without, f"write one line of help for {without}"
    for name, key in keys.items():
        assert "\n" not in key.help and len(key.help) <= 110, name


def test_every_default_is_allowed():
    values = dict(flatten(default_config()))
    for name, key in all_keys().items():
        assert key.problem(name, values[name]) is None
        assert key.problem(name, None if key.optional else key.default) is None


def test_docs_are_what_the_reference_generates():
    # A process of its own: other tests register parts.
    done = subprocess.run(
        [sys.executable, "-m", "ipixmatch_jax.config"],
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    assert done.stdout == (ROOT / "docs" / "config.md").read_text(), (
        "run: python -m ipixmatch_jax.config > docs/config.md"
    )


def test_groups_are_printed_with_what_a_file_changes(config_file, capsys):
    assert main(["--mode", "config", "model", "--config", str(config_file)]) == 0
    text = capsys.readouterr().out
    assert "--config.model.width=None  (set to 4)" in text and "total_steps" not in text
    assert main(["--mode", "config"]) == 0
    text = capsys.readouterr().out
    assert all(f"--config.{name}=" in text for name in all_keys()) and "set to" not in text
    assert main(["--mode", "config", "data.folder", "--config.data.folder.holdout=0.3"]) == 0
    text = capsys.readouterr().out
    assert "holdout=0.2  (set to 0.3)" in text and "--config.data.name" not in text
    assert main(["--mode", "config", "optimzer"]) == 2
    assert "did you mean 'optimizer'" in capsys.readouterr().err


def test_options_of_the_chosen_method_are_printed(capsys):
    assert main(["--mode", "config", "method", "--config.method.name=unimatch"]) == 0
    text = capsys.readouterr().out
    assert "--config.method.options.drop_rate=0.5" in text
    assert "share of the feature channels that are dropped [a number from 0 to 0.99]" in " ".join(
        text.split()
    )
    assert main(["--mode", "config", "method.options", "--config.method.options.distance=mse"]) == 0
    text = capsys.readouterr().out
    assert "distance=pseudo_label  (set to mse)" in text and "method.name" not in text


def test_a_single_key_is_printed():
    assert printed(["teacher.decay"]).count("--config.") == 1
    with pytest.raises(ConfigError, match="did you mean 'teacher.decay'"):
        printed(["teacher.decoy"])
