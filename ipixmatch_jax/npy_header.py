"""Checks the header of an NPY array before anything is allocated for its values."""

import math
from typing import BinaryIO

import numpy as np


def read_npy_header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads the header of an open NPY file; the values follow in the stream.

    Returns:
        Shape, whether the values are in Fortran order, and their type.

    Raises:
        ValueError: damaged, another version of the format than 1.0 and 2.0, negative lengths, or
            Python objects, which are never unpickled.
    """
    version = np.lib.format.read_magic(stream)
    reader = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if reader is None:
        raise ValueError(f"version {version} of the NPY format")
    shape, fortran, dtype = reader(stream)
    if dtype.hasobject:
        raise ValueError("Python objects, which allow_pickle=False leaves alone")
    if min(shape, default=0) < 0:
        raise ValueError(f"the shape {shape}")
    return tuple(map(int, shape)), fortran, dtype


def npy_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """The bytes that the values of such an array need, exact for any shape."""
    return math.prod(shape) * dtype.itemsize
