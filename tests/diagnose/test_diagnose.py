"""`--mode diagnose` from the command line, on runs that were saved without training."""

import json
import os
import tempfile

import numpy as np
import pytest

from ipixmatch_jax.diagnose import diagnose, losses
from ipixmatch_jax.diagnose.alignment import Alignment, Estimate
from ipixmatch_jax.diagnose.losses import RELATION_LIST, keys, title
from ipixmatch_jax.diagnose.measure import Measured
from ipixmatch_jax.engine.objective import Objective
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.main import main
from ipixmatch_jax.report import contents
from ipixmatch_jax.report.runs import read_run
from tests.references.untrained import save_untrained

FEW = ["--relations", "affinity/corr:on=features,region=valid", "--thresholds", "0.4", "0"]
SMALL = ("model.width=4", "model.depth=1", "data.crop_size=(16,16)", "batch_size=2")


def test_a_run_of_ones_own_folder_needs_no_option(run, capsys):
    workdir, config, _ = run
    assert main(["--mode", "diagnose", "--workdir", str(workdir)]) == 0
    printed = capsys.readouterr().out
    long = [line for line in printed.splitlines() if len(line) > 80]
    assert all(str(workdir) in line for line in long)  # A path may need more columns.
    record = json.loads((workdir / "diagnose" / "4.json").read_text())
    assert (record["step"], record["split"]) == (4, "val")
    assert (record["images"], record["batches"]) == (5, 3)
    names = [one["name"] for one in record["losses"]]
    own = [one["name"] for one in record["losses"] if one["own"]]
    assert own == ["supervised", "pseudo-labels of the run", "class_map/kl T 1, confident"]
    # The run's own relation is in the list of all, and measured once.
    relations = [one for one in record["losses"] if one["kind"] == "relation"]
    assert len(names) == len(set(names)) and len(relations) == 14
    pseudo = record["losses"][1]
    assert pseudo["norm"][0] == pytest.approx(1, abs=1e-5) and pseudo["extra_truth"] is None
    for one in record["losses"]:
        # Labels of a network without training may reach no threshold.
        assert one["name"] in printed and (one["truth"] or one["kind"] == "hard")
    assert "The run's class_map/kl T 1, confident is" in " ".join(printed.split())
    assert f"written to {workdir / 'diagnose' / '4.json'}" in printed
    shown = contents([read_run(workdir, config)])["runs"][0]["diagnosis"]
    assert shown == record


def test_a_small_run_of_digits(tmp_path, one_device, capsys):
    run, out = tmp_path / "run", tmp_path / "elsewhere" / "found.json"
    save_untrained("demo:fixmatch", run, *SMALL, "unlabeled_batch_size=2")
    command = ["--mode", "diagnose", "--workdir", str(run), *FEW, "--output", str(out)]
    assert main([*command, "--batches", "3", "--share", "0.2"]) == 0
    record = json.loads(out.read_text())
    assert not (run / "diagnose").exists()
    assert record["images"] == 200 and record["recommendation"]["share"] == 0.2
    assert [one["name"] for one in record["losses"]][-1] == "affinity/corr decoder, valid"
    before = out.read_bytes()
    assert main([*command, "--batches", "3", "--share", "0.2"]) == 0
    assert out.read_bytes() == before


def test_a_run_of_somebody_else(run, tmp_path, capsys, monkeypatch):
    workdir, config, _ = run
    estimate = Estimate(0.5, np.array([0.4, 0.5, 0.6]))
    of_run = (losses.supervised(Objective()), losses.pseudo_labels(Objective()))
    found = [Measured(loss, Alignment(*[estimate] * 5)) for loss in of_run]
    monkeypatch.setattr("ipixmatch_jax.diagnose.measure", lambda *_: found)
    monkeypatch.setattr("ipixmatch_jax.diagnose.build.build_relations", lambda _: ())
    user, top = os.geteuid(), tempfile.gettempdir()
    above = [path for path in tmp_path.parents if str(path).startswith(top) and str(path) != top]
    folders = [path for path in (workdir, *workdir.rglob("*")) if path.is_dir()]
    for path in folders:
        path.chmod(0o555)
    try:
        if user == 0:  # root may write anywhere; nobody may not, but has to reach the data
            for folder in (tmp_path, *above):
                folder.chmod(0o755)
            os.seteuid(65534)
        record = diagnose(config, workdir)
    finally:
        os.seteuid(user)
        for path in folders:
            path.chmod(0o755)
    printed = capsys.readouterr().out
    assert ".50±.12" in printed and "nothing is written: " in printed and "Permission" in printed
    assert record["step"] == 4 and not (workdir / "diagnose").exists()


