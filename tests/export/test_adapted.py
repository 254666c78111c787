"""Runs with LoRA, in miniature: their exports and their report are of the merged network."""

import json
import re

import jax
import jax.export
import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax import build
from ipixmatch_jax.config import load_config
from ipixmatch_jax.main import main
from ipixmatch_jax.models import without_lora
from ipixmatch_jax.models.dpt import DPT_SHAPES, DptShape
from ipixmatch_jax.models.mit import MIT, MitShape
from ipixmatch_jax.models.vit import DINOV2, VitShape
from ipixmatch_jax.predictor import load_predictor
from ipixmatch_jax.weights.array_files import read_array_file
from tests.references.untrained import save_adapted

MIT_SHAPE = MitShape((8, 8, 16, 16), (1, 1, 1, 1), 8, (1, 2, 2, 2), (2, 2, 1, 1))
SIZE = (28, 42)
BACKBONES = {"segformer": "mit_b0", "dpt": "dinov2_small"}


@pytest.fixture
def saved(config_file, tmp_path, one_device, monkeypatch):
    """Saves a run with adapters that change what it predicts; returns its folder."""
    monkeypatch.setitem(MIT._entries, "mit_b0", MIT_SHAPE)
    monkeypatch.setitem(DINOV2._entries, "dinov2_small", VitShape(16, 4, 2, (0, 1, 2, 3), grid=3))
    monkeypatch.setitem(DPT_SHAPES, "dinov2_small", DptShape(6, (4, 6, 8, 10)))

    def save(model="segformer"):
        chosen = [f"model.name={model}", f"model.backbone={BACKBONES[model]}", "model.width=None"]
        chosen += ["model.depth=None", "model.lora_rank=2", "data.crop_size=(28,28)"]
        chosen += ["model.lora_targets=query,value,projection,mlp"]
        config = load_config(str(config_file), [f"--config.{one}" for one in chosen])
        teacher = save_adapted(config, tmp_path / "run")
        network = build.build_model(config)
        images = np.random.default_rng(0).normal(size=(1, 28, 28, 3)).astype(np.float32)
        apply = jax.jit(network.apply)
        adapted, bare = (apply(variables, images) for variables in (teacher, _zeroed(teacher)))
        assert np.abs(adapted - bare).max() > 1e-3
        return tmp_path / "run"

    return save


def _zeroed(variables):
    """The same network with adapters that change nothing."""
    kept = {"/".join(map(str, path)) for path, _ in _leaves(without_lora(variables))}
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf if "/".join(map(str, path)) in kept else 0 * leaf, variables
    )


def _leaves(tree):
    return jax.tree_util.tree_leaves_with_path(tree)


def photos():
    return np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)


def wanted(workdir, images):
    predictor = load_predictor(workdir)
    found = [predictor.predict(image, probs=True).probs for image in images]
    assert min(probs.std() for probs in found) > 1e-3
    return found


def export(workdir, output, *arguments):
    command = ["--workdir", str(workdir), "--mode", "export", "--network", "teacher"]
    assert main([*command, "--output", str(output), *arguments]) == 0
    return output


@pytest.mark.parametrize("model", BACKBONES)
def test_stablehlo_predicts_what_predict_does(saved, tmp_path, model):
    workdir = saved(model)
    arguments = ("--format", "stablehlo", "--size", *map(str, SIZE))
    path = export(workdir, tmp_path / "net.stablehlo", *arguments)
    found = jax.export.deserialize(bytearray(path.read_bytes())).call(photos())
    for probs, expected in zip(found["probs"], wanted(workdir, photos()), strict=True):
        np.testing.assert_allclose(probs, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", BACKBONES)
def test_onnxruntime_predicts_what_predict_does(saved, tmp_path, model):
    pytest.importorskip("jax2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    workdir = saved(model)
    arguments = ("--format", "onnx", "--size", *map(str, SIZE))
    session = onnxruntime.InferenceSession(export(workdir, tmp_path / "net.onnx", *arguments))
    for image, expected in zip(photos(), wanted(workdir, photos()), strict=True):
        (probs,) = session.run(["probs"], {"images": image[None]})
        np.testing.assert_allclose(probs[0], expected, rtol=0, atol=1e-5)


def test_transformers_predicts_what_predict_does(saved, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    workdir = saved()
    state = read_array_file(export(workdir, tmp_path / "net.npz"))
    assert not any("lora" in name for name in state)
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        decoder_hidden_size=8,
        num_attention_heads=[1, 2, 2, 2],
        sr_ratios=[2, 2, 1, 1],
        num_labels=2,
    )
    network = transformers.SegformerForSemanticSegmentation(config).eval()
    tensors = {name: torch.tensor(value) for name, value in state.items()}
    network.load_state_dict(tensors, strict=True)
    mean, std = (np.float32(v) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for image, expected in zip(photos(), wanted(workdir, photos()), strict=True):
        x = torch.tensor((image / np.float32(255) - mean) / std).permute(2, 0, 1)[None]
        with torch.no_grad():
            logits = torch.nn.functional.interpolate(
                network(x).logits, SIZE, mode="bilinear", align_corners=False
            )
            probs = torch.softmax(logits, dim=1)[0].permute(1, 2, 0)
        np.testing.assert_allclose(expected, probs, rtol=0, atol=1e-5)


def test_the_report_measures_the_network_with_its_adapters(saved, tmp_path, folder_data):
    workdir = saved()
    assert main(["--workdir", str(workdir), "--mode", "report"]) == 0
    text = (workdir / "report.html").read_text()
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1]
    (result,) = json.loads(data)["results"]
    confusion, predict = np.zeros((2, 2), int), load_predictor(workdir, network="teacher")
    for name in (f"v{number}" for number in range(5)):
        truth = np.asarray(Image.open(folder_data / "val" / "masks" / f"{name}.png"))
        mask = predict(folder_data / "val" / "images" / f"{name}.png")
        np.add.at(confusion, (truth[truth < 255], mask[truth < 255]), 1)
    assert result["confusion"]["teacher"] == confusion.tolist() and confusion.min() > 0
