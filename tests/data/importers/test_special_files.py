"""Pipes and links in circles among the images: never opened, never followed."""

import os

import pytest

from ipixmatch_jax.data.files.images import read_image
from ipixmatch_jax.data.importers import read_folder
from ipixmatch_jax.errors import DataError
from tests.references.exports import mask, photo, truth


def test_pipes_and_circles_are_left_out(tmp_path):
    for number in range(3):
        photo(tmp_path / f"images/{number}.png", number)
        mask(tmp_path / f"masks/{number}.png", truth())
    os.mkfifo(tmp_path / "images/pipe.png")
    (tmp_path / "images/circle.png").symlink_to("circle.png")
    _, _, found = read_folder(tmp_path, {})
    warnings = "\n".join(found.warnings)
    assert "1 pipes, sockets or devices are left out: images/pipe.png" in warnings
    assert "1 symbolic links lead nowhere: images/circle.png" in warnings


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="pipe.png: .*a pipe, socket or device"):
        read_image(tmp_path / "pipe.png")
