"""Flags of JAX and absl on the command line."""

import jax
import pytest
from absl import flags

from ipixmatch_jax.cli.runtime_flags import pass_on
from ipixmatch_jax.main import main


@pytest.fixture
def jax_flags():
    before = jax.config.jax_debug_nans, jax.config.jax_log_compiles
    yield
    jax.config.update("jax_debug_nans", before[0])
    jax.config.update("jax_log_compiles", before[1])


def test_flags_of_jax_and_absl_are_passed_on(jax_flags):
    arguments = ["--jax_debug_nans", "--config.data.threads", "2", "--jax_log_compiles=true",
                 "--v", "-1", "stray"]  # fmt: skip
    rest = pass_on(arguments, ("--workdir",))
    assert rest == ["--config.data.threads", "2", "stray"]
    assert jax.config.jax_debug_nans and jax.config.jax_log_compiles
    assert flags.FLAGS.verbosity == -1


@pytest.mark.parametrize("argument, message", [
    ("--jax_debug_nan", "did you mean '--jax_debug_nans'"),
    ("--jax_debug_nans=3", "expected true or false"),
    ("--jax_platforms", "needs a value"),
    ("--verbosity=loud", "verbosity"),
    ("--qqqqqqqqq", "no flag --qqqqqqqqq; config keys are set by"),
])  # fmt: skip
def test_flags_that_nobody_has(capsys, argument, message):
    assert main(["--mode", "config", argument]) == 2
    text = capsys.readouterr().err
    assert message in text and text.count("\n") == 1
