"""Networks for PyTorch."""

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ipixmatch_jax import build
from ipixmatch_jax.config import load_config, write_snapshot
from ipixmatch_jax.engine.state import create_state
from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.export import _check_finite
from ipixmatch_jax.main import main
from ipixmatch_jax.models import init_variables
from ipixmatch_jax.models.torch_bridge import from_torch
from ipixmatch_jax.weights.pretrained import load_pretrained
from ipixmatch_jax.workdir.checkpoints import Checkpoints
from ipixmatch_jax.workdir.folder import make_workdir

UNET = 'model.name = "unet"\n    config.model.width, config.model.depth = 4, 1'
DEEPLAB = {"name": "deeplabv3plus", "backbone": "resnet18"}
DEEPLAB |= {"decoder_channels": 8, "low_level_channels": 4}


@pytest.fixture
def run(config_file, tmp_path, monkeypatch):
    """(command line, student and teacher) of a run with a checkpoint, without training."""
    devices = jax.devices()[:1]
    monkeypatch.setattr("ipixmatch_jax.devices.parallel.jax.devices", lambda *_: devices)

    def make(*overrides, model=None):
        if model:
            config_file.write_text(config_file.read_text().replace(UNET, f"model.update({model})"))
        overrides = [f"--config.{override}" for override in overrides]
        config = load_config(str(config_file), overrides)
        images = build.example_images(config)
        student, teacher = (
            init_variables(build.build_model(config), jax.random.key(seed), images)
            for seed in (0, 1)
        )
        state = create_state(jax.tree.map(jnp.asarray, student), optax.identity())
        params, stats = teacher["params"], teacher["batch_stats"]
        state = state.replace(teacher_params=params, teacher_batch_stats=stats)
        make_workdir(tmp_path / "run")
        write_snapshot(config, tmp_path / "run")
        with Checkpoints(tmp_path / "run") as checkpoints:
            checkpoints.save(7, state)
        command = ["--config", config_file, "--workdir", tmp_path / "run", "--mode", "export"]
        return [str(part) for part in (*command, *overrides)], student, teacher

    return make


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_the_pytorch_model_loads_it_strictly(run, tmp_path, capsys, monkeypatch):
    torch = pytest.importorskip("torch")
    from tests.references.torch_deeplab import ResNet, TorchDeepLab

    command, _, teacher = run(model=DEEPLAB)
    path = tmp_path / "out" / "teacher.pth"
    assert main([*command, "--output", str(path), "--network", "teacher"]) == 0
    assert "teacher, step 7" in capsys.readouterr().out
    state = torch.load(path, weights_only=True)
    network = TorchDeepLab(
        ResNet("basic", (2, 2, 2, 2), "plain", 16), 2, channels=8, low_channels=4
    )
    # Exactly the arrays of the model; counters of batch norms are integers.
    assert set(state) == set(network.state_dict())
    assert state["backbone.bn1.num_batches_tracked"].dtype == torch.int64
    network.load_state_dict(state, strict=True)
    held = {name: value.numpy() for name, value in network.state_dict().items()}
    assert_equal(from_torch(held, teacher), teacher)
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, f"{path.name}.md"]


def test_weights_that_are_no_numbers_are_not_exported(tmp_path):
    with pytest.raises(CheckpointError, match="teacher of step 4 are not numbers"):
        _check_finite([np.ones(2), np.array([1, np.nan])], "teacher of step 4", tmp_path)
    _check_finite([np.ones(2), jnp.ones(2, jnp.bfloat16)], "teacher of step 4", tmp_path)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
def test_model_pretrained_reads_what_was_exported(run, tmp_path, suffix):
    command, student, teacher = run()
    path = str(tmp_path / f"w{suffix}")
    assert main([*command, "--output", path, "--network", "student", "--checkpoint", "7"]) == 0
    assert_equal(load_pretrained(teacher, path, ""), student)
    # As the files next to it: whoever may read one may read all.
    assert os.stat(path).st_mode == os.stat(f"{path}.md").st_mode


def test_of_two_networks_the_first_is_written(run, tmp_path):
    command, _, teacher = run("method.name=cps")
    path = str(tmp_path / "w.npz")
    assert main([*command, "--output", path]) == 0
    first, second = ({k: v[n] for k, v in teacher.items()} for n in ("first", "second"))
    assert_equal(load_pretrained(second, path, ""), first)
    # Of two networks both get it, except the head of the second.
    filled = load_pretrained(jax.tree.map(np.zeros_like, teacher), path, "")
    assert_equal({k: v["first"] for k, v in filled.items()}, first)
    for kind in ("params", "batch_stats"):
        assert_equal(filled[kind]["second"]["encoder"], first[kind]["encoder"])
        assert not any(leaf.any() for leaf in jax.tree.leaves(filled[kind]["second"]["head"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "w.onnx"], "'w.onnx'; expected a file that ends in .safetensors, .pth, .npz"),
        ([], "writes to --output, which is ''"),
        (["--output", "w.pth", "--layout", "resnet"], "'resnet' has no names for this encoder"),
        (["--output", "w.pth", "--layout", "resnett"], "did you mean 'resnet'"),
        (["--output", "w.pth", "--checkpoint", "9"], "no checkpoint '9'"),
    ],
)
def test_what_cannot_be_exported(run, capsys, monkeypatch, tmp_path, arguments, message):
    command, *_ = run()
    monkeypatch.chdir(tmp_path)
    assert main([*command, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not pathlib.Path("w.pth").exists()
