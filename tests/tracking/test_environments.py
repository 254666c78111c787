import json

import jax
import pytest

from ipixmatch_jax.config import load_config
from ipixmatch_jax.tracking.environments import EnvironmentRecord
from ipixmatch_jax.training import train


@pytest.fixture
def where(monkeypatch):
    """The environment that the run finds; a test may change it."""
    facts = {"devices": 1, "threads": 2, "jax": "1"}
    monkeypatch.setattr("ipixmatch_jax.tracking.environments.environment", lambda: dict(facts))
    return facts


@pytest.fixture
def one_device(monkeypatch):
    devices = jax.devices()[:1]
    monkeypatch.setattr("ipixmatch_jax.devices.parallel.jax.devices", lambda *_: devices)
    # optax.adamw counts steps in int32 and raises float32 to that power.
    with jax.numpy_dtype_promotion("standard"):
        yield


def begin(workdir, step):
    said = []
    return EnvironmentRecord(workdir).begin(step, said.append), said


def test_a_change_is_said_once_and_counted(tmp_path, where):
    assert begin(tmp_path, 0) == ({}, [])
    assert begin(tmp_path, 5) == ({}, [])
    where["threads"] = 1
    numbers, said = begin(tmp_path, 7)
    assert numbers == {"environment_changes": 1}
    assert said == [
        "not bit-identical from here (step 7): threads 2 -> 1; NPROC=2 would keep the bits"
    ]
    assert begin(tmp_path, 9) == ({}, [])
    where |= {"threads": 2, "jax": "2"}
    numbers, said = begin(tmp_path, 11)
    assert numbers == {"environment_changes": 2}
    assert said == ["not bit-identical from here (step 11): threads 1 -> 2, jax 1 -> 2"]
    kept = json.loads((tmp_path / "environment.json").read_text())
    assert [(one["from_step"], one["threads"]) for one in kept] == [(0, 2), (7, 1), (11, 2)]


def test_steps_that_are_taken_again_do_not_count(tmp_path, where):
    begin(tmp_path, 0)
    where["threads"] = 1
    assert begin(tmp_path, 7)[1]
    where["threads"] = 2
    assert begin(tmp_path, 7) == ({}, [])
    assert len(json.loads((tmp_path / "environment.json").read_text())) == 1


@pytest.mark.parametrize("text", ["", "[1]", "{}", "[{}]"])
def test_a_damaged_record_stops_nothing(tmp_path, where, text):
    (tmp_path / "environment.json").write_text(text)
    assert begin(tmp_path, 3) == ({}, [])
    assert json.loads((tmp_path / "environment.json").read_text())[0]["from_step"] == 3


def test_a_resume_elsewhere_says_so(config_file, tmp_path, monkeypatch, capsys, one_device):
    run, config = tmp_path / "run", load_config(f"{config_file}:supervised")
    with monkeypatch.context() as patch:
        patch.setattr("ipixmatch_jax.training.StopSignal.__bool__", lambda self: True)
        train(config, run)
    assert "bit-identical" not in capsys.readouterr().out
    monkeypatch.setenv("NPROC", "31")
    train(config, run)
    assert "not bit-identical from here (step 1): threads" in capsys.readouterr().out
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines if x.get("environment_changes") == 1] == [2]
