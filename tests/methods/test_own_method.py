"""The example of docs/methods.md works as printed; two networks train as one."""

import re

import jax
import numpy as np
import pytest

from ipixmatch_jax.config import load_config
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.methods import make_method
from ipixmatch_jax.training import train
from tests.references import ROOT

PAGE = ROOT / "docs" / "methods.md"


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    devices = jax.devices()[:1]
    monkeypatch.setattr("ipixmatch_jax.devices.parallel.jax.devices", lambda *_: devices)
    # optax.adamw counts steps in int32 and raises float32 to that power.
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_the_method_of_the_docs_trains(tmp_path, config_file, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code.count("\n") < 60
    (tmp_path / "my_methods.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = load_config(str(config_file), ["--config.method.name=my_methods:TwoStrong"])
    state = train(config, tmp_path / "run")
    assert int(state.step) == config.total_steps


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["name=cps", "labeler=peer"])
def test_two_networks_train_and_are_evaluated_with_measured_class_weights(
    config_file, tmp_path, choice
):
    overrides = [f"--config.method.{choice}", "--config.supervised.weighting=inverse_frequency"]
    state = train(load_config(str(config_file), overrides), tmp_path / "run")
    first, second = (jax.tree.leaves(state.params[name]) for name in ("first", "second"))
    assert any(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert (tmp_path / "run" / "eval" / "6.json").exists()


@pytest.mark.parametrize("name", ["nowhere:Mine", "dataclasses:Mine", "json:dumps", ":"])
def test_what_is_no_method_is_named(name):
    with pytest.raises(ConfigError, match="method.name is"):
        make_method(name, {})


def test_a_method_without_the_base_class_gets_the_defaults_of_the_protocol(tmp_path, monkeypatch):
    (tmp_path / "bare_methods.py").write_text(
        "import dataclasses\n\n\n@dataclasses.dataclass(frozen=True)\nclass Bare:\n"
        "    rate: float = 0.5\n\n    def __call__(self, student, teacher, views, batch): ...\n"
        "\n\nclass Two(Bare):\n    networks = 2\n\n\nclass Labeled(Bare):\n"
        "    uses_unlabeled = False\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    method = make_method("bare_methods:Bare", {"options": {"rate": 0.25}, "mix": "same"})
    assert (method.rate, method.mix, method.networks, method.uses_unlabeled) == (
        0.25, "stream", 1, True,
    )  # fmt: skip
    assert method.labeling_network == "teacher"
    assert make_method("bare_methods:Two", {}).labeling_network == "student"
    assert make_method("bare_methods:Labeled", {}).labeling_network == ""
    assert type(method) is type(make_method("bare_methods:Bare", {}))