@pytest.mark.parametrize(("name", "metric"), [("u2pl", "contrast of the method"), ("cps", "")])
def test_other_methods(config_file, tmp_path, one_device, name, metric):
    config, *_ = save_untrained(config_file, tmp_path / "run", f"method.name={name}")
    record = diagnose(config, tmp_path / "run", relations=["class_map/corr"], thresholds=[0.0])
    found = {one["name"]: one for one in record["losses"]}
    assert not metric or found[metric]["own"]
    assert np.isfinite(found["hard labels, confidence 0"]["truth"]).all()


def test_what_cannot_be_diagnosed(config_file, tmp_path, one_device, capsys):
    run = tmp_path / "run"
    save_untrained(config_file, run, "method.name=supervised", "relation.name=none")
    start = ["--mode", "diagnose", "--workdir", str(run)]
    fixmatch = "--config.method.name=fixmatch"
    for options, message in (
        ([], "'supervised', which has no pseudo-labels to compare with"),
        ([fixmatch, "--relations", "afinity/kl"], "did you mean 'affinity"),
        ([fixmatch, "--relations", "affinity/kl:strid=2"], "'stride'"),
        ([fixmatch, "--thresholds", "1.5"], "--thresholds 1.5: expected nu"),
        ([fixmatch, "--temperatures", "0"], "--temperatures 0: expected nu"),
        ([fixmatch, "--share", "0"], "--share 0: expected a number above 0"),
        (
            [fixmatch, "--split", "labeled"],
            "labeled images that the run did",
        ),
        (["--config.relation.name=mine"], "relation.name"),
    ):
        assert main([*start, *options]) == 2, options
        text = capsys.readouterr().err
        assert message in text and "Traceback" not in text, text


def test_relations_that_are_asked_for():
    made = losses.relations(Objective(), RELATION_LIST, ("valid",), (), (113, 113))
    assert [one.name for one in made] == [
        "class_map/kl T 1, valid",
        "class_map/kl T 4, valid",
        "class_map/corr present, valid",
        "affinity/kl T 0.1 stride 4, valid",
        "affinity/kl T 1 stride 4, valid",
        "affinity/mse, valid",
        "affinity/corr, valid",
    ]
    text = "affinity/kl:temperature=0.5,stride=3,region=confident,classes=present,cosine=True"
    (one,) = losses.relations(Objective(), [text], losses.REGIONS, (2.0,), (16, 16))
    assert title(one.relation) == "affinity/kl T 0.5 present cosine stride 3, confident"
    assert keys(one.relation) == {
        "name": "affinity",
        "distance": "kl",
        "region": "confident",
        "temperature": 0.5,
        "classes": "present",
        "cosine": True,
        "stride": 3,
    }
    both = losses.relations(Objective(), ["class_map/kl"], losses.REGIONS, (2.0, 8.0), (16, 16))
    assert len(both) == 4
    with pytest.raises(ConfigError, match=r"relation\.stride is 'a'"):
        losses.relations(Objective(), ["affinity/kl:stride=a"], ("valid",), (), (16, 16))


def test_a_damaged_diagnosis_is_named(config_file, tmp_path, one_device, capsys):
    run = tmp_path / "run"
    save_untrained(config_file, run)
    (run / "diagnose").mkdir()
    (run / "diagnose" / "4.json").write_text('{"step": 4')
    assert main(["--workdir", str(run), "--mode", "report"]) == 2
    assert "diagnose/4.json cannot be read" in capsys.readouterr().err
