"""Headers of NPY files are checked before anything is allocated."""

import io

import numpy as np
import pytest

from ipixmatch_jax.npy_header import npy_bytes, read_npy_header


def stored(array, version=(1, 0)):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version)
    stream.seek(0)
    return stream


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("array", [
    np.arange(6, dtype=np.int16).reshape(2, 3), np.zeros((), np.float64),
    np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3)), np.zeros((0, 4), bool),
])  # fmt: skip
def test_the_header_of_what_numpy_writes(array, version):
    stream = stored(array, version)
    shape, fortran, dtype = read_npy_header(stream)
    assert (shape, dtype) == (array.shape, array.dtype)
    assert npy_bytes(shape, dtype) == array.nbytes
    values = np.frombuffer(stream.read(), dtype).reshape(shape, order="F" if fortran else "C")
    np.testing.assert_array_equal(values, array)


def with_header(text):
    header = text.encode().ljust(117) + b"\n"
    return io.BytesIO(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


@pytest.mark.parametrize("stream, message", [
    (lambda: stored(np.array([{}], object)), "Python objects"),
    (lambda: stored(np.zeros(2), (3, 0)), "version .3, 0. of the NPY format"),
    (lambda: with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 3), }"), "-2"),
    (lambda: io.BytesIO(b"\x93NUMPY"), "magic|EOF"),
    (lambda: io.BytesIO(b"no array at all"), "magic"),
])  # fmt: skip
def test_other_headers_are_refused(stream, message):
    with pytest.raises(ValueError, match=message):
        read_npy_header(stream())


def test_promised_bytes_do_not_overflow():
    assert npy_bytes((2**40, 2**40), np.dtype(np.float32)) == 2**82
