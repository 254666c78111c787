"""Paths of the command line and of Python."""

import pathlib

from ipixmatch_jax.cli.flags import parsed_arguments
from ipixmatch_jax.config import load_config
from ipixmatch_jax.paths import as_path
from ipixmatch_jax.photo_files.found import find_photos


def test_the_users_folder_is_meant_by_a_tilde(monkeypatch, tmp_path, config_file):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    # Shells leave the tilde of --workdir=~/run as it is.
    arguments, _ = parsed_arguments(["--workdir=~/run", "--mode=predict", "--input=~/photos"])
    assert arguments.workdir == as_path("~/run") == tmp_path / "run"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"")
    assert find_photos(arguments.input).paths == [tmp_path / "photos" / "a.png"]
    assert load_config(f"~/{config_file.name}").batch_size == 2
    for name in ("~", "a~/b", "~$photo.jpg"):
        assert as_path(name) == pathlib.Path(name)
