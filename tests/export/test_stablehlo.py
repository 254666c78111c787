"""Networks as StableHLO, and the model cards of exports."""

import hashlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from ipixmatch_jax.main import main
from ipixmatch_jax.predictor import load_predictor
from tests.references.untrained import save_untrained

RUN = """
import sys, jax, jax.export, numpy as np
exported = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
found = exported.call(np.load(sys.argv[2]))
np.savez(sys.argv[3], **found)
assert exported.platforms == ("cpu", "cuda", "tpu")
print(sorted(name for name in sys.modules if name.split(".")[0] in ("flax", "ipixmatch_jax")))
"""


@pytest.fixture
def command(config_file, tmp_path, monkeypatch):
    devices = jax.devices()[:1]
    monkeypatch.setattr("ipixmatch_jax.devices.parallel.jax.devices", lambda *_: devices)
    save_untrained(config_file, tmp_path / "run", "method.name=cps")
    return ["--workdir", str(tmp_path / "run"), "--mode", "export", "--format", "stablehlo"]


def test_jax_alone_predicts_what_predict_does(command, tmp_path):
    # Of an odd size, and of two networks the first.
    path = tmp_path / "net.stablehlo"
    assert main([*command, "--output", str(path), "--size", "21", "27"]) == 0
    images = np.random.default_rng(0).integers(0, 256, (3, 21, 27, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    files = [str(path), str(tmp_path / "images.npy"), str(tmp_path / "found.npz")]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *files], capture_output=True, text=True, cwd="/"
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
    found = np.load(tmp_path / "found.npz")
    predict = load_predictor(tmp_path / "run")
    for image, mask, probs in zip(images, found["mask"], found["probs"], strict=True):
        want = predict.predict(image, probs=True)
        np.testing.assert_allclose(probs, want.probs, rtol=0, atol=1e-5)
        sure = np.abs(want.probs[..., 0] - 0.5) > 1e-5
        np.testing.assert_array_equal(mask[sure], want.mask[sure])


def test_a_card_says_what_the_file_is(command, tmp_path):
    path = tmp_path / "net.npz"
    assert main([*command, "--format", "torch", "--output", str(path)]) == 0
    card = (tmp_path / "net.npz.md").read_text()
    assert "and are turned upright as EXIF says" in card
    assert hashlib.sha256(path.read_bytes()).hexdigest() in card
    assert "The teacher of step 4" in card and "| mIoU | 50.00 |" in card
    assert "method: cps" in card and '"total_steps": 6' in card and "0 ground, 1 square" in card


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "w.pth"], "'w.pth'; expected a file that ends in .stablehlo"),
        (["--output", "w.stablehlo", "--size", "0", "5"], "--size is (0, 5)"),
    ],
)
def test_what_cannot_be_exported(command, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main([*command, *arguments]) == 2
    assert message in capsys.readouterr().err
