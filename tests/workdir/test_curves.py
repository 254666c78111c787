"""Curves of a run, read from its files."""

import pytest

from ipixmatch_jax.errors import DataError
from ipixmatch_jax.workdir.curves import read_curves


def test_curves_of_a_run_that_is_still_going(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_curves(path) == {}
    whole = '{"step": 1, "loss": 2.0, "note": "x"}\n{"step": 2, "loss": 1.0}\n'
    path.write_text(whole + '{"step": 3, "lo')
    assert read_curves(path) == {"loss": ([1, 2], [2.0, 1.0])}


@pytest.mark.parametrize("line", ["garbage", "[1]", '{"loss": 1}'])
def test_a_line_that_is_none_of_a_run_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n' + line + "\n")
    with pytest.raises(DataError, match="metrics.jsonl, line 2"):
        read_curves(path)
