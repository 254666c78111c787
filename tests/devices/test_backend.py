"""Platform variables that do not fit the machine, idle GPUs and broken drivers."""

import os
import subprocess
import sys

import jax
import pytest

from ipixmatch_jax.devices import backend
from ipixmatch_jax.devices.backend import check_backend, check_variables, check_xla_flags
from ipixmatch_jax.errors import ConfigError


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ("--xla_nope=3", "Unknown flag in XLA_FLAGS: --xla_nope=3"),
        ("--xla_force_host_platform_device_count=x", "Couldn't interpret value x for flag"),
        ("no_such_file", 'Could not open file "no_such_file"'),
    ],
)
def test_wrong_xla_flags_are_named(flags, problem):
    with pytest.raises(ConfigError) as caught:
        check_xla_flags({"XLA_FLAGS": flags})
    assert f"XLA_FLAGS is {flags!r}: {problem}" in str(caught.value)


def test_good_xla_flags_pass():
    check_xla_flags({})
    check_xla_flags({"XLA_FLAGS": "--xla_force_host_platform_device_count=2"})


@pytest.mark.parametrize("platform", ["cuda", "gpu", "tpu", "nonsense"])
def test_a_platform_left_over_is_one_message(platform, tmp_path, config_file):
    done = subprocess.run(
        [sys.executable, "-m", "ipixmatch_jax.main", "--config", config_file,
         "--workdir", tmp_path / "run"],
        env={**os.environ, "JAX_PLATFORMS": platform, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    (message,) = [line for line in done.stderr.splitlines() if line.startswith("ConfigError")]
    assert f"JAX_PLATFORMS is '{platform}'" in message and "unset it" in message
    assert not (tmp_path / "run").exists()


@pytest.fixture
def gpu_files(tmp_path):
    (tmp_path / "nvidia0").touch()
    (tmp_path / "nvidiactl").touch()
    return tmp_path


def test_an_idle_gpu_is_reported(gpu_files, tmp_path_factory, monkeypatch):
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    assert "ipixmatch-jax[cuda13]" in check_backend({}, gpu_files)
    assert not check_backend({"JAX_PLATFORMS": "cpu"}, gpu_files)
    assert not check_backend({"CUDA_VISIBLE_DEVICES": "-1"}, gpu_files)
    assert not check_backend({}, tmp_path_factory.mktemp("dev"))


def test_a_gpu_that_jax_is_installed_for_but_cannot_use(gpu_files, monkeypatch):
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: name)
    errors = {"cuda": "operation cuInit(0) failed: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH\nmore"}
    monkeypatch.setattr(sys.modules["jax._src.xla_bridge"], "_backend_errors", errors)
    with pytest.raises(ConfigError, match=r"cannot use it \(.*DRIVER_MISMATCH\); check that nvid"):
        check_backend({}, gpu_files)


def test_a_backend_that_does_not_start(monkeypatch):
    def fail():
        raise RuntimeError("Unable to initialize backend 'cuda': INTERNAL: no driver\nmore")

    monkeypatch.setattr(jax, "default_backend", fail)
    with pytest.raises(ConfigError, match="accelerator: 'cuda': INTERNAL: no driver; repair"):
        check_backend({})


def test_variables_that_are_left_over_from_a_search_for_faults():
    assert check_variables({}) == check_variables({"JAX_DISABLE_JIT": "0"}) == ""
    assert "JAX_DISABLE_JIT is set" in check_variables({"JAX_DISABLE_JIT": "True"})
    with pytest.raises(ConfigError, match="JAX_NUMPY_DTYPE_PROMOTION is 'strict'"):
        check_variables({"JAX_NUMPY_DTYPE_PROMOTION": "strict"})
