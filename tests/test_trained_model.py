"""Networks of runs with a user's own method or relation, used without the config file."""

import json

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax import load_predictor
from ipixmatch_jax.main import main
from tests.references.untrained import save_untrained


def with_own_code(workdir, **groups):
    """As if the run's config file had registered a method and a relation of these names."""
    path = workdir / "config.json"
    saved = json.loads(path.read_text())
    for group, changes in groups.items():
        saved[group] |= changes
    path.write_text(json.dumps(saved))


OWN = {
    "relation": {"name": "mine", "distance": "l1", "options": {"floor": 0.01}},
    "method": {"name": "my_method", "options": {"strength": 2}},
}


@pytest.mark.parametrize("method", ["fixmatch", "cps"])
def test_prediction_report_and_export_need_no_config_file(
    config_file, tmp_path, one_device, method, capsys
):
    workdir = tmp_path / "run"
    save_untrained(config_file, workdir, f"method.name={method}")
    photo = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    want = load_predictor(workdir).predict(photo, probs=True).probs
    with_own_code(workdir, **OWN)
    np.testing.assert_array_equal(load_predictor(workdir).predict(photo, probs=True).probs, want)
    run = ["--workdir", str(workdir), "--mode"]
    assert main([*run, "predict", "--input", str(tmp_path / "photo.png")]) == 0
    assert main([*run, "predict"]) == 0
    assert main([*run, "export", "--output", str(tmp_path / "w.npz")]) == 0
    assert main([*run, "report"]) == 0
    text = (workdir / "report.html").read_text()
    assert "my_method with mine/l1" in text and "missing" not in capsys.readouterr().out
    assert '"confusion":{' in text


def test_a_relation_among_several_is_own_code_too(config_file, tmp_path, one_device):
    save_untrained(config_file, tmp_path / "run")
    with_own_code(tmp_path / "run", relation={"more": [{"name": "mine", "distance": "l1"}]})
    load_predictor(tmp_path / "run")


def test_names_on_the_command_line_are_still_checked(config_file, tmp_path, one_device, capsys):
    save_untrained(config_file, tmp_path / "run")
    command = ["--workdir", str(tmp_path / "run"), "--mode", "predict"]
    assert main([*command, "--config.method.name=fixmacht"]) == 2
    assert "did you mean 'fixmatch'" in capsys.readouterr().err
