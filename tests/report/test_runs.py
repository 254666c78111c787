"""Runs read from disk: which ones can be compared, and how they are grouped."""

import jax
import pytest

from ipixmatch_jax.config import load_snapshot
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.main import main
from ipixmatch_jax.report.runs import check_comparable, grouped, read_run
from tests.references.untrained import save_untrained


@pytest.fixture
def one_device(monkeypatch):
    devices = jax.devices()[:1]
    monkeypatch.setattr("ipixmatch_jax.devices.parallel.jax.devices", lambda *_: devices)


def run_of(config_file, workdir, *overrides, **options):
    save_untrained(config_file, workdir, *overrides, **options)
    return read_run(workdir, load_snapshot(workdir))


def test_runs_that_must_not_stand_side_by_side(config_file, tmp_path, one_device, capsys):
    one = run_of(config_file, tmp_path / "one")
    other = run_of(config_file, tmp_path / "other", "seed=1")
    check_comparable([one, other])
    for run, protocol in ((one, "voc-blended-1_16"), (other, "voc-priority-1_16")):
        run.evaluations[-1]["protocol"] = protocol
    with pytest.raises(DataError, match="either the blended or the priority protocol"):
        check_comparable([one, other])
    run_of(config_file, tmp_path / "third", "data.image_size=(16, 16)")
    command = ["--workdir", str(tmp_path / "one"), "--mode", "report"]
    assert main([*command, "--runs", str(tmp_path / "third")]) == 2
    assert "differ in data.image_size" in capsys.readouterr().err


def test_groups_are_named_by_what_differs(config_file, tmp_path, one_device):
    runs = [
        run_of(config_file, tmp_path / f"r{i}", override)
        for i, override in enumerate(("seed=0", "seed=1", "relation.weight=0.5"))
    ]
    names = grouped(runs)
    assert [members for _, members in names] == [[0, 1], [2]]
    assert names[1][0] == "fixmatch with class_map/kl (weight 0.5)"
