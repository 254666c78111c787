"""Places of results are checked before the work."""

import os

import pytest

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.outputs import (
    check_writable_file,
    check_writable_folder,
    next_command,
    next_training,
)

ROOT_USER = hasattr(os, "geteuid") and os.geteuid() == 0


def test_a_folder_is_made_and_nothing_is_left_in_it(tmp_path):
    check_writable_folder(tmp_path / "a" / "b", "--output")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_what_is_no_folder_or_no_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"--output .*file cannot be written \(File exists\)"):
        check_writable_folder(tmp_path / "file", "--output")
    with pytest.raises(ConfigError, match="is a folder; expected a file"):
        check_writable_file(tmp_path, "--output")


@pytest.mark.skipif(ROOT_USER, reason="root may write everywhere")
def test_a_folder_that_is_read_only(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="cannot be written"):
        check_writable_file(tmp_path / "report.html", "--output")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a place without writing")
def test_a_place_where_nobody_can_write():
    import pathlib

    with pytest.raises(ConfigError, match="--output /proc/self/x cannot be written"):
        check_writable_folder(pathlib.Path("/proc/self/x"), "--output")


def test_the_next_command_can_be_pasted(tmp_path):
    said = next_command(tmp_path / "my run", "--mode", "report")
    assert said.endswith(f"--workdir '{tmp_path}/my run' --mode report")
    added = next_training("--config.relation.options.eps=1e-3", "--config.note=a b")
    assert added == (
        "next: TRAINING_COMMAND --config.relation.options.eps=1e-3 '--config.note=a b'"
    )
