"""Files in the current folder that are named like modules are not imported in their place."""

import subprocess
import sys

from ipixmatch_jax.cli.import_order import prefer_packages


def test_only_a_folder_that_hides_packages_moves_to_the_end(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), "others"])
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "grain").mkdir()  # without __init__.py it hides nothing
    assert prefer_packages() == [] and sys.path[0] == str(tmp_path)
    (tmp_path / "grain/__init__.py").write_text("")
    (tmp_path / "random.py").write_text("")
    assert prefer_packages() == ["grain", "random.py"]
    assert sys.path == ["others", str(tmp_path)]


def test_a_command_next_to_such_files(tmp_path):
    for name in ("random", "json", "flax", "optax"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('hidden')\n")
    command = [sys.executable, "-m", "ipixmatch_jax.main", "--mode", "config", "optimizer"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
