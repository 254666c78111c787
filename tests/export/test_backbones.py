"""Exports of networks on ConvNeXt and DINOv3, in miniature, predict what the run predicts."""

import jax
import jax.export
import numpy as np
import pytest

from ipixmatch_jax.main import main
from ipixmatch_jax.models.convnext import CONVNEXT, ConvNextShape
from ipixmatch_jax.models.dinov3 import DINOV3, Dinov3Shape
from ipixmatch_jax.models.dpt import DPT_SHAPES, DptShape
from ipixmatch_jax.predictor import load_predictor
from ipixmatch_jax.weights.array_files import read_array_file
from tests.references.untrained import save_untrained

CONVNEXT_SHAPE = ConvNextShape((4, 6, 8, 10), (1, 1, 1, 1))
DINOV3_SHAPE = Dinov3Shape(16, 4, 2, (0, 1, 2, 3), 24)
SIZE = (32, 48)


@pytest.fixture
def saved(config_file, tmp_path, one_device, monkeypatch):
    """Saves a run without training, whose backbones are miniatures; returns its folder."""
    monkeypatch.setitem(CONVNEXT._entries, "convnext_tiny", CONVNEXT_SHAPE)
    monkeypatch.setitem(DINOV3._entries, "dinov3_small", DINOV3_SHAPE)
    monkeypatch.setitem(DPT_SHAPES, "dinov3_small", DptShape(6, (4, 6, 8, 10)))

    def save(model, backbone):
        options = [f"model.name={model}", f"model.backbone={backbone}", "data.crop_size=(32, 32)"]
        if model in ("upernet", "mlp"):
            options.append("model.decoder_channels=6")
        save_untrained(config_file, tmp_path / "run", *options)
        return tmp_path / "run"

    return save


def photos():
    return np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)


def export(workdir, output, *arguments):
    command = ["--workdir", str(workdir), "--mode", "export", "--output", str(output)]
    assert main([*command, *arguments]) == 0
    return output


@pytest.mark.parametrize(
    "model, backbone",
    [
        ("upernet", "convnext_tiny"),
        ("deeplabv3plus", "convnext_tiny"),
        ("dpt", "dinov3_small"),
        ("mlp", "dinov3_small"),
    ],
)
def test_stablehlo_predicts_what_predict_does(saved, tmp_path, model, backbone):
    workdir = saved(model, backbone)
    arguments = ("--format", "stablehlo", "--size", *map(str, SIZE))
    path = export(workdir, tmp_path / "net.stablehlo", *arguments)
    found = jax.export.deserialize(bytearray(path.read_bytes())).call(photos())
    predict = load_predictor(workdir)
    for image, probs in zip(photos(), found["probs"], strict=True):
        want = predict.predict(image, probs=True).probs
        np.testing.assert_allclose(probs, want, rtol=0, atol=1e-5)
        assert want.std() > 1e-3


def test_pytorch_predicts_what_predict_does(saved, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    workdir = saved("upernet", "convnext_tiny")
    state = read_array_file(export(workdir, tmp_path / "net.npz", "--format", "torch"))
    below = transformers.ConvNextConfig(
        hidden_sizes=list(CONVNEXT_SHAPE.widths),
        depths=list(CONVNEXT_SHAPE.depths),
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.UperNetConfig(
        backbone_config=below, hidden_size=6, num_labels=2, use_auxiliary_head=False
    )
    network = transformers.UperNetForSemanticSegmentation(config).eval()
    tensors = {name: torch.tensor(value) for name, value in state.items()}
    network.load_state_dict(tensors, strict=True)
    predict = load_predictor(workdir)
    mean, std = (np.float32(v) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for image in photos():
        x = torch.tensor((image / np.float32(255) - mean) / std).permute(2, 0, 1)[None]
        with torch.no_grad():
            probs = torch.softmax(network(x).logits, dim=1)[0].permute(1, 2, 0)
        want = predict.predict(image, probs=True).probs
        np.testing.assert_allclose(want, probs, rtol=0, atol=1e-5)


def test_the_encoder_of_dinov3_loads_strictly_into_transformers(saved, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    workdir = saved("linear", "dinov3_small")
    state = read_array_file(export(workdir, tmp_path / "net.npz", "--format", "torch"))
    shape = DINOV3_SHAPE
    config = transformers.DINOv3ViTConfig(
        hidden_size=shape.width,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        intermediate_size=shape.hidden,
        num_register_tokens=shape.registers,
    )
    encoder = {k: torch.tensor(v) for k, v in state.items() if not k.startswith("head.")}
    transformers.DINOv3ViTModel(config).load_state_dict(encoder, strict=True)
    assert {k for k in state if k.startswith("head.")} == {
        *(f"head.input_norm.{k}" for k in ("weight", "bias", "running_mean", "running_var")),
        "head.input_norm.num_batches_tracked",
        *(f"head.classifier.{k}" for k in ("weight", "bias")),
    }
