"""Networks as ONNX files, compared with the network in onnxruntime."""

import sys

import jax
import numpy as np
import pytest

from ipixmatch_jax.main import main
from ipixmatch_jax.predictor import load_predictor
from tests.references.untrained import save_untrained


@pytest.fixture
def command(config_file, tmp_path, monkeypatch):
    devices = jax.devices()[:1]
    monkeypatch.setattr("ipixmatch_jax.devices.parallel.jax.devices", lambda *_: devices)
    save_untrained(config_file, tmp_path / "run")
    return ["--workdir", str(tmp_path / "run"), "--mode", "export", "--format", "onnx"]


def test_onnxruntime_predicts_what_predict_does(command, tmp_path):
    pytest.importorskip("jax2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "net.onnx"
    assert main([*command, "--output", str(path), "--size", "20", "28"]) == 0
    image = np.random.default_rng(1).integers(0, 256, (20, 28, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(path)
    mask, probs = session.run(["mask", "probs"], {"images": image[None]})
    want = load_predictor(tmp_path / "run").predict(image, probs=True)
    np.testing.assert_allclose(probs[0], want.probs, rtol=0, atol=1e-5)
    sure = np.abs(want.probs[..., 0] - 0.5) > 1e-5
    np.testing.assert_array_equal(mask[0][sure], want.mask[sure])


def test_a_file_that_differs_is_not_kept(command, tmp_path, monkeypatch, capsys):
    pytest.importorskip("jax2onnx")
    monkeypatch.setattr("ipixmatch_jax.export.onnx._TOLERANCE", -1.0)
    assert main([*command, "--output", str(tmp_path / "net.onnx")]) == 2
    assert "differs from the network by" in capsys.readouterr().err
    assert not list(tmp_path.glob("net.onnx*"))


def test_the_extra_is_named_where_it_is_missing(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    monkeypatch.setattr("ipixmatch_jax.export.restore_networks", None)  # it is not reached
    assert main([*command, "--output", str(tmp_path / "net.onnx")]) == 2
    assert "pip install 'ipixmatch-jax[onnx]'" in capsys.readouterr().err
