import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.weights.torch_reader import read_torch_file

# The legacy form: magic number, protocol version and system info, then the object itself.
HEADER = b"".join(
    pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
)
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
FLOATS = b"ctorch\nFloatStorage\n"


class Call:
    """Pickles as a call of `function` with `arguments`, as an attacker would write it."""

    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


def as_legacy(path, body, keys=(), buffers=()):
    data = b"".join(struct.pack("<q", len(b) // 4) + b for b in buffers)
    path.write_bytes(HEADER + body + pickle.dumps(list(keys), 2) + data)


def as_zip(path, body, keys=(), buffers=()):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", body)
        for key, data in zip(keys, buffers, strict=True):
            archive.writestr(f"archive/data/{key}", data)


@pytest.fixture(params=[as_legacy, as_zip])
def write(request):
    return request.param


def tensor(numel=6, offset=0, shape=(2, 3), strides=(3, 1)):
    """The pickle of {'w': tensor} over a float32 storage '0' that claims `numel` elements."""

    def plain(value):
        return pickle.dumps(value, 2)[2:-1]  # without PROTO and STOP

    storage = b"(" + plain("storage") + FLOATS + plain("0") + plain("cpu") + plain(numel) + b"tQ"
    arguments = storage + plain(offset) + plain(shape) + plain(strides) + b"\x89" + plain({})
    # plain() memoizes at slot 0 each time, which is harmless: nothing here is read back.
    return b"\x80\x02}" + plain("w") + REBUILD + b"(" + arguments + b"tRs."


DATA = np.arange(6, dtype="<f4").tobytes()


def refused(path, reason):
    with pytest.raises(CheckpointError, match=reason) as error:
        read_torch_file(path)
    assert str(path) in str(error.value)


def test_a_hand_made_tensor_is_read(write, tmp_path):
    path = tmp_path / "x.pth"
    write(path, tensor(), ["0"], [DATA])
    np.testing.assert_array_equal(read_torch_file(path)["w"], np.arange(6.0).reshape(2, 3))
    write(path, tensor(offset=1, shape=(2, 2), strides=(1, 3)), ["0"], [DATA])
    np.testing.assert_array_equal(read_torch_file(path)["w"], [[1, 4], [2, 5]])


def test_hostile_pickles_run_nothing(write, tmp_path):
    path, marker = tmp_path / "x.pth", tmp_path / "ran"
    hostile = {
        "system": pickle.dumps({"a": Call(os.system, f"touch {marker}")}, 2),
        "eval": pickle.dumps({"a": Call(eval, f"open({str(marker)!r}, 'w')")}, 4),
        "nested": pickle.dumps(Call(getattr, Call(__import__, "os"), "system"), 2),
        "other": b"\x80\x02ctorch._utils\n_rebuild_wrapper_subclass\n)R.",
        "torch": b"\x80\x02ctorch\nload\nX\x01\x00\x00\x00a\x85R.",
        "dotted": b"\x80\x04\x8c\x0bcollections\x8c\x16OrderedDict.fromkeys.x\x93)R.",
        "object": b"(cos\nsystem\nX\x01\x00\x00\x00ao.",
        "instance": b"(ios\nsystem\n.",
    }
    for name, body in hostile.items():
        write(path, body)
        with pytest.raises(CheckpointError, match=str(path)):
            read_torch_file(path)
        assert not marker.exists(), name
    write(path, hostile["system"])
    refused(path, "asks for the Python object '(posix|nt).system', which is never loaded")


def test_allowed_names_with_hostile_arguments(write, tmp_path):
    path = tmp_path / "x.pth"
    bodies = [
        b"\x80\x02" + REBUILD + b")R.",
        b"\x80\x02" + REBUILD + b"(K\x01K\x01K\x01K\x01K\x01K\x01tR.",
        b"\x80\x02ctorch._utils\n_rebuild_parameter\n(K\x01K\x01K\x01tR.",
        b"\x80\x02" + FLOATS + b")R.",
        b"\x80\x02ccollections\nOrderedDict\n}b.",
        b"\x80\x02]r\xff\xff\xff\x7f.",
        b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"K\x01s.",
        b"\x80\x02X\xff\xff\xff\x7fabc.",
        b"\x80\x02R.",
    ]
    for body in bodies:
        write(path, body)
        refused(path, "cannot read")


@pytest.mark.parametrize(
    "wrong",
    [
        {"strides": (-3, 1)},
        {"strides": (3, 2)},
        {"offset": 1},
        {"offset": -1},
        {"shape": (2**62, 2**62), "strides": (0, 0)},
        {"shape": (2, 3, 1), "strides": (3, 1)},
        {"shape": (2.0, 3)},
        {"shape": (10**6,), "strides": (0,)},
        {"numel": -6},
        {"numel": 2**40},
        {"numel": 7},
    ],
    ids=str,
)
def test_sizes_that_do_not_fit(write, tmp_path, wrong):
    path = tmp_path / "x.pth"
    write(path, tensor(**wrong), ["0"], [DATA])
    refused(path, "cannot read")


def test_every_truncation_is_refused(write, tmp_path):
    path = tmp_path / "x.pth"
    write(path, tensor(), ["0"], [DATA])
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refused(path, "cannot read")
    path.write_bytes(whole + b"more")
    refused(path, "cannot read")


def test_files_of_another_kind(tmp_path):
    path = tmp_path / "x.pth"
    refused(path, "No such file")
    for content in (b"", b"hello", bytes(600), pickle.dumps({"a": 1}), b"\x89PNG\r\n\x1a\n"):
        path.write_bytes(content)
        refused(path, "cannot read")
    as_legacy(path, pickle.dumps({"lr": 0.1, "names": ["a"]}, 2))
    refused(path, "holds no tensors")


def test_zip_archives_that_are_not_checkpoints(tmp_path):
    path = tmp_path / "x.pth"
    as_zip(path, tensor())
    refused(path, "storage '0' is missing")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../archive/data.pkl", tensor())
        archive.writestr("../archive/data/0", DATA)
    refused(path, "leave the archive")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", tensor())
        archive.writestr("archive/data/0", DATA)
    refused(path, "compressed")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing here")
    refused(path, "exactly one data.pkl")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("wrap", ["plain", "state_dict", "model"])
def test_equal_to_torch(tmp_path, zipped, wrap):
    torch = pytest.importorskip("torch")
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 7
    kinds = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()
    tensors = {kind: torch.arange(5).to(getattr(torch, kind)) for kind in kinds}
    tensors |= {
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "transposed": base.t(),
        "sliced": base[1:, ::2],
        "parameter": torch.nn.Parameter(base),
        "shared": base[2],
    }
    saved = {
        "plain": tensors,
        "state_dict": {"state_dict": tensors, "epoch": 3, "optimizer": {"m": [base, {"lr": 0.1}]}},
        "model": {"model": {f"module.{name}": value for name, value in tensors.items()}},
    }[wrap]
    path = tmp_path / "x.pth"
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    arrays = read_torch_file(path)
    assert list(arrays) == list(tensors)
    for name, value in tensors.items():
        expected = value.detach().float() if name == "bfloat16" else value.detach()
        assert arrays[name].dtype == expected.numpy().dtype, name
        np.testing.assert_array_equal(arrays[name], expected.numpy(), err_msg=name)


def test_the_state_dict_of_a_module_with_metadata(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.BatchNorm2d(2).state_dict(), tmp_path / "x.pth")
    assert set(read_torch_file(tmp_path / "x.pth")) == {
        "weight",
        "bias",
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
