"""Code that a run's config.json names is imported only with the user's permission."""

import json
import sys

import pytest

from ipixmatch_jax import load_predictor
from ipixmatch_jax.config import load_config, load_snapshot, write_snapshot
from ipixmatch_jax.data import find_transform
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


@pytest.fixture
def transformed(config_file, tmp_path, monkeypatch):
    """A run whose transform is a function in a file next to it."""
    run = tmp_path / "run"
    run.mkdir()
    write_snapshot(load_config(str(config_file)), run)
    saved = json.loads((run / "config.json").read_text())
    saved["data"]["transform"] = "foreign_transform:mine"
    (run / "config.json").write_text(json.dumps(saved))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield run
    sys.modules.pop("foreign_transform", None)
    find_transform.cache_clear()


def test_a_transform_is_imported_only_with_permission(transformed, tmp_path, capsys):
    (tmp_path / "foreign_transform.py").write_text(
        "import pathlib\n\npathlib.Path('imported').touch()\n\n\n"
        "def mine(image, mask, valid, rng):\n    return image, mask, valid\n"
    )
    for mode in ("eval", "predict", "export"):
        assert main(["--mode", mode, "--workdir", str(transformed)]) == 2
        text = capsys.readouterr().err
        assert "data.transform='foreign_transform:mine'" in text and "--trust" in text
    assert not (tmp_path / "imported").exists()
    load_snapshot(transformed, ["--config.data.transform="])
    assert not (tmp_path / "imported").exists()
    assert load_snapshot(transformed, trust=True).data.transform == "foreign_transform:mine"
    assert (tmp_path / "imported").exists()


def test_a_run_can_be_used_without_the_file_of_its_transform(transformed):
    assert load_snapshot(transformed, trust=True).data.transform == "foreign_transform:mine"
    with pytest.raises(ConfigError, match="No module named 'foreign_transform'"):
        load_snapshot(transformed, ["--config.data.transform=foreign_transform:other"])


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
