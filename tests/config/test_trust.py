"""Code that a run's config.json names is imported only with the user's permission."""

import json
import sys

import pytest

from ipixmatch_jax import load_predictor
from ipixmatch_jax.config import load_config, load_snapshot, write_snapshot
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.main import main

CODE = """
import dataclasses
import pathlib

pathlib.Path("imported").touch()


@dataclasses.dataclass(frozen=True)
class Mine:
    confidence: float = 0.5
    networks = 1
    uses_unlabeled = True

    def __call__(self, student, teacher, views, batch):
        raise NotImplementedError
"""


@pytest.fixture
def foreign(config_file, tmp_path, monkeypatch):
    """A run whose method is a class in a file next to it, as in a folder from another person."""
    run = tmp_path / "run"
    run.mkdir()
    write_snapshot(load_config(str(config_file)), run)
    saved = json.loads((run / "config.json").read_text())
    saved["method"]["name"] = "foreign_code:Mine"
    (run / "config.json").write_text(json.dumps(saved))
    (tmp_path / "foreign_code.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield run
    sys.modules.pop("foreign_code", None)


@pytest.mark.parametrize("mode", ["eval", "predict", "serve", "report", "export", "config"])
def test_every_mode_asks_first(foreign, tmp_path, capsys, mode):
    assert main(["--mode", mode, "--workdir", str(foreign)]) == 2
    text = capsys.readouterr().err
    assert "method.name='foreign_code:Mine'" in text and "--trust" in text
    assert str(tmp_path / "foreign_code.py") in text
    assert not (tmp_path / "imported").exists() and "foreign_code" not in sys.modules


def test_python_asks_too(foreign, tmp_path):
    with pytest.raises(ConfigError, match="trust=True"):
        load_predictor(foreign)
    assert not (tmp_path / "imported").exists()


def test_trusted_code_is_imported(foreign, tmp_path, capsys):
    assert main(["--mode", "config", "method", "--workdir", str(foreign), "--trust"]) == 0
    assert "(set to foreign_code:Mine)" in capsys.readouterr().out
    assert (tmp_path / "imported").exists()
    assert load_snapshot(foreign, trust=True).method.name == "foreign_code:Mine"


def test_a_name_that_the_user_gives_needs_no_trust(foreign, tmp_path):
    assert load_snapshot(foreign, ["--config.method.name=fixmatch"]).method.name == "fixmatch"
    assert not (tmp_path / "imported").exists()
    load_snapshot(foreign, ["--config.method.name=foreign_code:Mine"])
    assert (tmp_path / "imported").exists()
