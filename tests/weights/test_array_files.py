"""Damaged and hostile .npz and .safetensors files: arrays of numbers, or a CheckpointError."""

import io
import json
import random
import struct
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save

from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.weights.array_files import read_array_file

ARRAYS = {"a.weight": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.int64([7])}


def npz(**members):
    """An .npz file of these members' raw bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return stream.getvalue()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def header(shape, dtype="<f4"):
    text = str({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (118 - len(text)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + b"\0" * 48


def whole_npz(compressed=False):
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, **ARRAYS)
    return stream.getvalue()


def bomb():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("a.npy", "w") as member:
            member.write(header((2**28,), "|u1"))
            for _ in range(260):
                member.write(bytes(2**20))
    return stream.getvalue()


def tensors(content, data=b"\0" * 16):
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + data


BAD = {
    "empty.npz": b"",
    "text.npz": b"not a zip",
    "array.npz": npy(ARRAYS["b"]),
    "cut.npz": whole_npz()[:-30],
    "cut_early.npz": whole_npz()[:300],
    "packed_and_cut.npz": whole_npz(compressed=True)[:200],
    "no_array.npz": npz(a__npy=b"hello"),
    "other_file.npz": npz(readme__txt=b"hello"),
    "text_array.npz": npz(a__npy=npy(np.array(["x"]))),
    "huge.npz": npz(a__npy=header((10**6, 10**6))),
    "negative.npz": npz(a__npy=header((-1, 4))),
    "overflow.npz": npz(a__npy=header((2**62, 4))),
    "bad_type.npz": npz(a__npy=header((3,), "<q9")),
    "short.npz": npz(a__npy=header((40,))),
    "version.npz": npz(a__npy=b"\x93NUMPY\x09\x00" + b"\0" * 100),
    "header.npz": npz(a__npy=b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4' " + b"\0" * 50),
    "bomb.npz": bomb(),
    "empty.safetensors": b"",
    "text.safetensors": b"not tensors at all",
    "long_header.safetensors": struct.pack("<Q", 2**60) + b"{}",
    "json.safetensors": tensors(b"{not json"),
    "offsets.safetensors": tensors({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 99]}}),
    "shape.safetensors": tensors({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 16]}}),
    "type.safetensors": tensors({"a": {"dtype": "F99", "shape": [4], "data_offsets": [0, 16]}}),
    "cut.safetensors": save(ARRAYS)[:-9],
}


def test_whole_files_are_read(tmp_path):
    contents = {"a.npz": whole_npz(), "b.npz": whole_npz(True), "c.safetensors": save(ARRAYS)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        found = read_array_file(tmp_path / name)
        assert found.keys() == ARRAYS.keys()
        for key, array in ARRAYS.items():
            np.testing.assert_array_equal(found[key], array)


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(BAD[name])
    with pytest.raises(CheckpointError, match=rf"{name}: "):
        read_array_file(tmp_path / name)


def test_folders_and_lost_files(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    for name in ("folder.npz", "lost.npz", "lost.safetensors"):
        with pytest.raises(CheckpointError, match=name):
            read_array_file(tmp_path / name)


@pytest.mark.parametrize("name, whole", [
    ("a.npz", whole_npz()), ("b.npz", whole_npz(True)), ("c.safetensors", save(ARRAYS)),
])  # fmt: skip
def test_flipped_and_cut_bytes(tmp_path, name, whole):
    chance, path = random.Random(name), tmp_path / name
    for _ in range(150):
        content = bytearray(whole[: chance.choice((len(whole), chance.randrange(len(whole))))])
        for _ in range(chance.choice((0, 1, 3, 20)) * bool(content)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content)
        try:
            arrays = read_array_file(path)
        except CheckpointError as error:
            assert name in str(error)
        else:
            assert all(isinstance(array, np.ndarray) for array in arrays.values())
