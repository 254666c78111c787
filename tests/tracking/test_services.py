"""Tracking services: stand-ins for wandb and mlflow, and the files of TensorBoard."""

import json
import struct
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from ipixmatch_jax.config import default_config, validate
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.tracking.histograms import parameter_histograms
from ipixmatch_jax.tracking.services import check_installed
from ipixmatch_jax.tracking.writers import Writers

PICTURE = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
HISTOGRAM = (np.array([1, 0, 3]), np.array([0.0, 1.0, 2.0, 3.0]))


def config_of(*writers):
    config = default_config()
    config.tracking.writers = writers
    config.tracking.project = "digits"
    return config


def follow(workdir, *writers, start_step=0, steps=(2,)):
    with Writers(workdir, start_step, config_of(*writers)) as writing:
        for step in steps:
            values = {"loss": np.float32(0.5), "class/a (b)": 1.0, "gone": float("nan")}
            writing.write(step, values, {"images_per_second": 9.0})
            writing.write_images(step, {"validation/v 1": PICTURE})
            writing.write_histograms(step, {"params/encoder": HISTOGRAM})


@pytest.fixture
def calls(monkeypatch):
    """The calls that stand-ins for the two packages receive."""
    made = []

    def note(name, result=None):
        return lambda *args, **named: made.append((name, args, named)) or result

    def run_of(identity):
        return types.SimpleNamespace(
            id=identity, log=note("log"), finish=note("finish"),
            info=types.SimpleNamespace(run_id=identity),
        )  # fmt: skip

    wandb = types.SimpleNamespace(
        init=note("init", run_of("w1")),
        Image=lambda image: ("image", image.shape),
        Histogram=lambda np_histogram: ("histogram", np_histogram[0].tolist()),
    )
    names = ("set_experiment", "log_params", "log_metrics", "log_image", "end_run")
    mlflow = types.SimpleNamespace(
        **{name: note(name) for name in names}, start_run=note("start_run", run_of("m1"))
    )
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    return made


def test_weights_and_biases_gets_everything_and_continues_its_run(calls, tmp_path):
    follow(tmp_path, "wandb")
    (_, _, init), *rest = calls
    assert (init["project"], init["name"], init["id"]) == ("digits", tmp_path.name, None)
    assert init["config"]["optimizer.learning_rate"] == 1e-3
    assert init["config"]["tracking.writers"] == "('wandb',)"
    assert [(args[0], named) for name, args, named in rest if name == "log"] == [
        ({"loss": 0.5, "class/a (b)": 1.0}, {"step": 2}),
        ({"images_per_second": 9.0}, {"step": 2}),
        ({"validation/v 1": ("image", (4, 5, 3))}, {"step": 2}),
        ({"params/encoder": ("histogram", [1, 0, 3])}, {"step": 2}),
    ]
    assert calls[-1][0] == "finish"
    calls.clear()
    follow(tmp_path, "wandb", start_step=2, steps=(4,))
    assert (calls[0][2]["id"], calls[0][2]["resume"]) == ("w1", "allow")


def test_mlflow_gets_what_it_can_show_and_continues_its_run(calls, tmp_path):
    follow(tmp_path, "mlflow")
    asked = {name: (args, named) for name, args, named in calls}
    assert asked["set_experiment"] == (("digits",), {})
    assert asked["start_run"] == ((), {"run_name": tmp_path.name})
    assert asked["log_params"][0][0]["method.name"] == "fixmatch"
    metrics = [(args[0], named) for name, args, named in calls if name == "log_metrics"]
    assert metrics[0] == ({"loss": 0.5, "class/a _b_": 1.0}, {"step": 2})
    assert asked["log_image"][1] == {"key": "validation_v 1", "step": 2}
    assert calls[-1][0] == "end_run"
    calls.clear()
    follow(tmp_path, "mlflow", start_step=2, steps=(4,))
    assert calls[0] == ("start_run", (), {"run_id": "m1"})
    assert "log_params" not in {name for name, _, _ in calls}
    assert json.loads((tmp_path / "tracking.json").read_text()) == {"mlflow": "m1"}


