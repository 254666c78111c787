"""Data sets in an object store are read like folders; fsspec's memory replaces the store."""

import contextlib
import re
import shutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import numpy as np
import pytest
from etils.epath.backend import _FileSystemSpecBackend
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from ipixmatch_jax.data import inspect_dataset, load_dataset, train_batches
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.protocols.draw import make
from ipixmatch_jax.data.tfds_builders import prepare
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.main import main
from ipixmatch_jax.paths import as_path, join, names_in, walk
from tests.references.untrained import save_untrained


class Bucket(MemoryFileSystem):
    """Objects by name, as `gcsfs` shows those of gs://."""

    protocol = ("gs", "gcs")
    store: dict = {}
    pseudo_dirs = [""]

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + str(path).removeprefix("gs://").strip("/")

    def _open(self, path, mode="rb", **options):
        assert "a" not in mode, "objects cannot be appended to"
        return super()._open(path, mode, **options)


@pytest.fixture
def upload(monkeypatch):
    """A function from a folder to the `gs://` address of its copy."""
    monkeypatch.setitem(_registry, "gcs", Bucket)
    _FileSystemSpecBackend._get_filesystem.cache_clear()
    Bucket.store.clear()

    def put(folder):
        for path in folder.rglob("*"):
            if path.is_file():
                address = f"gs://bucket/data/{path.relative_to(folder).as_posix()}"
                as_path(address).write_bytes(path.read_bytes())
        return "gs://bucket/data"

    yield put
    _FileSystemSpecBackend._get_filesystem.cache_clear()


def assert_same_sources(one, other):
    for split in ("labeled", "unlabeled", "val", "test"):
        first, second = getattr(one, split), getattr(other, split)
        assert tuple(first.ids) == tuple(second.ids)
        for index in range(len(first)):
            assert first.size(index) == second.size(index)
            for key, value in first[index].items():
                np.testing.assert_array_equal(value, second[index][key])


def test_folder_and_lists(folder_root, make_config, upload):
    for kind in ("images", "masks"):
        shutil.copytree(folder_root / "val" / kind, folder_root / "test" / "deep" / kind)
    (folder_root / "test.txt").write_text("test/deep/images/v0.png test/deep/masks/v0.png\n")
    (folder_root / "labeled.txt").write_text("\ufeffl0\nl1\nl2\nl3\n", "utf-8")
    address = upload(folder_root)
    folder_root = shutil.move(folder_root, folder_root.with_name("local"))
    folder = {"unlabeled_folders": ("test/deep/images",)}
    configs = [
        make_config(root=str(root), test="test.txt", folder=folder)
        for root in (folder_root, address)
    ]
    here, there = (load_dataset(config, 0) for config in configs)
    assert len(here.unlabeled) == 9 and len(here.test) == 1
    assert_same_sources(here, there)
    assert there.labeled.files(0) == (
        f"{address}/train/images/l0.png", f"{address}/train/masks/l0.png"
    )  # fmt: skip
    streams = [
        train_batches(dataset, config, batch_size=2, unlabeled_batch_size=4, seed=1)
        for dataset, config in zip((here, there), configs, strict=True)
    ]
    for _ in range(3):
        one, other = map(next, streams)
        for stream, part in one.items():
            for name, value in part.items():
                np.testing.assert_array_equal(value, other[stream][name])
    for stream in streams:
        stream.close()


def test_a_described_folder_and_its_inspection(folder_root, make_config, upload):
    (folder_root / "images").mkdir()
    (folder_root / "masks").mkdir()
    for name in ("l0", "l1", "l2", "l3"):
        for kind in ("images", "masks"):
            (path,) = (folder_root / "train" / kind).glob(f"{name}.*")
            shutil.copy(path, folder_root / kind)
    np.save(folder_root / "masks/l3.npy", np.ones((20, 24), np.uint8))
    (folder_root / "masks/l3.png").unlink()
    (folder_root / "classes.txt").write_text("a\nb\nc\nd\n")
    address = upload(folder_root)
    with pytest.raises(DataError, match="2 images for id 'l0'"):
        describe_folder(address)
    given = {"folder.train_images": "images", "folder.train_masks": "masks"}
    found = describe_folder(address, given)
    assert {**found, "root": ""} == {**describe_folder(str(folder_root), given), "root": ""}
    assert found["class_names"] == tuple("abcd")
    configs = [
        make_config(labeled="", unlabeled="", **{**found, "root": str(root)})
        for root in (address, folder_root)
    ]
    texts = [inspect_dataset(config, 0).text() for config in configs]
    assert texts[0].replace(address, str(folder_root)) == texts[1]
    there, here = (load_dataset(config, 0) for config in configs)
    assert_same_sources(here, there)


