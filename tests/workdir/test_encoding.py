"""A path that is no text: checkpoints cannot be saved there, so a run does not start."""

import os

import pytest

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.paths import as_path
from ipixmatch_jax.workdir.checkpoints import Checkpoints
from ipixmatch_jax.workdir.folder import make_workdir


@pytest.mark.parametrize("open_it", [make_workdir, Checkpoints])
def test_a_workdir_in_latin_1_is_refused_before_training(open_it, tmp_path):
    path = as_path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    with pytest.raises(ConfigError, match=r"caf\\udce9: this path is not text .*PYTHONUTF8=1"):
        open_it(path)