def test_a_service_that_fails_does_not_end_the_run(calls, tmp_path, capsys, monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(sys.modules["mlflow"], "log_metrics", fail)
    follow(tmp_path, "mlflow", "wandb", steps=(2, 4))
    assert capsys.readouterr().out.count("MLflow logging stopped: no route") == 1
    assert len([name for name, _, _ in calls if name == "log"]) == 8
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    monkeypatch.setattr(sys.modules["mlflow"], "start_run", fail)
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match="'mlflow', which cannot be opened: no route"):
        follow(tmp_path / "other", "wandb", "mlflow")
    assert calls[-1][0] == "finish"


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_package_that_is_missing_is_named_with_its_extra(name, monkeypatch):
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr("ipixmatch_jax.tracking.services.importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=f"tracking.writers has '{name}', .*pip install {name},"):
        check_installed(("tensorboard", name))
    check_installed(("tensorboard",))  # without its package there are no event files


def test_unknown_services_and_negative_numbers_are_named():
    with pytest.raises(ConfigError, match=r"'wandbb',.; expected .* \(did you mean 'wandb'\?\)"):
        validate(config_of("wandbb"))
    config = config_of()
    config.tracking.images = -1
    with pytest.raises(ConfigError, match="tracking.images is -1; expected a whole number from 0"):
        validate(config)


def events_of(workdir):
    """The records of event files: length, checksum, protocol buffer, checksum."""
    for path in sorted(workdir.glob("events.out.tfevents.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = event_pb2.Event()
            event.ParseFromString(data[at + 12 : at + 12 + length])
            yield event
            at += 16 + length


def test_tensorboard_gets_scalars_pictures_and_histograms(tmp_path):
    follow(tmp_path, "tensorboard")
    values = {v.tag: v for event in events_of(tmp_path) for v in event.summary.value}
    assert values["loss"].simple_value == 0.5 and "gone" not in values
    image = next(v.image for tag, v in values.items() if tag.startswith("validation/"))
    assert (image.height, image.width) == (4, 5)
    histogram = values["params/encoder"].histo
    assert (histogram.num, list(histogram.bucket), histogram.sum) == (4, [1, 0, 3], 0.5 + 3 * 2.5)
    assert not any(event.session_log.status for event in events_of(tmp_path))


def test_events_that_a_killed_run_wrote_after_its_checkpoint_are_hidden(tmp_path):
    follow(tmp_path, "tensorboard", start_step=2, steps=(4,))
    (start,) = (event for event in events_of(tmp_path) if event.session_log.status)
    assert (start.step, start.session_log.status) == (3, event_pb2.SessionLog.START)


def test_events_of_a_run_that_begins_anew_are_hidden(tmp_path):
    follow(tmp_path, "tensorboard")
    assert not any(event.session_log.status for event in events_of(tmp_path))
    follow(tmp_path, "tensorboard")
    (start,) = (event for event in events_of(tmp_path) if event.session_log.status)
    assert (start.step, start.session_log.status) == (1, event_pb2.SessionLog.START)


def test_without_services_nothing_but_files(tmp_path):
    with Writers(tmp_path, 0, config_of()) as writing:
        assert not writing.shows
        writing.write(1, {"loss": 1.0}, {})
        writing.write(2, {})
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_histograms_of_parameters_by_module():
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=(size,)).astype(np.float32) for name, size in
              (("a", 50), ("b", 7), ("c", 900))}  # fmt: skip
    params = {
        "encoder": {"one": {"kernel": jnp.asarray(values["a"]), "bias": jnp.asarray(values["b"])}},
        "decoder": {"two": jnp.asarray(values["c"])},
    }
    fine = parameter_histograms(params, 3)
    assert set(fine) == {
        "params/encoder/one/kernel", "params/encoder/one/bias", "params/decoder/two"
    }  # fmt: skip
    assert set(parameter_histograms(params, 2)) == {"params/encoder/one", "params/decoder/two"}
    assert set(parameter_histograms(params, 1)) == {"params/decoder"}
    assert parameter_histograms(params, 0) == {}
    counts, edges = parameter_histograms(params, 2)["params/encoder/one"]
    expected = np.histogram(np.concatenate([values["b"], values["a"]]).astype(np.float64), 64)
    np.testing.assert_array_equal(counts, expected[0])
    np.testing.assert_allclose(edges, expected[1])