def test_broken_and_missing_files_are_named(folder_root, make_config, upload):
    address = upload(folder_root)
    as_path(f"{address}/train/masks/l2.png").write_bytes(b"broken")
    as_path(f"{address}/train/images/u0.png").unlink()
    with pytest.raises(DataError, match=f"{address}/train/images: no image for id 'u0'"):
        load_dataset(make_config(root=address), 0)
    with pytest.raises(DataError, match=rf"{address}/train/masks/l2\.png: cannot be read"):
        load_dataset(make_config(root=address, unlabeled=""), 0)
    with pytest.raises(DataError, match="data.root='gs://bucket/none' is not a folder"):
        load_dataset(make_config(root="gs://bucket/none"), 0)
    as_path(f"{address}/val.txt").unlink()
    with pytest.raises(DataError, match=f"{address}/val.txt: list cannot be read .not there"):
        load_dataset(make_config(root=address, unlabeled=""), 0)


def test_lists_are_drawn_from_a_bucket(folder_root, make_config, upload, tmp_path):
    config = make_config(root=upload(folder_root))
    paths = make(config, 2, 0, tmp_path / "lists")
    lines = paths[0].read_text().splitlines()
    assert len(lines) == 2
    assert all(line.startswith("train/images/l") and " train/masks/l" in line for line in lines)


def test_walking_here_and_there(tmp_path, upload):
    for name in ("b/x.png", "b/c.d/y.png", "a.png", "z/w.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    address = upload(tmp_path)
    expected = [("", ["a.png", "b", "z"]), ("b", ["c.d", "x.png"]), ("b/c.d", ["y.png"]),
                ("z", ["w.txt"])]  # fmt: skip
    for folder in (tmp_path, as_path(address)):
        assert list(walk(folder, (".png",))) == expected
        assert names_in(folder / "none") == []
    assert str(join(tmp_path, f"{address}/b")) == f"{address}/b"
    assert join(as_path(address), "/here") == as_path("/here")


class _Objects(BaseHTTPRequestHandler):
    """The part of Cloud Storage's JSON API by which array records are read."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        bucket, name = re.search(r"/b/([^/]+)/o/([^?]+)", self.path).groups()
        content = Bucket.store[f"/{bucket}/{unquote(name)}"].getvalue()
        first, last = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers["Range"]).groups()
        start = int(first) if first else max(0, len(content) - int(last))
        end = min(int(last) + 1, len(content)) if first and last else len(content)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        with contextlib.suppress(OSError):  # the reader takes what it needs, and leaves
            self.wfile.write(content[start:end])

    def log_message(self, *_):
        pass


def test_tfds_is_prepared_in_a_bucket_and_read_there(folder_root, make_config, upload, monkeypatch):
    config = make_config(root=str(folder_root), test="val.txt", folder={
        "test_images": "val/images", "test_masks": "val/masks"})  # fmt: skip
    name = prepare(config, "gs://bucket/tfds", shards=2)
    files = names_in(as_path(f"gs://bucket/tfds/{name}/1.0.0"))
    assert f"{name}-test.array_record-00001-of-00002" in files and "dataset_info.json" in files
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Objects)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", endpoint)
    splits = {split: split for split in ("labeled", "unlabeled", "val", "test")}
    there = make_config(name=f"tfds:{name}", root="gs://bucket/tfds", tfds={"id_key": "id"},
                        **splits)  # fmt: skip
    assert_same_sources(load_dataset(config, 0), load_dataset(there, 0))
    server.shutdown()
    server.server_close()


def test_predictions_are_written_to_a_bucket(config_file, folder_data, tmp_path, upload):
    save_untrained(config_file, tmp_path / "run")
    photos, here = folder_data / "val/images", tmp_path / "here"
    for output in (here, "gs://bucket/out"):
        command = ["--workdir", tmp_path / "run", "--mode", "predict", "--input", photos]
        assert main([str(part) for part in (*command, "--output", output)]) == 0
    names = names_in(here)
    assert "v0.png" in names and names == names_in(as_path("gs://bucket/out"))
    for name in names:
        assert (here / name).read_bytes() == as_path(f"gs://bucket/out/{name}").read_bytes(), name


def test_a_missing_client_is_named(capsys, config_file, monkeypatch):
    monkeypatch.delitem(_registry, "gcs", raising=False)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    _FileSystemSpecBackend._get_filesystem.cache_clear()
    arguments = ["--config", str(config_file), "--mode", "inspect", "--config.data.root=gs://b/x"]
    for command in (arguments, ["inspect", "gs://b/x"]):
        assert main(command) == 2
        message = "gs:// needs the extra gs; run: pip install 'ipixmatch-jax[gs]'\n"
        assert capsys.readouterr().err == f"ConfigError: {message}"
