import zipfile

import numpy as np
import pytest

from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.weights.torch_reader import read_torch_file
from ipixmatch_jax.weights.torch_writer import write_torch_file


def arrays():
    rng = np.random.default_rng(0)
    return {
        "layer.0.weight": rng.normal(size=(3, 4, 5)).astype(np.float32),
        "layer.0.transposed": rng.normal(size=(3, 4)).T,
        "norm.num_batches_tracked": np.zeros((), np.int64),
        "empty": np.zeros((0, 3), np.float32),
        "half": np.float16([1.5, -2]),
        "übung": np.int64([2**40, -1]),
        "mask": np.array([True, False]),
        "bytes": np.arange(5, dtype=np.uint8),
        "small": np.int32([[-7]]),
    }


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape, name
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_our_reader_reads_it_back(tmp_path):
    write_torch_file(tmp_path / "a.pth", arrays())
    assert_same(read_torch_file(tmp_path / "a.pth"), arrays())
    write_torch_file(tmp_path / "b.pth", arrays())
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


@pytest.mark.parametrize("mmap", [False, True])
def test_torch_reads_it_without_unpickling_objects(tmp_path, mmap):
    torch = pytest.importorskip("torch")
    write_torch_file(tmp_path / "a.pth", arrays())
    loaded = torch.load(tmp_path / "a.pth", weights_only=True, mmap=mmap)
    assert_same({name: tensor.numpy() for name, tensor in loaded.items()}, arrays())
    assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in loaded.values())


def test_data_lies_on_boundaries_of_64_bytes(tmp_path):
    write_torch_file(tmp_path / "a.pth", arrays())
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            header = 30 + len(info.filename.encode()) + len(info.extra)
            assert (info.header_offset + header) % 64 == 0


def test_dtypes_that_are_not_written_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="'?w'? has the dtype complex64"):
        write_torch_file(tmp_path / "a.pth", {"w": np.zeros(2, np.complex64)})
