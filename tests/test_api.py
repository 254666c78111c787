"""`import ipixmatch_jax as ipm`: results are returned, and nothing is printed unless asked."""

import json
import os
import subprocess
import sys
import textwrap
import threading
import types

import jax
import numpy as np
import pytest

import ipixmatch_jax as ipm
from ipixmatch_jax.config import flatten
from ipixmatch_jax.config import load_config as load_by_arguments
from ipixmatch_jax.errors import ConfigError
from tests.references import ROOT
from tests.references.photos import image_of


@pytest.fixture(autouse=True)
def standard_promotion():
    # optax.adamw counts steps in int32 and raises float32 to that power.
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_the_names_are_there_without_loading_jax():
    code = (
        "import sys, ipixmatch_jax as ipm; names = dir(ipm);"
        "print(set(ipm.__all__) <= set(names), 'jax' in sys.modules);"
        "print(all(hasattr(ipm, name) for name in ipm.__all__))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False", "True"], done.stderr


def test_the_function_stays_the_function():
    """Also after the modules that do the work are imported."""
    import ipixmatch_jax.evaluation
    import ipixmatch_jax.training

    assert callable(ipm.train) and callable(ipm.evaluate)
    assert ipm.train is not ipixmatch_jax.training.train


@pytest.mark.parametrize("name, place", [("train", "training"), ("evaluate", "evaluation")])
def test_former_modules_can_be_imported_and_called(name, place):
    code = (
        f"from ipixmatch_jax.{name} import {name}; from ipixmatch_jax import {place} as moved;"
        f"import ipixmatch_jax as ipm; print({name} is moved.{name});"
        f"import ipixmatch_jax.api as api; api.{name} = lambda x, y: (x, y);"
        f"print(ipm.{name}(1, y=2) == (1, 2))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"], done.stderr


def test_a_notebook_trains_evaluates_and_predicts_quietly(config_file, tmp_path, one_device, capfd):
    config = ipm.load_config(str(config_file), {"total_steps": 4, "eval_every": 2})
    config.method.ramp_start = 1
    result = ipm.train(config, tmp_path / "run")
    scores = ipm.evaluate(tmp_path / "run")
    mask = result.predictor()(image_of(20, 24))
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""

    assert result.step == 4 and result.finished and result.config.method.ramp_start == 1
    record = json.loads((tmp_path / "run" / "eval" / "4.json").read_text())
    assert [one["step"] for one in result.evaluations] == [2, 4]
    assert result.evaluations[-1] == record
    assert result.summary["teacher"]["last"] == {"step": 4, "miou": record["teacher"]["miou"]}
    assert scores["teacher"]["miou"] == record["teacher"]["miou"]
    assert {line["step"] for line in result.metrics} == {1, 2, 3, 4}
    assert any("loss_relation" in line for line in result.metrics)
    assert mask.shape == (20, 24) and mask.dtype == np.uint8
    assert "step 4 of 4; mIoU student" in repr(result)
    assert "the first step waits for the compiler" in result.text
    assert all(isinstance(advice, str) for advice in result.advice)

    # Longer, from a thread as servers have them, with everything on the screen.
    config.total_steps, results = 5, []

    def go_on():
        with jax.numpy_dtype_promotion("standard"):
            results.append(ipm.train(config, tmp_path / "run", verbose=True))

    thread = threading.Thread(target=go_on)
    thread.start()
    thread.join()
    captured = capfd.readouterr()
    assert captured.out == results[0].text + "\n" and captured.err == ""
    assert "resumed from step 4 of 5" in captured.out
    assert "total_steps was 4 and is now 5" in captured.out

    # Quiet again: what should not be missed is a Python warning.
    config.total_steps = 6
    with pytest.warns(UserWarning, match="total_steps was 5 and is now 6"):
        assert ipm.train(config, tmp_path / "run").step == 6


OVERRIDES = {
    "total_steps": np.int64(7),
    "data": {"crop_size": (48, 64), "class_names": ["sky", "road, wet"]},
    "data.root": ROOT / "some folder",
    "optimizer.learning_rate": np.float32(0.5),
    "model.dtype": "bfloat16",
    "data.quarter_turns": False,
    "eval.window": np.array([33, 65]),
    "model.norm": None,
}
ARGUMENTS = [
    "--config.total_steps=7",
    "--config.data.crop_size=(48, 64)",
    "--config.data.class_names=('sky', 'road, wet')",
    f"--config.data.root={ROOT / 'some folder'}",
    "--config.optimizer.learning_rate=0.5",
    "--config.model.dtype=bfloat16",
    "--config.data.quarter_turns=False",
    "--config.eval.window=(33, 65)",
    "--config.model.norm=None",
]


def test_overrides_are_those_of_the_command_line():
    ours = dict(flatten(ipm.load_config("demo", OVERRIDES)))
    assert ours == dict(flatten(load_by_arguments("demo", ARGUMENTS)))
    assert ours["data.class_names"] == ("sky", "road, wet") and ours["total_steps"] == 7


def test_every_wrong_key_is_named_at_once():
    with pytest.raises(ConfigError, match="(?s)total_stps.*did you mean.*batch_size is 'many'"):
        ipm.load_config("demo", {"total_stps": 3, "batch_size": "many"})


def test_lost_weights_are_a_warning_and_options_of_another_model_are_not(recwarn):
    config = ipm.load_config("voc", {"model.name": "unet"})
    assert config.model.backbone is None and config.model.pretrained == "none"
    (warning,) = recwarn
    assert "training starts from random weights" in str(warning.message)


@pytest.mark.parametrize("call", ["evaluate", "load_predictor"])
def test_a_misspelt_network_is_an_error(run, call):
    workdir, _, _ = run
    with pytest.raises(ConfigError, match=r"no network 'techer'; expected .*mean 'teacher'"):
        getattr(ipm, call)(workdir, network="techer")


def test_no_library_logs_in_a_fresh_process(config_file, tmp_path):
    """Orbax and absl log to standard error of a process that has not set them up."""
    script = textwrap.dedent(
        f"""
        import ipixmatch_jax as ipm

        config = {f"{config_file}:supervised"!r}
        config = ipm.load_config(config, {{"total_steps": 2, "eval_every": 2}})
        ipm.train(config, "run")
        ipm.evaluate("run")
        ipm.load_predictor("run")
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        # The level hides what XLA itself writes when a busy machine compiles slowly.
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_result_is_found_from_another_folder(run, monkeypatch, tmp_path):
    workdir = run[0]
    state = types.SimpleNamespace(step=4)
    monkeypatch.setattr("ipixmatch_jax.api.training.train", lambda *_, **__: state)
    monkeypatch.chdir(workdir.parent)
    result = ipm.train(run[1], workdir.name)
    monkeypatch.chdir(tmp_path.parent)
    assert result.workdir == workdir and result.evaluations and result.summary
